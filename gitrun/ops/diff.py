"""diff: a run against its last lock, lock against lock, or a run against another run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from gitrun.comparing import write_sides
from gitrun.entry import FILE, Entry
from gitrun.errors import GitrunError, NotLocked, RunNotFound
from gitrun.guard import guarded
from gitrun.history import record_at, resolve
from gitrun.lineage import between, describe
from gitrun.lockfile import LockFile
from gitrun.ops._context import Context, RunArgument, context, inside_run, jobs_or_all
from gitrun.ops.status import status_here
from gitrun.progress import SILENT, Progress
from gitrun.recover import refuse_interrupted
from gitrun.renames import SAME, Rename, renames
from gitrun.repo import MAIN, RunRepo
from gitrun.results.diff import Change, DiffResult
from gitrun.settings import Settings
from gitrun.sides import DiskSide, LockSide, Side
from gitrun.standing import is_locked, read_newest
from gitrun.textdiff import hunks, is_binary

TEXT_BYTES = 16 << 20
"""A larger file is told by size and digest, text or not."""
TEXT_LINES = 500_000
"""Nor is a pair of files with more lines together compared by them: that takes memory for each line."""
PATCH_BYTES = 1 << 20
"""So much of one file's differences is kept; the rest is cut, and a note says so."""
ALL_PATCH_BYTES = 64 << 20
"""So much of all together."""
_SUFFIX = re.compile(r"(.*?)((?:~[0-9]*|\^+)?)", re.DOTALL)


