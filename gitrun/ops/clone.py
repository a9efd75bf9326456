"""clone: a run comes from a remote to this machine, locked and verified."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gitrun import store
from gitrun.errors import GitrunError, NotLocked, RecordError, Refused, RunNotFound, UsageError, system_failed
from gitrun.fsio import make_directories, remove_sealed_tree, remove_tree
from gitrun.guard import pool_guarded
from gitrun.layouts import guild
from gitrun.layouts.guild_home import find_home
from gitrun.lockfile import LockFile
from gitrun.ops._context import RunArgument, context
from gitrun.ops.fsck import fsck_here
from gitrun.ops.restore import restore
from gitrun.ops.verify import verify
from gitrun.progress import SILENT, Progress
from gitrun.publish import share_objects
from gitrun.refs import write_ref
from gitrun.remotes import Source
from gitrun.remotes.address import Address, display_address
from gitrun.remotes.locks import base_name, large_objects, move_objects, reach, received_record
from gitrun.remotes.network import refuse_small_disk
from gitrun.repo import LOCKED, MAIN, RunRepo, create
from gitrun.results.clone import CloneResult
from gitrun.scratch import scratch
from gitrun.settings import Settings, load
from gitrun.store import Place, with_repository
from gitrun.upstream import recorded

_RANDOM = re.compile(r"-[0-9a-f]{8}\Z")


def clone(
    remote: RunArgument,
    run_id: str,
    target: RunArgument = "",
    *,
    into: RunArgument = "",
    upstream: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> CloneResult:
    """Brings a run from a remote: the same bytes, permissions and times, locked and verified.

    `run_id` is its name there, or the beginning of it.  `target` must not exist; without it the run gets the name that it
    had, in the directory `into`; without that, too, a Guild run goes into the Guild home, another one into the current
    directory.  What comes is checked before anything of it has a name: git objects by
    git, the history and the lock file by `fsck`, every large file by its SHA-256.  Nothing of `target` is there after a
    failure.  With `upstream` the runs that its lock names, and theirs, are cloned beside it, where its links lead.

    Raises RunNotFound, NotLocked for a run without a standing lock there, RecordError for what is not what it claims to
    be, Refused, ToolFailed, SystemFailed.
    """
    known = settings or load()
    address, of = reach(remote, run_id, known)
    name = named(address, of.refs(), run_id)
    place, record, cloned = clone_named(of, address, name, target, into, known, progress)
    notes = _clone_upstream(remote, place, record, known, progress) if upstream else []
    return replace(cloned, notes=(*cloned.notes, *notes)) if notes else cloned


def clone_named(
    of: Source,
    address: Address,
    name: str,
    target: RunArgument,
    into: RunArgument,
    known: Settings,
    progress: Progress = SILENT,
) -> tuple[Place, LockFile, CloneResult]:
    """What `clone` does for the run that has this very name on the remote, but for its upstream runs."""
    if address.tag(name) not in of.refs():
        raise NotLocked(
            "the run has no lock there: it was unlocked, or its push has not ended", path=display_address(address)
        )
    base = os.path.realpath(
        os.path.dirname(os.path.abspath(os.fsencode(target))) if target else os.fsencode(into or ".")
    )
    try:
        with scratch(base, b"clone", base_name(name)) as building:
            record, objects = _receive(of, address, name, building, progress)
            path = _target(target, into, record)
            with scratch(os.path.dirname(path), b"clone-to", os.fsdecode(path)):
                place = _place(_target(target, into, record), record, known)
                create(place, lambda repository: _fill(repository, building, address, name))
                cloned = _restored(place, address, known, progress)
        with pool_guarded(place, shared=True):
            share_objects(place, objects)
    except OSError as error:
        raise system_failed(error, "clone the run", near=base) from error
    return place, record, cloned


def _clone_upstream(
    remote: RunArgument, place: Place, record: LockFile, settings: Settings, progress: Progress
) -> list[str]:
    """Clones upstream runs into the directories beside the run that its links lead to; a note for each."""
    notes = []
    for it in recorded(record):
        parts = it.path.split(b"/")
        if not it.run or len(parts) != 2 or parts[0] != b".." or not store.is_harmless_name(parts[1]):
            notes.append(
                f"upstream {it.run or os.fsdecode(it.path)}: its place is not beside the run, and it is left out"
            )
            continue
        target = os.path.join(os.path.dirname(place.run), parts[1])
        if os.path.lexists(target):
            notes.append(f"upstream {it.run}: there is something at its place already")
            continue
        told = clone(remote, it.run, target, upstream=True, settings=settings, progress=progress)
        notes += [f"upstream {it.run}: cloned", *told.notes]
    return notes


def named(address: Address, refs: Mapping[str, str], told: str) -> str:
    """The one run on the remote that is meant; raises RunNotFound, UsageError for several."""
    names = [name for name in map(address.name_of, refs) if name is not None]
    if address.own:
        names = [told] if names else []
    found = [name for name in names if name == told] or [name for name in names if name.startswith(told)]
    if not found:
        raise RunNotFound(
            f"the remote has no run {told}", path=display_address(address), hint="gitrun remote lists them"
        )
    if len(found) > 1:
        raise UsageError(f"several runs begin with {told}: {', '.join(sorted(found)[:8])}", hint="give more of the id")
    return found[0]


def _receive(
    of: Source, address: Address, name: str, building: bytes, progress: Progress
) -> tuple[LockFile, dict[str, int]]:
    """Everything of the run, checked as far as it can be before it has a place."""
    branch, tag = address.branch(name), address.tag(name)
    of.receive([branch, tag], building)
    with RunRepo(building) as repo:
        standing = repo.tag_object(repo.ref(tag) or "")
        if standing.commit != repo.ref(branch):
            raise RecordError("the newest lock there is not the one that its tag names", path=display_address(address))
        record = received_record(repo, standing.commit, base_name(name))
        objects = large_objects(repo, repo.history(standing.commit))
    refuse_small_disk(building, sum(objects.values()) + record.bytes)
    progress.stage("fetching", sum(objects.values()), "B")
    of.receive_large(objects, building, progress.advance)
    return record, objects


def own_name(run_id: str, layout: str) -> str:
    """The name that a run's directory had when it was first locked."""
    return run_id if layout == guild.NAME else _RANDOM.sub("", run_id)


