"""fsck --remote: the remote copy of a run read as a whole, and, with repair, either side mended from the other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from gitrun.copying import hash_file
from gitrun.errors import GitrunError, RecordError, RunNotFound
from gitrun.fsio import make_directories, opened, sync_directory
from gitrun.ops._context import Context, RunArgument
from gitrun.ops.fsck import fsck_here
from gitrun.progress import Progress
from gitrun.remotes import Transport
from gitrun.remotes.address import Address, display_address
from gitrun.remotes.locks import large_objects, move_objects, reach
from gitrun.repo import RunRepo
from gitrun.results.fsck import Finding, FsckResult
from gitrun.scratch import scratch
from gitrun.store import object_path


def with_remote(here: Context, remote: RunArgument, *, repair: bool, progress: Progress) -> FsckResult:
    """The health of both copies, for a caller that holds the guard; with `repair` each gets what the other one has.

    Raises RunNotFound where the remote does not know the run, ToolFailed where it fails.
    """
    assert here.place.repository is not None
    address, to = reach(remote, here.place.run_id, here.settings)
    refs = to.refs()
    branch, tag = address.branch(here.place.run_id), address.tag(here.place.run_id)
    if branch not in refs:
        raise RunNotFound(
            f"the remote has no run {here.place.run_id}", path=display_address(address), hint="gitrun push"
        )
    with scratch(here.place.store, b"fsck", os.fsdecode(here.place.run)) as building:
        objects = _receive(to, [branch, *([tag] if tag in refs else [])], branch, building)
        damaged = _read(to, objects, building, progress)
        if repair:
            _lend(here, building, objects, damaged)
        result = fsck_here(here, repair=repair, progress=progress)
        mended = to.mend(here.place.repository, {oid: objects[oid] for oid in damaged}) if repair and damaged else []
    theirs = tuple(
        Finding(
            "corrupt", oid, f"the copy on the remote is damaged or missing: {_told(address)}", repaired=oid in mended
        )
        for oid in damaged
    )
    findings = (*result.findings, *theirs)
    ok = all(finding.repaired for finding in findings)
    return replace(result, findings=findings, ok=ok, exit=0 if ok else RecordError.exit_code)


def _told(address: Address) -> str:
    return display_address(address)


def _receive(to: Transport, refs: list[str], branch: str, building: bytes) -> dict[str, int]:
    """Fetches the history, which git checks; the large files that it needs."""
    to.receive(refs, building)
    with RunRepo(building) as repo:
        return large_objects(repo, repo.history(repo.ref(branch)))


def _read(to: Transport, objects: Mapping[str, int], building: bytes, progress: Progress) -> list[str]:
    """Fetches all large files, as far as they can be had; those that are not what they should be."""
    progress.stage("reading the remote", sum(objects.values()), "B")
    for oid, size in objects.items():
        with suppress(GitrunError, FileExistsError):
            to.receive_large({oid: size}, building, progress.advance)
    return [oid for oid, size in objects.items() if not _is_good(object_path(building, oid), oid, size)]


def _is_good(path: bytes, oid: str, size: int) -> bool:
    try:
        with opened(path) as fd:
            return os.fstat(fd).st_size == size and hash_file(fd)[0] == oid
    except OSError:
        return False


def _lend(here: Context, building: bytes, objects: Mapping[str, int], damaged: list[str]) -> None:
    """Puts what the remote has where a repair looks for good bytes: packs beside the run's own, large files in the pool."""
    assert here.place.repository is not None
    for oid, size in objects.items():
        pooled = object_path(here.place.store, oid)
        if oid not in damaged and not _is_good(pooled, oid, size):
            make_directories(os.path.dirname(pooled))
            os.replace(object_path(building, oid), pooled)
            sync_directory(os.path.dirname(pooled))
    for oid in objects:
        with suppress(FileNotFoundError):
            os.unlink(object_path(building, oid))
    move_objects(building, here.place.repository)
