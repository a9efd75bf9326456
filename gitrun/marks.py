"""What gitrun itself puts into a locked run: the lock file, the one-line `.git`, missing mutable files - and takes out again."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gitrun.entry import GIT_LINK, LOCK_FILE, Entry, full_path
from gitrun.fsio import TEMPORARY, Beneath, opened, read_file, remove_file, remove_tree, write_file
from gitrun.lockfile import LockFile
from gitrun.standing import git_link_text, is_own_git_link
from gitrun.store import Place

RESTORING = b".tmp-gitrun-restore"
"""Where a restore makes its files, in the run."""


def marks(place: Place, record: LockFile, encoded: bytes = b"") -> dict[bytes, bytes]:
    """The names and contents of gitrun's own files in the locked run; `encoded` is the record's encoding, if known."""
    link = {GIT_LINK: b"gitdir: " + git_link_text(place) + b"\n"} if record.header("git-link") else {}
    return link | {LOCK_FILE: encoded or record.encode()}


def marks_stand(place: Place, record: LockFile) -> bool:
    """Whether all of gitrun's own files are in the run, and as they should be."""
    own = marks(place, record)
    files = all(read_file(full_path(place.run, name), len(data)) == data for name, data in own.items())
    with Beneath(place.run) as beneath:
        return files and all(_is_there(beneath, entry.path) for entry in record.entries if entry.created)


def _is_there(beneath: Beneath, path: bytes) -> bool:
    try:
        beneath.lstat(path)
    except OSError:
        return False
    return True


def write_marks(place: Place, record: LockFile, encoded: bytes = b"") -> None:
    """Writes lock file, `.git` and missing mutable files, synced; the directories' times stay as they are."""
    for entry in record.entries:
        if entry.created:
            _create(place.run, entry)
    with opened(place.run, os.O_RDONLY | os.O_DIRECTORY) as fd, times_kept(fd):
        for name, data in marks(place, record, encoded).items():
            _make_way(fd, name)
            write_file(name, data, mode=0o444, dir_fd=fd)


def _make_way(run_fd: int, name: bytes) -> None:
    """A rename replaces everything but a directory; one that holds something stays, and is an error."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=run_fd, follow_symlinks=False).st_mode):
            os.rmdir(name, dir_fd=run_fd)


def _create(run: bytes, entry: Entry) -> None:
    with Beneath(run) as beneath:
        directory, name = beneath.parent(entry.path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with suppress(FileExistsError), times_kept(directory), opened(name, flags, dir_fd=directory) as fd:
            if os.geteuid() == 0:
                owner = os.fstat(directory)
                os.fchown(fd, owner.st_uid, owner.st_gid)
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            os.fsync(fd)
        os.fsync(directory)


def remove_marks(place: Place, record: LockFile) -> None:
    """Takes gitrun's files out of the run again, half written ones too; what else there is stays."""
    with opened(place.run, os.O_RDONLY | os.O_DIRECTORY) as fd:
        with times_kept(fd):
            remove_file(LOCK_FILE, dir_fd=fd)
            if record.header("git-link") and is_own_git_link(place, record):
                remove_file(GIT_LINK, dir_fd=fd)
            remove_leftovers(place.run, fd)
        os.fsync(fd)
    _remove_created(place.run, record)


def remove_leftovers(run: bytes, run_fd: int) -> None:
    """Files that a crash left half written, under names that nobody else uses."""
    for name in map(os.fsencode, os.listdir(run_fd)):
        if name == RESTORING:
            remove_tree(full_path(run, name))
        elif name.startswith(TEMPORARY):
            os.unlink(name, dir_fd=run_fd)


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
    before = os.fstat(fd).st_mtime_ns
    try:
        yield
    finally:
        set_mtime(fd, before)


def set_mtime(fd: int, mtime_ns: int) -> None:
    """Sets a modification time, unless it is that already: where nothing was changed, nothing needs permission."""
    found = os.fstat(fd)
    if found.st_mtime_ns != mtime_ns:
        os.utime(fd, ns=(found.st_atime_ns, mtime_ns))
