"""Undoes or finishes what a journal tells of: an unfinished lock goes back, an unfinished unlock goes on (docs/adr/0007)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gitrun import journal, statrecord
from gitrun.breaklinks import break_links
from gitrun.compare import join
from gitrun.entry import DIRECTORY, ROOT
from gitrun.errors import NotLocked
from gitrun.fsio import TEMPORARY, Beneath, remove_file, remove_tree
from gitrun.journal import Journal
from gitrun.lockfile import LockFile
from gitrun.marks import RESTORING, marks_stand, remove_marks, set_mtime, write_marks
from gitrun.protection import is_asked, make_changeable, make_immutable
from gitrun.repo import ARCHIVE, LOCKED, MAIN, RunRepo
from gitrun.seal import seal, unseal
from gitrun.standing import own_files_apart
from gitrun.store import Place, object_path
from gitrun.walk import walk

SPOOL = b"spool"
"""Where a lock collects objects before it publishes them: a directory among gitrun's own files in the repository."""


def recover(place: Place) -> str:
    """Undoes an interrupted lock, finishes an interrupted unlock; returns which verb it was, empty for none.

    For a caller that holds the guard: whatever lies around half written is nobody's.
    """
    sweep(place)
    begun = journal.pending(place)
    if begun is None:
        return ""
    if begun.verb == journal.LOCK:
        undo_lock(place, begun)
    elif begun.verb == journal.UNLOCK:
        finish_unlock(place, begun)
    else:
        end_restore(place)
    return begun.verb


@contextmanager
def signals_held() -> Iterator[None]:
    """Lets nothing interrupt the undoing: a second ^C comes through when it is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def sweep(place: Place) -> None:
    """Removes files in the repository that a crash, or a signal between two instructions, left half written."""
    if place.repository is None:
        return
    for directory in (b"gitrun", b"refs/heads", b"refs/tags", b"refs/gitrun/locks"):
        path = os.path.join(place.repository, directory)
        with suppress(FileNotFoundError):
            for name in os.listdir(path):
                if name.startswith(TEMPORARY):
                    remove_file(os.path.join(path, name))


def refuse_interrupted(place: Place) -> None:
    """Raises NotLocked while a lock or unlock is unfinished; an unfinished restore leaves the lock standing."""
    begun = journal.pending(place)
    if begun is not None and begun.verb != journal.RESTORE:
        raise NotLocked(
            f"an earlier {begun.verb} of this run did not finish",
            path=place.run,
            hint="gitrun unlock finishes it"
            if begun.verb == journal.UNLOCK
            else "run gitrun lock again, or gitrun unlock",
        )


# -- lock --


def undo_lock(place: Place, begun: Journal, *, drop_tag: bool = False) -> None:
    """Brings run and repository back to where they were before the lock that `begun` tells of.

    A lock whose tag stands is complete, and stays, unless `drop_tag`.  Does no harm when parts were undone before.
    The journal goes last.
    """
    assert place.repository is not None
    with RunRepo(place.repository) as repo:
        if repo.ref(LOCKED) == begun.tag:
            if not drop_tag:
                remove_tree(place.own(SPOOL))
                journal.end(place)
                return
            repo.delete_ref(LOCKED)
        if place.exists:
            open_run(place, begun.record)
            _put_times_back(place.run, begun.record)
        if repo.ref(MAIN) == begun.commit:
            if begun.parent:
                repo.set_ref(MAIN, begun.parent)
            else:
                repo.delete_ref(MAIN)
    for oid in begun.objects:
        _drop_object(place, oid)
    for name in begun.packs:
        for suffix in (b".idx", b".pack"):
            remove_file(os.path.join(place.repository, b"objects", b"pack", name.encode() + suffix))
    remove_tree(place.own(SPOOL))
    journal.end(place)


def _drop_object(place: Place, oid: str) -> None:
    assert place.repository is not None
    mine, pooled = object_path(place.repository, oid), object_path(place.store, oid)
    with suppress(FileNotFoundError):
        os.unlink(mine)
    with suppress(FileNotFoundError):
        if os.lstat(pooled).st_nlink == 1:
            os.unlink(pooled)
    for path in (mine, pooled):
        with suppress(OSError):  # other objects may lie there
            os.rmdir(os.path.dirname(path))
            os.rmdir(os.path.dirname(os.path.dirname(path)))


def open_run(place: Place, record: LockFile) -> None:
    """Gives the write permission back and takes gitrun's own files out of the run: what unlock does to the directory.

    The permission bits come first, or the files could not be removed.  Doing it twice does no harm.
    """
    if is_asked(record):
        make_changeable(place.run, record)
    unseal(place.run, record.entries)
    if record.header("link") == "hardlink" and place.repository is not None:
        break_links(place.repository, place.run, record)
    remove_marks(place, record)


def _put_times_back(run: bytes, record: LockFile) -> None:
    """Gives the directories into which an unfinished lock wrote their recorded times."""
    touched = {ROOT} | {entry.path.rpartition(b"/")[0] for entry in record.entries if entry.created}
    with Beneath(run) as beneath:
        for entry in record.entries:
            if entry.kind == DIRECTORY and entry.path in touched:
                with suppress(FileNotFoundError, NotADirectoryError):
                    set_mtime(beneath.directory(entry.path), entry.mtime_ns)


# -- unlock --


def finish_unlock(place: Place, begun: Journal) -> None:
    """Does what is left of an unlock: archive the tag, drop it, open the run.  Doing it twice does no harm."""
    assert place.repository is not None
    with RunRepo(place.repository) as repo:
        archived = repo.archived()
        if begun.tag and begun.tag not in [oid for _, oid in archived]:
            repo.set_ref(f"{ARCHIVE}{archived[-1][0] + 1 if archived else 1}", begun.tag)
        repo.delete_ref(LOCKED)
    if place.exists:
        open_run(place, begun.record)
    statrecord.forget(place)
    journal.end(place)


def undo_unlock(place: Place, begun: Journal) -> None:
    """Locks the run again after an unlock that failed half-way: lock file, write permission, tag."""
    assert place.repository is not None
    if place.exists:
        run, record = place.run, begun.record
        if not marks_stand(place, record):  # on a full disk they had better
            if is_asked(record):
                make_changeable(run, record)
            unseal(run, [entry for entry in record.entries if entry.kind == DIRECTORY])
            write_marks(place, record)
        pairs = join(record.entries, own_files_apart(place, record, walk(run))).pairs
        seal(run, pairs, force=True, jobs=1)
        if is_asked(record):
            make_immutable(run, record)
    with RunRepo(place.repository) as repo:
        if begun.tag and repo.ref(LOCKED) != begun.tag:
            repo.set_ref(LOCKED, begun.tag)
        for number, oid in repo.archived():
            if oid == begun.tag:
                repo.delete_ref(f"{ARCHIVE}{number}")
    journal.end(place)


# -- restore --


def end_restore(place: Place) -> None:
    """Removes what an interrupted restore left in the run; whatever it had put back stays."""
    remove_tree(os.path.join(place.run, RESTORING))
    journal.end(place)
