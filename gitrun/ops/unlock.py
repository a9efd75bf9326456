"""unlock: drop the tag, give the recorded permission bits back, delete the lock file.  The history stays."""

from __future__ import annotations

import os
from contextlib import suppress

from gitrun import journal
from gitrun.entry import LOCK_FILE
from gitrun.errors import GitrunError, NotLocked, TagMissing, system_failed
from gitrun.guard import guarded
from gitrun.journal import Journal
from gitrun.lockfile import LockFile
from gitrun.ops._context import Context, RunArgument, context, jobs_or_all
from gitrun.ops.verify import verify_here
from gitrun.owner import give_to_owner
from gitrun.progress import SILENT, Progress
from gitrun.recover import finish_unlock, open_run, recover, signals_held, sweep, undo_unlock
from gitrun.repo import check_owner, follow_name
from gitrun.results import UNLOCKED, Difference
from gitrun.results.unlock import UnlockResult
from gitrun.settings import Settings
from gitrun.standing import read_newest, read_standing
from gitrun.store import Place


def unlock(
    run: RunArgument, *, settings: Settings | None = None, jobs: int = 0, progress: Progress = SILENT
) -> UnlockResult:
    """Makes a locked run writable again, with exactly the permission bits that lock took.

    A run that changed under its lock is unlocked too, and `differences` says what had changed.  An interrupted lock is
    undone.  Raises NotLocked, RecordError, RunBusy, SystemFailed.
    """
    here = context(run, settings)
    try:
        with guarded(here.place):
            return _unlock(here.again(), jobs_or_all(jobs), progress)
    except OSError as error:
        raise system_failed(error, "unlock the run", near=here.place.run) from error


def _unlock(here: Context, jobs: int, progress: Progress) -> UnlockResult:
    check_owner(here.place)
    interrupted = recover(here.place)
    if interrupted in (journal.LOCK, journal.UNLOCK) and not _locked(here.place):
        done = {journal.LOCK: "an interrupted lock was undone", journal.UNLOCK: "an interrupted unlock was finished"}
        return _result(here, 0, (), (done[interrupted],))
    record, tag = _standing(here.place)
    differences, notes = _changes(here, jobs, progress)
    if here.place.repository is None:
        open_run(here.place, record)
        return _result(here, record.files, differences, notes)
    place = follow_name(here.place)  # without a lock file only its name leads to the repository
    begun = Journal(journal.UNLOCK, record, tag)
    try:
        journal.begin(place, begun)
        finish_unlock(place, begun)
    except BaseException:  # ^C too: nothing may stay half done
        # Where even that fails the journal stays, and the next unlock goes on from there.
        with signals_held(), suppress(OSError, GitrunError):
            undo_unlock(place, begun)
            sweep(place)
        raise
    give_to_owner(place)
    return _result(here, record.files, differences, notes)


def _locked(place: Place) -> bool:
    try:
        read_standing(place)
    except NotLocked:
        return False
    return True


def _standing(place: Place) -> tuple[LockFile, str]:
    """The record to go back to and the tag object; of a run that lost its tag, its newest lock."""
    try:
        standing = read_standing(place)
    except TagMissing:
        standing = read_newest(place)
    return standing.record, standing.tag.oid if standing.tag else ""


def _changes(here: Context, jobs: int, progress: Progress) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """What changed under the lock; only files whose inode was touched are read."""
    if not here.place.exists:
        return (), ("the run directory is gone; gitrun restore brings it back",)
    try:
        verdict = verify_here(here, quick=True, jobs=jobs, progress=progress)
    except GitrunError as error:
        where = f": {os.fsdecode(error.path)}" if error.path else ""
        return (), (f"what changed under the lock could not be told: {error.message}{where}",)
    return tuple(found for found in verdict.differences if found.path != LOCK_FILE), ()


def _result(here: Context, files: int, differences: tuple[Difference, ...], notes: tuple[str, ...]) -> UnlockResult:
    return UnlockResult(
        run=here.place.run_id, path=here.place.run, state=UNLOCKED, files=files, differences=differences, notes=notes
    )
