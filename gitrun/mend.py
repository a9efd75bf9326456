"""Mends a run repository, from an inspection of it: refs, git objects, and what lies around them.

Nothing good is touched, nothing bad is thrown away: damaged files are moved to `gitrun/bad` in the repository, once all
that could be saved of them lies in a new pack.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256

from gitrun.fsio import make_directories, read_file, remove_file, remove_tree, sync_directory, write_file
from gitrun.inspection import Inspection
from gitrun.lockfile import MAX_BYTES
from gitrun.objectfiles import GitObject, Pack
from gitrun.pack import COMMIT, TAG, TREE, PackWriter, packed
from gitrun.publish import publish_packs
from gitrun.recover import SPOOL
from gitrun.reffiles import HEAD, rewrite_packed
from gitrun.refs import delete_ref, write_ref
from gitrun.repo import ARCHIVE, LOCKED, MAIN, Tag, parse_commit, parse_tree
from gitrun.salvage import Salvage
from gitrun.store import Place
from gitrun.surroundings import REPLACEMENTS, put_right, set_aside


def mend(place: Place, found: Inspection) -> None:
    """Does what can be done about the findings; a later inspection tells what is left.  Raises OSError."""
    assert place.repository is not None
    put_right(place.repository, found.around)
    _mend_refs(place, found)
    _mend_objects(place, found)


# -- refs --


def _mend_refs(place: Place, found: Inspection) -> None:
    assert place.repository is not None
    repository, refs = place.repository, found.refs
    if refs.head_fault:
        set_aside(repository, os.path.join(repository, b"HEAD"))
        write_file(os.path.join(repository, b"HEAD"), HEAD)
    if refs.packed_damaged:
        rewrite_packed(repository)
    for name in [name for name in refs.good if name.startswith(REPLACEMENTS)]:
        delete_ref(repository, name)
    derived = _derived_refs(place, found)
    for name, oid in derived.items():
        set_aside(repository, os.path.join(repository, os.fsencode(name)))
        write_ref(repository, name, oid)
    for name in refs.broken.keys() - derived.keys():
        if name.startswith("refs/remotes/"):
            set_aside(repository, os.path.join(repository, os.fsencode(name)))  # the next fetch brings it again


def _derived_refs(place: Place, found: Inspection) -> dict[str, str]:
    """Where the refs that are lost pointed, as far as that follows from what is not."""
    lost = {*found.refs.broken, *(finding.object for finding in found.findings if finding.kind == "missing")}
    derived: dict[str, str] = {}
    if LOCKED in lost:
        tag = _standing_tag(place, found)
        derived |= {LOCKED: tag.oid} if tag else {}
    derived |= _archived(found, lost, derived)
    if MAIN in lost:
        tips = {**found.refs.good, **derived}
        newest = tips.get(LOCKED) or _newest_archived(tips)
        known = found.tags.get(newest) if newest else None
        derived |= {MAIN: known.commit} if known else {}
    return derived


def _free_tags(found: Inspection) -> list[Tag]:
    """The tag objects that no good ref leads to, oldest first."""
    taken = set(found.refs.good.values())
    return sorted((tag for oid, tag in found.tags.items() if oid not in taken), key=lambda tag: tag.when)


def _standing_tag(place: Place, found: Inspection) -> Tag | None:
    """The tag that the lock file in the run belongs to; of several the one that the branch is at, or the newest."""
    data = read_file(place.lock_file, MAX_BYTES) if place.exists else None
    if data is None or os.path.lexists(place.own(b"journal")):
        return None
    digest = sha256(data).hexdigest()
    fitting = [tag for tag in _free_tags(found) if tag.digest == digest]
    main = found.refs.good.get(MAIN)
    at_main = [tag for tag in fitting if tag.commit == main]
    return next(reversed(at_main or fitting), None)


def _archived(found: Inspection, lost: set[str], derived: dict[str, str]) -> dict[str, str]:
    """The refs of earlier locks, where exactly as many tags are without a ref as refs are lost."""
    names = sorted(
        (name for name in lost if name.startswith(ARCHIVE) and name.removeprefix(ARCHIVE).isdecimal()),
        key=lambda name: int(name.removeprefix(ARCHIVE)),
    )
    free = [tag for tag in _free_tags(found) if tag.oid not in derived.values()]
    return {name: tag.oid for name, tag in zip(names, free, strict=True)} if len(names) == len(free) else {}


def _newest_archived(refs: dict[str, str]) -> str | None:
    numbers = [name.removeprefix(ARCHIVE) for name in refs if name.startswith(ARCHIVE)]
    newest = max((int(number) for number in numbers if number.isdecimal()), default=None)
    return refs[f"{ARCHIVE}{newest}"] if newest is not None else None


# -- objects --


def _mend_objects(place: Place, found: Inspection) -> None:
    """Writes a new pack with all that is needed and lies in no good file, then takes the damaged files away."""
    assert place.repository is not None
    lost = any(finding.kind in ("missing", "corrupt") for finding in found.findings)
    if not found.damaged and not lost:
        return
    spool = place.own(SPOOL)
    remove_tree(spool)
    make_directories(spool)
    make_directories(os.path.join(place.repository, b"objects", b"pack"))
    try:
        name = _write_pack(place, found, spool)
    finally:
        remove_tree(spool)
    for container in found.damaged:
        if isinstance(container, Pack):
            _set_pack_aside(place.repository, container, keep=name)
        else:
            set_aside(place.repository, container.path)


def _write_pack(place: Place, found: Inspection, spool: bytes) -> str:
    """The name of the new pack; empty where there was nothing to write."""
    salvage = Salvage(place, found)
    damaged = set(map(id, found.damaged))
    good = {oid for oid, copies in found.files.copies.items() if any(id(copy) not in damaged for copy in copies)}
    pack = PackWriter(spool)
    try:
        _collect(found, salvage, good, pack)
        if not len(pack):
            return ""
        finished = pack.finish()
    finally:
        pack.close()
    publish_packs(place, spool, [finished])
    return finished.name


def _collect(found: Inspection, salvage: Salvage, good: set[str], pack: PackWriter) -> None:
    """All that the refs lead to, of which no good file has a copy."""
    waiting = [*found.refs.good.values(), *found.tags, *(lock.commit for lock in found.locks)]
    seen: set[str] = set()
    while waiting:
        oid = waiting.pop()
        if oid in seen:
            continue
        seen.add(oid)
        known = found.kinds.get(oid) if oid in good else None
        if known is not None and known not in (COMMIT, TREE, TAG):
            continue  # a blob that lies well
        one = salvage.read(oid)
        if one is None:
            continue
        if oid not in good:
            pack.add(packed(one.kind, one.data, bytes.fromhex(oid)))
        waiting.extend(_children(oid, one))


def _children(oid: str, one: GitObject) -> list[str]:
    """The objects that an object refers to, but for commits of other repositories."""
    if one.kind == COMMIT:
        commit = parse_commit(oid, one.data)
        return [commit.tree, *commit.parents]
    if one.kind == TAG:
        return [one.data[7:47].decode("ascii", "replace")]
    if one.kind == TREE:
        with suppress(ValueError):
            return [child for _, (mode, child) in parse_tree(one.data) if mode != b"160000"]
    return []


def _set_pack_aside(repository: bytes, pack: Pack, *, keep: str) -> None:
    """Moves a pack and all that belongs to it away; a pack of the same content has the same name, and stays."""
    directory, name = os.path.split(pack.path.removesuffix(b".pack"))
    for file in os.listdir(directory):
        if os.path.splitext(file)[0] == name and not (name == keep.encode() and file.endswith((b".pack", b".idx"))):
            set_aside(repository, os.path.join(directory, file))
    for cache in (b"objects/pack/multi-pack-index", b"objects/info/commit-graph"):
        remove_file(os.path.join(repository, cache))  # they may tell of the pack that is gone
    sync_directory(directory)
