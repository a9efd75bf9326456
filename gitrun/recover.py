"""Undoes or finishes what a journal tells of: an unfinished lock, an unfinished unlock."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gitrun import journal, statrecord
from gitrun.copying import copy_hashing
from gitrun.entry import DIRECTORY, GIT_LINK, LFS, LOCK_FILE, ROOT, Entry
from gitrun.errors import NotLocked
from gitrun.fsio import TEMPORARY, Beneath, opened, remove_file, remove_tree
from gitrun.journal import Journal
from gitrun.lockfile import LockFile
from gitrun.repo import ARCHIVE, LOCKED, MAIN, RunRepo
from gitrun.seal import unseal
from gitrun.store import Place, object_path

SPOOL = b"spool"
"""Where a lock collects objects before it publishes them: a directory among gitrun's own files in the repository."""
RESTORING = b".tmp-gitrun-restore"
"""Where a restore makes its files, in the run."""


def undo_lock(place: Place, begun: Journal) -> None:
    """Brings run and repository back to where they were before the lock that `begun` tells of.

    Does no harm when parts were undone before.  The journal goes last.
    """
    assert place.repository is not None
    with RunRepo(place.repository) as repo:
        if repo.ref(LOCKED) == begun.tag:
            journal.end(place)  # it was complete but for this
            return
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
    journal.end(place)
    remove_tree(place.own(SPOOL))


def _drop_object(place: Place, oid: str) -> None:
    assert place.repository is not None
    with suppress(FileNotFoundError):
        os.unlink(object_path(place.repository, oid))
    pooled = object_path(place.store, oid)
    with suppress(FileNotFoundError):
        if os.lstat(pooled).st_nlink == 1:
            os.unlink(pooled)
    for path in (object_path(place.repository, oid), pooled):
        with suppress(OSError):  # the next lock may want them, another object may lie there
            os.rmdir(os.path.dirname(path))
            os.rmdir(os.path.dirname(os.path.dirname(path)))


def open_run(place: Place, record: LockFile) -> None:
    """Gives the write permission back and takes gitrun's own files out of the run: what unlock does to the directory.

    The permission bits come first, or the files could not be removed.  Doing it twice does no harm.
    """
    run = place.run
    unseal(run, record.entries, immutable=record.header("immutable") == "yes")
    if record.header("link") == "hardlink" and place.repository is not None:
        break_links(place.repository, run, record)
    with opened(run, os.O_RDONLY | os.O_DIRECTORY) as fd:
        with times_kept(fd):
            remove_file(LOCK_FILE, dir_fd=fd)
            if record.header("git-link"):
                _remove_git_link(fd)
        os.fsync(fd)
    _remove_created(run, record)


def _remove_git_link(run_fd: int) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISREG(os.stat(GIT_LINK, dir_fd=run_fd, follow_symlinks=False).st_mode):
            os.unlink(GIT_LINK, dir_fd=run_fd)


def _remove_created(run: bytes, record: LockFile) -> None:
    """Removes the mutable files that lock made, where they still are empty."""
    with Beneath(run) as beneath:
        for path in [entry.path for entry in record.entries if entry.created]:
            with suppress(FileNotFoundError, NotADirectoryError):
                if beneath.lstat(path).st_size == 0:
                    fd, name = beneath.parent(path)
                    with times_kept(fd):
                        os.unlink(name, dir_fd=fd)


@contextmanager
def times_kept(fd: int) -> Iterator[None]:
    """Leaves a directory's times as they were, whatever gitrun writes into it."""
    before = os.fstat(fd)
    yield
    os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))


def _put_times_back(run: bytes, record: LockFile) -> None:
    """Gives the directories into which an unfinished lock wrote their recorded times."""
    touched = {ROOT} | {entry.path.rpartition(b"/")[0] for entry in record.entries if entry.created}
    with Beneath(run) as beneath:
        for entry in record.entries:
            if entry.kind == DIRECTORY and entry.path in touched:
                with suppress(FileNotFoundError, NotADirectoryError):
                    os.utime(beneath.directory(entry.path), ns=(entry.mtime_ns, entry.mtime_ns))


def break_links(repository: bytes, run: bytes, record: LockFile) -> None:
    """Gives the files of a run that share their inode with the store inodes of their own (`lock --link hardlink`)."""
    own: dict[tuple[int, int], bytes] = {}
    with Beneath(run) as beneath:
        for entry in record.entries:
            if entry.storage == LFS:
                _break_link(beneath, object_path(repository, entry.sha256), entry, own)


def _break_link(beneath: Beneath, stored: bytes, entry: Entry, own: dict[tuple[int, int], bytes]) -> None:
    try:
        found, shared = beneath.lstat(entry.path), os.lstat(stored)
    except (FileNotFoundError, NotADirectoryError):
        return
    identity = (found.st_dev, found.st_ino)
    if identity != (shared.st_dev, shared.st_ino):
        return
    fd, name = beneath.parent(entry.path)
    temporary = TEMPORARY + os.urandom(8).hex().encode()
    with times_kept(fd):
        if identity in own and entry.hardlink:
            os.link(own[identity], temporary, dst_dir_fd=fd, follow_symlinks=False)
        else:
            _copy_with_all(name, temporary, fd, entry)
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        os.fsync(fd)
    own.setdefault(identity, os.path.join(b"/proc/self/fd", b"%d" % fd, name))


def _copy_with_all(name: bytes, target: bytes, fd: int, entry: Entry) -> None:
    with opened(name, dir_fd=fd) as source, opened(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, dir_fd=fd) as copy:
        copy_hashing(source, copy)
        for attribute, value in entry.xattrs:
            os.setxattr(copy, attribute, value)
        os.fchmod(copy, entry.mode)
        os.utime(copy, ns=(entry.mtime_ns, entry.mtime_ns))
        os.fsync(copy)


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


def recover(place: Place) -> str:
    """Undoes an interrupted lock, finishes an interrupted unlock; returns which verb it was, empty for none."""
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


def end_restore(place: Place) -> None:
    """Removes what an interrupted restore left in the run; whatever it had put back stays."""
    remove_tree(os.path.join(place.run, RESTORING))
    journal.end(place)


def refuse_interrupted(place: Place) -> None:
    """Raises NotLocked while a lock or unlock is unfinished; an unfinished restore leaves the lock standing."""
    begun = journal.pending(place)
    if begun is not None and begun.verb != journal.RESTORE:
        raise NotLocked(
            f"an earlier {begun.verb} of this run did not finish",
            path=place.run,
            hint=f"run gitrun {begun.verb} again, or gitrun unlock",
        )