def parent_of(into: RunArgument, layout: str) -> bytes:
    """Where a run goes for which no place was named."""
    home = None if into or layout != guild.NAME else find_home(os.environ, Path.cwd())
    return os.fsencode(home / "runs") if home else os.path.abspath(os.fsencode(into or "."))


def own_place(into: RunArgument, layout: str, run_id: str) -> bytes:
    """The path of a run for which no place was named; a new Guild home gets its directory of runs."""
    parent = parent_of(into, layout)
    if not into:
        make_directories(parent)
    return os.path.join(parent, os.fsencode(own_name(run_id, layout)))


def _target(told: RunArgument, into: RunArgument, record: LockFile) -> bytes:
    target = os.path.abspath(os.fsencode(told)) if told else own_place(into, record.header("layout"), record.run_id)
    target = os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target))
    if os.path.lexists(target):
        raise Refused("there is something already", path=target, hint="name a directory that does not exist yet")
    if not os.path.isdir(os.path.dirname(target)):
        raise Refused("there is no such directory", path=os.path.dirname(target), hint="mkdir it first")
    return target


def _place(target: bytes, record: LockFile, settings: Settings) -> Place:
    top = settings.store or store.default_store(target)
    for repository in store.repositories(top):
        known = store.read_record(repository)
        if known is not None and known.run_id == record.run_id:
            raise Refused(
                "this run is known here already",
                path=store.run_path(repository) or repository,
                hint="gitrun pull brings it up to date; restore, if it is gone",
            )
    place = Place(target, top, None, record.run_id, exists=False)
    store.refuse_bad_place(place)
    return with_repository(place)


def _fill(repository: bytes, building: bytes, address: Address, name: str) -> None:
    with RunRepo(building) as repo:
        main, tag = repo.ref(address.branch(name)) or "", repo.ref(address.tag(name)) or ""
    move_objects(building, repository)
    write_ref(repository, MAIN, main)
    write_ref(repository, LOCKED, tag)


def _restored(place: Place, address: Address, settings: Settings, progress: Progress) -> CloneResult:
    """The run in its place, out of its repository; everything is removed where that is not whole."""
    assert place.repository is not None
    try:
        health = fsck_here(context(place.run, settings), repair=False, progress=progress)
        if not health.ok:
            first = health.findings[0]
            raise RecordError(
                f"what came from the remote is damaged or forged: {first.message}", path=display_address(address)
            )
        make_directories(os.path.dirname(place.run))
        restored = restore(place.run, settings=settings, progress=progress)
        verdict = verify(place.run, settings=settings, progress=progress)
        if restored.exit or not verdict:
            raise RecordError(
                "the run that came is not what was locked", path=place.run, hint="gitrun fsck at its origin"
            )
    except BaseException:  # ^C too
        with suppress(GitrunError, OSError):
            remove_sealed_tree(place.run)
            remove_tree(place.repository)
            store.prune(place.store)
        raise
    return CloneResult(
        run=place.run_id,
        path=place.run,
        state=verdict.state,
        remote=display_address(address),
        commit=verdict.commit,
        files=verdict.checked_files,
        bytes=verdict.checked_bytes,
    )
