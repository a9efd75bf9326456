"""import: a bag or a tar archive becomes a locked run."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import fields, replace
from hashlib import sha256

from gitrun import store
from gitrun.errors import GitrunError, RecordError, Refused, RunNotFound, UsageError, system_failed
from gitrun.fsio import TEMPORARY, remove_sealed_tree, remove_tree, sync_directory
from gitrun.guard import guarded
from gitrun.importing import build, planned
from gitrun.lineage import between
from gitrun.lockfile import LockFile
from gitrun.making import Wanted
from gitrun.ops._context import RunArgument, context, jobs_or_all
from gitrun.ops.lock import lock_new
from gitrun.ops.unlock import unlock
from gitrun.progress import SILENT, Progress
from gitrun.results.import_run import ImportResult
from gitrun.results.lock import LockResult
from gitrun.scratch import scratch
from gitrun.settings import Settings, load
from gitrun.standing import read_standing
from gitrun.unpacking import Spool, Unpacked, unpack_bag, unpack_tar

STDIN = b"-"


def import_run(
    source: RunArgument,
    target: RunArgument = "",
    *,
    message: str = "",
    jobs: int = 0,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> ImportResult:
    """Makes the run `target` out of a bag or a tar archive (`-`: from stdin), and locks it.

    `target` must not exist; without it, it is what the archive calls the run, in the current directory.  An archive that
    `export` made brings everything back that was locked, run id included, and each byte is checked against its lock
    file.  Whoever made the archive is not trusted: nothing outside `target` and its store is written, and devices,
    setuid bits and capabilities stay out.  Nothing of `target` is there after a failure.

    Raises RecordError for an archive that is damaged or not what its own lock file or manifests say, Refused, Unsupported,
    UsageError, RunNotFound, SystemFailed.
    """
    known = settings or load()
    path = os.fsencode(source) if os.fsencode(source) == STDIN else os.path.abspath(os.fsencode(source))
    wanted = os.path.abspath(os.fsencode(target)) if target else b""
    parent = os.path.realpath(os.path.dirname(wanted) if wanted else os.getcwdb())
    if wanted:
        wanted = _free(os.path.join(parent, os.path.basename(wanted)))
    building = os.path.join(parent, TEMPORARY + b"import-" + sha256(wanted or path).hexdigest()[:16].encode())
    try:
        with scratch(parent, b"import-to", os.fsdecode(wanted or path)):
            remove_sealed_tree(building)
            os.mkdir(building, 0o700)
            try:
                run, record, notes = _build(path, wanted, building, known, progress)
            finally:
                remove_sealed_tree(building)
            sync_directory(parent)
            locked = _locked(run, record, message, jobs_or_all(jobs), known, progress)
    except OSError as error:
        raise system_failed(error, "import the run", near=parent) from error
    told = {it.name: getattr(locked, it.name) for it in fields(locked)}
    return ImportResult(**{**told, "notes": (*notes, *locked.notes)}, source=path)


def _free(target: bytes) -> bytes:
    if os.path.lexists(target):
        raise Refused("there is something already", path=target, hint="name a directory that does not exist yet")
    if not os.path.isdir(os.path.dirname(target)):
        raise Refused("there is no such directory", path=os.path.dirname(target), hint="mkdir it first")
    return target


def _build(
    path: bytes, wanted: bytes, building: bytes, settings: Settings, progress: Progress
) -> tuple[bytes, LockFile | None, list[str]]:
    """The run in its place, not locked yet; its record, if the archive has one; notes."""
    spool = os.path.join(building, b"spool")
    os.mkdir(spool)
    progress.stage("unpacking", 0, "B")
    unpacked = _unpack(path, Spool(spool, progress.advance))
    record = LockFile.decode(unpacked.lock_file) if unpacked.lock_file is not None else None
    if record is not None and not store.is_run_id(record.run_id):
        raise RecordError(f"the archive's lock file has no run id: {record.run_id!r}")
    run = wanted or _free(os.path.join(os.path.dirname(building), _name(unpacked)))
    _refuse_known(run, record, settings)
    entries, notes = planned(unpacked, record)
    build(os.path.join(building, b"run"), entries, unpacked.contents)
    os.rename(os.path.join(building, b"run"), _free(run))
    return run, record, notes


def _unpack(path: bytes, spool: Spool) -> Unpacked:
    if path == STDIN:
        return unpack_tar(sys.stdin.buffer, spool)
    if os.path.isdir(path):
        return unpack_bag(path, spool)
    if not os.path.isfile(path):
        raise RunNotFound("there is no archive", path=path, hint="name a bag, or a tar archive")
    with open(path, "rb") as file:
        return unpack_tar(file, spool)


def _name(unpacked: Unpacked) -> bytes:
    if not store.is_harmless_name(unpacked.name):
        raise UsageError("the archive has no name for the run that can be taken", hint="gitrun import FILE DIR")
    return unpacked.name


def _refuse_known(run: bytes, record: LockFile | None, settings: Settings) -> None:
    """Raises Refused where the store has a run of this id, or a repository that waits for a run of this name."""
    top = settings.store or store.default_store(run)
    for repository in store.repositories(top):
        known = store.read_record(repository)
        there = store.run_path(repository) or repository
        if known is not None and (there == run or (record is not None and known.run_id == record.run_id)):
            raise Refused(
                "this run is known here already",
                path=there,
                hint="gitrun status, or restore if it is gone; or import elsewhere",
            )


def _locked(
    run: bytes, record: LockFile | None, message: str, jobs: int, settings: Settings, progress: Progress
) -> LockResult:
    here = context(run, settings)
    place = here.place
    if record is not None and not here.layout.run_id(here.directory):
        place = replace(place, run_id=record.run_id)
    try:
        threshold = record.header("threshold") if record else ""
        large = int(threshold) if threshold.isdecimal() and threshold != "0" else settings.large_threshold
        with guarded(place):
            locked = lock_new(replace(here, place=place), Wanted(message, "auto", large, False, False, jobs), progress)
        if record is not None:
            _refuse_differences(record, read_standing(here.again().place).record)
    except BaseException:  # ^C too
        with suppress(GitrunError, OSError):
            unlock(run, settings=settings)
        with suppress(OSError):
            repository = store.repository_path(place.store, place.name)
            remove_sealed_tree(run)
            known = store.read_record(repository)
            if known is None or store.run_path(repository) == run:  # else another run was faster to take this name
                remove_tree(repository)
            store.prune(place.store)
        raise
    return locked


def _refuse_differences(record: LockFile, made: LockFile) -> None:
    """Every byte was checked on its way: what differs now, the file system did."""
    for difference in between(record.entries, made.entries):
        if difference.kind not in ("mode", "mutable"):
            raise RecordError(
                f"the imported run is not what was locked: {difference.kind}, {difference.expected} expected,"
                f" {difference.actual or 'nothing'} seen",
                path=difference.path,
                hint="import it onto a file system that tells all its names apart",
            )
