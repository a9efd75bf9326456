"""verify: hash every byte of a run and compare it with what the tag vouches for.

Trust runs tag → commit → committed lock file; the lock file in the run is one more file to be compared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from hashlib import sha256

from gitrun import statrecord
from gitrun.ahead import Ahead
from gitrun.compare import Xattrs, content_difference, drift, join, links_drift, without_echoes
from gitrun.content import Digests, digest_nodes, is_as_recorded, sha256_of
from gitrun.entry import DIRECTORY, FILE, LOCK_FILE, WRITE_BITS, Entry
from gitrun.errors import RunNotFound, SystemFailed
from gitrun.fsio import read_file
from gitrun.guard import guarded
from gitrun.lockfile import MAX_BYTES
from gitrun.marks import RESTORING
from gitrun.ops._context import Context, RunArgument, context, jobs_or_all
from gitrun.parallel import Aside
from gitrun.progress import SILENT, Progress
from gitrun.protection import any_writable, protection
from gitrun.recover import refuse_interrupted
from gitrun.results import DETACHED, LOCKED, MODIFIED, Difference
from gitrun.results.verify import VerifyResult
from gitrun.settings import Settings
from gitrun.standing import Standing, own_files_apart, read_standing
from gitrun.walk import Node, walk_from_bytes, walk_to_bytes

Pair = tuple[Entry, Node]


def verify(
    run: RunArgument,
    *,
    quick: bool = False,
    strict: bool = False,
    store: bool = False,
    upstream: bool = False,
    jobs: int = 0,
    settings: Settings | None = None,
    progress: Progress = SILENT,
    ahead: Ahead | None = None,
) -> VerifyResult:
    """The verdict on a locked run: `ok` only when every name, type, link target and byte is what was locked.

    Permission drift, times, extended attributes and broken hard links are warnings, with `strict` differences.
    `quick` does not read files whose size, mtime, ctime and inode are those of the last full look.  `store` checks the
    stored copy too, `upstream` the runs that this one links to, and theirs.  What was read `ahead` and is still the same is not read again.

    Raises NotLocked, RecordError, ChangedWhileReading, and SystemFailed for what cannot be read.
    """
    here = context(run, settings)
    with guarded(here.place, shared=True):
        here = here.again()
        result = verify_here(here, quick=quick, strict=strict, jobs=jobs_or_all(jobs), progress=progress, ahead=ahead)
        result = _with_store(here, result, progress) if store else result
    if not upstream:
        return result
    from gitrun.ops.verify_upstream import with_upstream

    return with_upstream(here, result, quick=quick, strict=strict, jobs=jobs_or_all(jobs), progress=progress)


def verify_here(
    here: Context,
    *,
    quick: bool = False,
    strict: bool = False,
    jobs: int,
    progress: Progress = SILENT,
    ahead: Ahead | None = None,
) -> VerifyResult:
    """The verdict, for a caller that holds the guard."""
    place = here.place
    refuse_interrupted(place)
    looked_ns = time.time_ns()
    with Aside(
        partial(walk_to_bytes, place.run, failure=SystemFailed), apart=ahead is not None and ahead.pays
    ) as walked:
        standing = read_standing(place)
        with _reading(here, standing, jobs=0 if quick else jobs) if ahead is None else nullcontext(ahead) as ahead:
            nodes = _listed(here, standing, walked)
            joined = join(standing.record.entries, nodes)
            trusted = _trusted(here, standing, joined.pairs) if quick else frozenset[bytes]()
            to_read = [node for _, node in joined.pairs if node.kind == FILE and node.path not in trusted]
            digests = digest_nodes(place.run, to_read, jobs=jobs, progress=progress, ahead=ahead)
    differences = [*joined.differences, *_lock_file_difference(here, standing), *_content(here, joined.pairs, digests)]
    mutable = tuple(found for found in differences if found.kind == "mutable")
    differences = sorted((found for found in differences if found.kind != "mutable"), key=lambda found: found.path)
    warnings = without_echoes(_drift(joined.pairs, digests), differences)
    if strict:
        differences, warnings = sorted([*differences, *warnings], key=lambda found: found.path), []
    if not quick and place.repository is not None:
        _remember(here, standing, nodes, differences, looked_ns)
    return _result(here, standing, joined.pairs, differences, warnings, mutable, to_read, len(trusted))


def _reading(here: Context, standing: Standing, *, jobs: int) -> Ahead:
    paths = [entry.path for entry in standing.record.entries if entry.kind == FILE] if jobs else []
    return Ahead(here.place.run, paths, jobs=jobs)


def _listed(here: Context, standing: Standing, walked: Aside[bytes]) -> list[Node]:
    if not here.place.exists:
        raise RunNotFound("the run directory is gone", path=here.place.run, hint="gitrun restore brings it back")
    nodes = walk_from_bytes(walked.answer())
    return [
        node
        for node in own_files_apart(here.place, standing.record, nodes)
        if node.path != RESTORING and not node.path.startswith(RESTORING + b"/")
    ]


def _trusted(here: Context, standing: Standing, pairs: Sequence[Pair]) -> frozenset[bytes]:
    known = statrecord.load(here.place) if here.place.repository is not None else None
    if known is None or known.digest != sha256(standing.data).hexdigest():
        return frozenset()
    return frozenset(node.path for entry, node in pairs if entry.kind == FILE and known.trusts(node))


def _lock_file_difference(here: Context, standing: Standing) -> list[Difference]:
    """The working copy of the lock file, compared like any other file."""
    if standing.tag is None:
        return []  # it is what we compare with
    expected = f"sha256:{standing.tag.digest}, {len(standing.data)} bytes"
    if not os.path.lexists(here.place.lock_file):
        return [Difference(LOCK_FILE, "deleted", expected, "")]
    data = read_file(here.place.lock_file, MAX_BYTES)
    if data is None:
        return [Difference(LOCK_FILE, "type", "file", "something else")]
    if data == standing.data:
        return []
    return [Difference(LOCK_FILE, "modified", expected, f"sha256:{sha256(data).hexdigest()}, {len(data)} bytes")]


def _content(here: Context, pairs: Sequence[Pair], digests: Digests) -> list[Difference]:
    found = []
    for entry, node in pairs:
        digest = digests.get(node.path)
        if digest is not None and not is_as_recorded(entry, node.size, digest[0]):
            found.append(content_difference(entry, node.size, sha256_of(here.place.run, node)))
    return found


def _drift(pairs: Sequence[Pair], digests: Digests) -> list[Difference]:
    found = []
    for entry, node in pairs:
        known = digests.get(node.path)
        xattrs = known[1] if known else (node.xattrs if node.kind == DIRECTORY else entry_xattrs(entry))
        if not _is_sealed(entry, node, xattrs):
            found += drift(entry, node, xattrs, sealed=True)
    found += links_drift(pairs)
    return _folded(pairs, found)


def _is_sealed(entry: Entry, node: Node, xattrs: Xattrs) -> bool:
    """Whether nothing drifted, at a glance: so it is with nearly every file."""
    return (
        node.mtime_ns == entry.mtime_ns
        and node.mode == entry.mode & ~WRITE_BITS
        and not xattrs
        and not entry.xattrs
        and not entry.mutable
        and entry.kind == FILE
    )


def entry_xattrs(entry: Entry) -> Xattrs:
    """What a file that was not read is taken to have: an unchanged ctime says that its attributes are the sealed ones."""
    from gitrun.compare import sealed_xattrs

    return entry.xattrs if entry.mutable else sealed_xattrs(entry.xattrs)


def _folded(pairs: Sequence[Pair], found: list[Difference]) -> list[Difference]:
    """One line instead of one for each entry, when the whole run is writable: a copy, or a file system without chmod."""
    returned = [difference for difference in found if difference.kind == "writable"]
    sealed = [
        entry for entry, _ in pairs if entry.kind in (FILE, DIRECTORY) and entry.mode & WRITE_BITS and not entry.mutable
    ]
    if len(returned) < 2 or len(returned) < len(sealed):
        return found
    whole = Difference(b"", "writable", "read-only", f"writable: all {len(returned)} files and directories")
    return [whole, *(difference for difference in found if difference.kind != "writable")]


def _remember(
    here: Context, standing: Standing, nodes: Sequence[Node], differences: Sequence[Difference], looked_ns: int
) -> None:
    digest = sha256(standing.data).hexdigest()
    statrecord.save(here.place, digest, nodes, differences=len(differences), now_ns=looked_ns)


def _result(
    here: Context,
    standing: Standing,
    pairs: Sequence[Pair],
    differences: Sequence[Difference],
    warnings: Sequence[Difference],
    mutable: tuple[Difference, ...],
    read: Sequence[Node],
    trusted: int,
) -> VerifyResult:
    detached = standing.tag is None
    good = DETACHED if detached else LOCKED
    return VerifyResult(
        run=standing.record.run_id,
        path=here.place.run,
        state=MODIFIED if differences and not detached else good,
        exit=4 if differences else 0,
        notes=_notes(here, standing, trusted),
        ok=not differences,
        differences=tuple(differences),
        warnings=tuple(warnings),
        mutable=mutable,
        checked_files=len(read),
        checked_bytes=sum(node.size for node in read),
        trusted_files=trusted,
        protection=protection(here.place.run, lambda: any_writable(pairs)),
        commit=standing.tag.commit if standing.tag else "",
        locked_at=standing.tag.when if standing.tag else 0,
    )


def _notes(here: Context, standing: Standing, trusted: int) -> tuple[str, ...]:
    notes = []
    if standing.tag is None:
        origin = f" of {os.fsdecode(here.place.copy_of)}" if here.place.copy_of else ""
        notes.append(
            f"a copy{origin} without a repository: compared with its own lock file, which nothing else vouches for"
        )
    if trusted:
        notes.append(f"quick: {trusted} files were not read, their size, mtime, ctime and inode are unchanged")
    return tuple(notes)


def _with_store(here: Context, result: VerifyResult, progress: Progress) -> VerifyResult:
    """The verdict with the health of the stored copy added to it."""
    if here.place.repository is None:
        return replace(result, notes=(*result.notes, "there is no stored copy to check"))
    from gitrun.ops.fsck import fsck_here

    health = fsck_here(here, repair=False, progress=progress)
    damaged = [
        Difference(path, "stored", finding.object, finding.message)
        for finding in health.findings
        for path in finding.paths or (b"",)
    ]
    differences = (*result.differences, *damaged)
    return replace(
        result, ok=not differences, exit=4 if result.differences else (6 if damaged else 0), differences=differences
    )
