"""Takes the files of a run apart from the store with which they share their inodes (`lock --link hardlink`)."""

from __future__ import annotations

import os

from gitrun.copying import copy_hashing
from gitrun.entry import LFS, Entry
from gitrun.fsio import TEMPORARY, Beneath, opened, remove_file, try_chmod
from gitrun.lockfile import LockFile
from gitrun.marks import times_kept
from gitrun.store import object_path

_COPY = TEMPORARY + b"own"


def break_links(repository: bytes, run: bytes, record: LockFile) -> None:
    """Gives every file that shares its inode with the store one of its own; hard links within the run stay such."""
    own: dict[int, bytes] = {}
    with Beneath(run) as beneath:
        for entry in record.entries:
            if entry.storage == LFS and _is_shared(beneath, entry, object_path(repository, entry.sha256)):
                _break(run, beneath, entry, own)


def _is_shared(beneath: Beneath, entry: Entry, stored: bytes) -> bool:
    try:
        return os.path.samestat(beneath.lstat(entry.path), os.lstat(stored))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _break(run: bytes, beneath: Beneath, entry: Entry, own: dict[int, bytes]) -> None:
    """`own` knows, for each group of hard links, a name that was taken apart already."""
    fd, name = beneath.parent(entry.path)
    with times_kept(fd):
        remove_file(_COPY, dir_fd=fd)  # of an unlock that was killed here
        if entry.hardlink in own:
            os.link(os.path.join(run, own[entry.hardlink]), _COPY, dst_dir_fd=fd, follow_symlinks=False)
        else:
            _copy(name, fd, entry)
        os.rename(_COPY, name, src_dir_fd=fd, dst_dir_fd=fd)
        os.fsync(fd)
    if entry.hardlink:
        own[entry.hardlink] = entry.path


def _copy(name: bytes, fd: int, entry: Entry) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with opened(name, dir_fd=fd) as source, opened(_COPY, flags, dir_fd=fd) as copy:
        copy_hashing(source, copy)
        try_chmod(source, 0o444)  # it is the store's alone now, to which the run's permission bits were given as well
        found = os.fstat(source)
        os.fchown(copy, found.st_uid, found.st_gid)
        for attribute in os.listxattr(source):
            os.setxattr(copy, attribute, os.getxattr(source, attribute))
        os.fchmod(copy, entry.mode)
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fsync(copy)
