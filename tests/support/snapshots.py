"""Pictures of a directory tree: everything that a lock and a restore must leave, or bring back, as it was."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Seen(NamedTuple):
    """One entry, but for what nobody can restore: inode, ctime and atime."""

    kind: str
    """As `ls -l` shows it: `-`, `d`, `l`, `p`, `s`, `c` or `b`."""
    mode: int
    owner: tuple[int, int]
    size: int
    mtime_ns: int
    content: str
    """SHA-256 of a file."""
    target: bytes
    """Of a symlink."""
    device: int
    xattrs: tuple[tuple[str, bytes], ...]
    names: tuple[bytes, ...]
    """All names of a file in the tree, where it has several."""


Snapshot = dict[bytes, Seen]


def snapshot(top: Path) -> Snapshot:
    """Every entry of a tree by its path relative to `top`, which itself is `.`; paths may be longer than PATH_MAX."""
    entries = list(_entries(os.open(top, _DIRECTORY), b""))
    names: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)
    for path, found, _ in entries:
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            names[found.st_dev, found.st_ino].append(path)
    return {
        path or b".": seen._replace(names=tuple(sorted(names.get((found.st_dev, found.st_ino), ()))))
        for path, found, seen in entries
    }


def _entries(fd: int, path: bytes) -> Iterator[tuple[bytes, os.stat_result, Seen]]:
    """The directory `fd` and all below it; closes `fd`."""
    try:
        found = os.fstat(fd)
        yield path, found, _seen(found, xattrs=_xattrs(fd))
        for name in sorted(map(os.fsencode, os.listdir(fd))):
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            below = path + b"/" + name if path else name
            if stat.S_ISDIR(found.st_mode):
                yield from _entries(os.open(name, _DIRECTORY, dir_fd=fd), below)
            else:
                yield below, found, _leaf(name, fd, found)
    finally:
        os.close(fd)


def _leaf(name: bytes, parent: int, found: os.stat_result) -> Seen:
    if stat.S_ISLNK(found.st_mode):
        return _seen(found, target=os.readlink(name, dir_fd=parent))
    if not stat.S_ISREG(found.st_mode):
        return _seen(found)
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent), "rb") as file:
        return _seen(found, content=hashlib.file_digest(file, "sha256").hexdigest(), xattrs=_xattrs(file.fileno()))


def _seen(
    found: os.stat_result, *, content: str = "", target: bytes = b"", xattrs: tuple[tuple[str, bytes], ...] = ()
) -> Seen:
    kind = stat.filemode(found.st_mode)[0]
    size = found.st_size if kind in "-l" else 0
    owner = (found.st_uid, found.st_gid)
    mode = stat.S_IMODE(found.st_mode)
    return Seen(kind, mode, owner, size, found.st_mtime_ns, content, target, found.st_rdev, xattrs, ())


def _xattrs(fd: int) -> tuple[tuple[str, bytes], ...]:
    names = [name for name in os.listxattr(fd) if not name.startswith("security.selinux")]
    return tuple((name, os.getxattr(fd, name)) for name in sorted(names))
