"""log: the locks of a run, newest first, and what each changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from gitrun.errors import GitrunError, NotLocked
from gitrun.history import Locked, locks, record_at
from gitrun.layouts import text
from gitrun.lineage import between
from gitrun.lockfile import LockFile
from gitrun.ops._context import RunArgument, context
from gitrun.ops.status import status_here
from gitrun.repo import ARCHIVE, LOCKED, RunRepo
from gitrun.results import Difference
from gitrun.results.log import LockedAt, LogResult
from gitrun.settings import Settings

_NOTE_BYTES = 4096


def log(run: RunArgument, *, max_count: int = 0, settings: Settings | None = None) -> LogResult:
    """The locks of a run, newest first, each with what it changed against the one before; at most `max_count`, 0 for all.

    A run that is unlocked, or gone, has its history still.  No content of the run is read.  Raises NotLocked when it
    never was locked or has no repository here, RecordError for a history that cannot be read.
    """
    here = context(run, settings)
    if here.place.repository is None:
        raise NotLocked(
            "there is no repository of this run, and so no history",
            path=here.place.run,
            hint="it was never locked, is a copy, or GITRUN_STORE points elsewhere",
        )
    with RunRepo(here.place.repository) as repo:
        history = locks(repo)
        if not history:
            raise NotLocked("the run was never locked", path=here.place.run, hint="gitrun lock seals it")
        told = list(islice(_told(repo, history), max_count or None))
    now = status_here(here)
    return LogResult(run=now.run, path=now.path, state=now.state, label=now.label, locks=tuple(told))


def _names(repo: RunRepo) -> dict[str, str]:
    """The name by which the tag object of each lock is found."""
    names = {oid: f"{ARCHIVE}{number}" for number, oid in repo.archived()}
    standing = repo.ref(LOCKED)
    return names | ({standing: LOCKED} if standing else {})


def _told(repo: RunRepo, history: Sequence[Locked]) -> Iterator[LockedAt]:
    """Each lock in turn; no more than two records are held at a time."""
    names = _names(repo)
    record: LockFile | None = record_at(repo, history[0].commit.oid)
    for place, lock in enumerate(history):
        assert record is not None
        older = record_at(repo, history[place + 1].commit.oid) if place + 1 < len(history) else None
        yield LockedAt(
            number=len(history) - place,
            commit=lock.commit.oid,
            parents=lock.commit.parents,
            ref=names.get(lock.tag.oid, "") if lock.tag else "",
            standing=lock.standing,
            subject=lock.commit.message.partition("\n")[0],
            author=lock.commit.author,
            locked_at=lock.commit.when,
            run=record.run_id,
            files=record.files,
            bytes=record.bytes,
            changes=tuple(_changes(repo, history[place + 1 :], lock, older, record)) if older else (),
        )
        record = older


def _changes(
    repo: RunRepo, before: Sequence[Locked], lock: Locked, older: LockFile, newer: LockFile
) -> Iterator[Difference]:
    """What a lock changed against the one before; of notes that people change, what they say instead of a digest."""
    blobs: tuple[dict[bytes, str], ...] = ()
    for change in between(older.entries, newer.entries):
        if change.kind != "mutable":
            yield change
            continue
        blobs = blobs or (repo.blobs(before[0].commit.oid), repo.blobs(lock.commit.oid))
        old, new = (_note(repo, known.get(change.path)) for known in blobs)
        yield replace(change, expected=old, actual=new)


def _note(repo: RunRepo, oid: str | None) -> str:
    """A small text on one line; nothing where there is none, or it cannot be read."""
    try:
        data = repo.read(oid, "blob") if oid else b""
    except GitrunError:
        return "?"
    return text.one_line(text.scalar(data)) if len(data) <= _NOTE_BYTES else f"{len(data)} bytes"
