"""lock: seal a run - store, hash, commit, write the lock file, take the write permission, look again, tag.

Children before parents, the proof last: until the tag stands nothing claims that the run is locked, and everything
before it can be undone from the journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from gitrun import store
from gitrun.awaiting import awaits_lock
from gitrun.copier import LINKS, Link
from gitrun.entry import full_path
from gitrun.errors import RunActive, RunChanged, RunNotFound, TagMissing, Unsupported, UsageError
from gitrun.guard import guarded
from gitrun.making import Making, Wanted
from gitrun.ops._context import Context, RunArgument, context, jobs_or_all
from gitrun.ops.verify import verify_here
from gitrun.progress import SILENT, Progress
from gitrun.recover import recover
from gitrun.results import DETACHED, LOCKED
from gitrun.results.lock import LockResult
from gitrun.results.verify import VerifyResult
from gitrun.seal import reseal_modes
from gitrun.settings import Settings
from gitrun.standing import Standing, is_locked, read_standing
from gitrun.upstream import upstream_runs
from gitrun.walk import walk


def lock(
    run: RunArgument,
    *,
    message: str = "",
    link: Link = "auto",
    large_threshold: int | None = None,
    force: bool = False,
    immutable: bool = False,
    upstream: bool = False,
    reseal: bool = False,
    jobs: int = 0,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> LockResult:
    """Seals a run: exit 0 means that every entry is stored or listed, and that the lock survives a power cut.

    A run that is locked and untouched stays as it is.  With `upstream` the runs that its symlinks lead into are locked
    first, and theirs before them.  With `reseal` a locked run, or a copy of one, whose content is what was locked gets the
    permission bits of a locked run back.  `large_threshold` is in bytes; `jobs` 0 means one per processor.
    Raises Refused (RunActive, RunChanged, ChangedWhileReading, Unreadable, Unsupported, RunBusy), RecordError and
    SystemFailed, after everything was put back (docs/exit-codes.md).
    """
    if link not in LINKS:
        raise UsageError(f"no such link mode: {link}", hint=f"one of {', '.join(LINKS)}")
    if large_threshold is not None and large_threshold < 1:
        raise UsageError(f"not a threshold: {large_threshold} bytes", hint="a file of 1 byte is the smallest large one")
    here = context(run, settings)
    threshold = here.settings.large_threshold if large_threshold is None else large_threshold
    wanted = Wanted(message, link, threshold, force, immutable, jobs_or_all(jobs))
    if not here.place.exists:
        raise RunNotFound("the run directory is gone", path=here.place.run, hint="gitrun restore brings it back")
    store.refuse_bad_place(here.place)
    if reseal:
        return _reseal(here, wanted, progress)
    above = _lock_upstream(here, wanted, progress) if upstream else ()
    locked = _lock(here, wanted, force, progress)
    return replace(locked, notes=(*above, *locked.notes)) if above else locked


def _lock(here: Context, wanted: Wanted, force: bool, progress: Progress) -> LockResult:
    with guarded(here.place):
        recover(here.again().place)
        here = here.again()
        _refuse_copy(here)
        if is_locked(here.place):
            return _already(here, wanted, progress)
        _refuse_stray_lock_file(here)
        _refuse_active(here, force)
        return lock_new(here, wanted, progress)


def _lock_upstream(here: Context, wanted: Wanted, progress: Progress) -> tuple[str, ...]:
    """Locks all upstream runs, the farthest first; a note for each that was not locked before."""
    notes = []
    for path in _farthest_first(here.place.run, {here.place.run}):
        there = context(path, here.settings)
        if not is_locked(there.place):
            locked = _lock(there, replace(wanted, message="", immutable=False), wanted.force, progress)
            notes.append(f"locked the upstream run {os.fsdecode(path)} first: {locked.commit[:7]}")
    return tuple(notes)


def _farthest_first(run: bytes, seen: set[bytes]) -> Iterator[bytes]:
    for path in upstream_runs(run, walk(run)):
        if path not in seen:
            seen.add(path)
            yield from _farthest_first(path, seen)
            yield path


def lock_new(here: Context, wanted: Wanted, progress: Progress) -> LockResult:
    """Locks a run that is not locked, and that nobody else works on; the caller holds its guard.  Raises as `lock` does."""
    place = here.place if here.place.repository else store.with_repository(here.place)
    mutable = here.layout.mutable(here.directory)
    made = Making(place, here.label, here.layout.NAME, mutable, wanted, here.settings, progress).run()
    return LockResult(
        run=place.run_id,
        path=place.run,
        state=LOCKED,
        notes=made.notes,
        commit=made.commit,
        files=made.record.files,
        bytes=made.record.bytes,
        locked_at=made.when,
        protection=made.protection,
        stored_bytes=made.stored_bytes,
        label=here.label,
    )


def awaits(run: RunArgument, *, settings: Settings | None = None) -> bool:
    """Whether a run has ended and awaits its lock: `lock --finished` locks those, and no others.

    One that somebody unlocked does not, until its tool has run it again.  Raises RecordError.
    """
    here = context(run, settings)
    return awaits_lock(here.place, here.layout, here.directory)


def _reseal(here: Context, wanted: Wanted, progress: Progress) -> LockResult:
    """Takes the write permission once more, after a full look at the content."""
    with guarded(here.place):
        here = here.again()
        verdict = verify_here(here, jobs=wanted.jobs, progress=progress)
        _refuse_differences(here, verdict)
        standing = read_standing(here.place)
        mended = reseal_modes(here.place.run, standing.record.entries)
        told = f"permission bits mended: {mended}" if mended else "no permission bits had to be mended"
        return _standing(here, standing, verify_here(here, quick=True, jobs=1).protection, (told,))


def _already(here: Context, wanted: Wanted, progress: Progress) -> LockResult:
    """The lock that stands, if the run still is what was locked."""
    verdict = verify_here(here, quick=True, jobs=wanted.jobs, progress=progress)
    _refuse_differences(here, verdict)
    return _standing(here, read_standing(here.place), verdict.protection)


def _refuse_differences(here: Context, verdict: VerifyResult) -> None:
    if not verdict.ok:
        first = verdict.differences[0]
        raise RunChanged(
            f"locked, and changed since: {len(verdict.differences)} differences, first {first.kind}",
            path=full_path(here.place.run, first.path),
            hint="gitrun verify shows them; restore puts the locked content back, unlock makes the new one lockable",
        )


def _standing(here: Context, standing: Standing, protection: str, notes: tuple[str, ...] = ()) -> LockResult:
    return LockResult(
        run=here.place.run_id,
        path=here.place.run,
        state=LOCKED if standing.tag else DETACHED,
        notes=notes,
        commit=standing.tag.commit if standing.tag else "",
        files=standing.record.files,
        bytes=standing.record.bytes,
        locked_at=standing.tag.when if standing.tag else 0,
        protection=protection,
        already=True,
        label=here.label,
    )


def _refuse_copy(here: Context) -> None:
    if here.place.copy_of:
        raise RunChanged(
            f"this is a copy of a locked run, whose original is {os.fsdecode(here.place.copy_of)}",
            path=here.place.run,
            hint="gitrun unlock makes the copy a run of its own, which can be locked then",
        )


def _refuse_stray_lock_file(here: Context) -> None:
    if not os.path.lexists(here.place.lock_file):
        return
    head = store.read_head(here.place.lock_file) or b""
    if not head.startswith(b"# gitrun lock "):
        raise Unsupported(
            "a file that is not gitrun's has the lock file's name", path=here.place.lock_file, hint="move it away"
        )
    if here.place.repository is None:
        raise RunChanged(
            "the run is locked, but its repository is not here: it was copied or moved",
            path=here.place.run,
            hint="gitrun unlock makes it writable, then it can be locked here",
        )
    raise TagMissing(
        "the lock file stands but the tag `locked` is gone", path=here.place.run, hint="gitrun unlock, then lock again"
    )


def _refuse_active(here: Context, force: bool) -> None:
    activity = None if force else here.layout.activity(here.directory)
    if activity:
        raise RunActive(
            f"the run is not finished: {activity}", path=here.place.run, hint="lock it later, or with --force"
        )