def diff(
    run: RunArgument,
    old: RunArgument = "",
    new: RunArgument = "",
    *,
    paths: Sequence[str | bytes] = (),
    patch: bool = True,
    into: RunArgument | None = None,
    jobs: int = 0,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> DiffResult:
    """What leads from one side to another: from `old` to `new`, else to the run as it is now; from its last lock without `old`.

    A side is a revision of the run (`~1`, `locked`, a commit id, `refs/gitrun/locks/<n>`), the path of another run as it
    is now, or such a path with `~N` behind it for a lock of that run.  `paths`, relative to the run, bound what is
    compared.  Without `patch` no lines are compared.  With `into`, an empty directory, both sides of each file that changed
    are written there, below `old` and `new`.  Raises NotLocked, RunNotFound, UsageError, RecordError,
    and SystemFailed or ChangedWhileReading for a run that cannot be read.
    """
    here = context(run, settings)
    reader = _Reader(here, jobs_or_all(jobs), progress)
    with reader:
        sides = reader.side(old or "HEAD"), reader.side(new) if new else reader.on_disk(here)
        changes = list(_changes(*sides, chosen=[inside_run(path) for path in paths]))
        changes = list(_with_lines(changes, *sides)) if patch else changes
        if into is not None:
            write_sides(os.fsencode(into), changes, *sides)
    now = status_here(here)
    return DiffResult(
        run=now.run,
        path=now.path,
        state=now.state,
        old=sides[0].name,
        new=sides[1].name,
        changes=tuple(change for change in changes if change.kind != "mutable"),
        mutable=tuple(change for change in changes if change.kind == "mutable"),
    )


class _Reader(ExitStack):
    """Finds the sides that somebody means, and keeps open what they read from."""

    def __init__(self, here: Context, jobs: int, progress: Progress) -> None:
        super().__init__()
        self._here, self._jobs, self._progress = here, jobs, progress

    def side(self, meant: RunArgument) -> Side:
        """The side that a revision or a path names; a directory goes before a revision."""
        word = os.fsdecode(meant)
        found = _SUFFIX.fullmatch(word)
        assert found is not None  # it matches any text
        base, suffix = found.groups()
        if base and os.path.isdir(base):
            there = context(base, self._here.settings)
            return self._lock(there, "HEAD" + suffix) if suffix else self.on_disk(there)
        return self._lock(self._here, word)

    def _lock(self, here: Context, revision: str) -> Side:
        if here.place.repository is None:
            raise NotLocked("the run was never locked, or its repository is not here", path=here.place.run)
        repo = self.enter_context(RunRepo(here.place.repository))
        return LockSide(repo, resolve(repo, revision))

    def on_disk(self, here: Context) -> Side:
        """The run as it is now, which the guard keeps from changing under another gitrun."""
        if not here.place.exists:
            raise RunNotFound(
                "the run directory is gone",
                path=here.place.run,
                hint="compare two locks, or gitrun restore brings it back",
            )
        self.enter_context(guarded(here.place, shared=True))
        here = here.again()
        refuse_interrupted(here.place)
        return DiskSide(
            here.place,
            _newest(here),
            sealed=is_locked(here.place),
            mutable=here.layout.mutable(here.directory),
            jobs=self._jobs,
            progress=self._progress,
        )


def _newest(here: Context) -> LockFile:
    """The record of the newest lock, be it the origin's; an empty one for a run without any, which can be compared too."""
    try:
        return read_newest(here.place).record
    except NotLocked:
        if here.place.repository is None:
            return LockFile.of((), ())
    with RunRepo(here.place.repository) as repo:
        commit = repo.ref(MAIN)
        return record_at(repo, commit) if commit else LockFile.of((), ())


def _changes(old: Side, new: Side, chosen: Sequence[bytes]) -> Iterator[Change]:
    """The differences, sorted by path, a file that only moved told once."""
    was, now = ({entry.path: entry for entry in side.entries} for side in (old, new))
    found = [it for it in between(old.entries, new.entries) if _is_chosen(it.path, chosen)]
    moved = renames(
        [was[it.path] for it in found if it.kind == "deleted"],
        [now[it.path] for it in found if it.kind == "added"],
        old,
        new,
    )
    gone = {rename.path for rename in moved.values()}
    for it in found:
        if it.kind == "deleted" and it.path in gone:
            continue
        before = was.get(moved[it.path].path if it.path in moved else it.path)
        change = Change(
            it.path, it.kind, it.expected, it.actual, old_size=_size(before), new_size=_size(now.get(it.path))
        )
        yield _as_renamed(change, before, now[it.path], moved[it.path]) if before and it.path in moved else change


def _as_renamed(change: Change, was: Entry, now: Entry, rename: Rename) -> Change:
    note = "" if was.mode == now.mode else f"its mode, too: {was.mode:04o} -> {now.mode:04o}"
    return replace(
        change,
        kind="renamed",
        renamed_from=rename.path,
        similarity=rename.similarity,
        expected=describe(was, "renamed"),
        note=note,
    )


def _is_chosen(path: bytes, chosen: Sequence[bytes]) -> bool:
    return not chosen or any(not name or path == name or path.startswith(name + b"/") for name in chosen)


def _size(entry: Entry | None) -> int:
    return entry.size if entry is not None and entry.kind == FILE else 0


def _with_lines(changes: Sequence[Change], old: Side, new: Side) -> Iterator[Change]:
    """The changes of texts with their lines, as far as the bounds allow."""
    was, now = ({entry.path: entry for entry in side.entries} for side in (old, new))
    left = ALL_PATCH_BYTES
    for change in changes:
        told = _lines(
            change,
            (old, was.get(change.renamed_from or change.path)),
            (new, now.get(change.path)),
            min(left, PATCH_BYTES),
        )
        left -= len(told.patch)
        yield told


def _lines(change: Change, old: tuple[Side, Entry | None], new: tuple[Side, Entry | None], limit: int) -> Change:
    entries = [entry for _, entry in (old, new) if entry is not None]
    if change.kind in ("mode", "target") or change.similarity == SAME or any(entry.kind != FILE for entry in entries):
        return change
    if any(entry.size > TEXT_BYTES for entry in entries):
        return replace(change, note=f"larger than {TEXT_BYTES >> 20} MiB: its lines are not compared")
    try:
        before, after = (side.content(entry) if entry is not None else b"" for side, entry in (old, new))
    except (GitrunError, OSError) as error:
        return replace(
            change,
            note=f"its lines are not compared: {error.message if isinstance(error, GitrunError) else error.strerror}",
        )
    if is_binary(before) or is_binary(after):
        return replace(change, binary=True)
    if before.count(b"\n") + after.count(b"\n") > TEXT_LINES:
        return replace(change, note=f"more than {TEXT_LINES:,} lines: they are not compared")
    found = hunks(before, after)
    change = replace(change, added_lines=found.added, deleted_lines=found.deleted)
    if len(found.text) <= limit:
        return replace(change, patch=found.text)
    kept = found.text[: found.text.rfind(b"\n", 0, limit) + 1]
    return replace(
        change, patch=kept, note=f"cut: {len(found.text)} bytes of differences, the first {len(kept)} are shown"
    )
