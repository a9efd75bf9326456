"""What is recorded of one directory entry of a run: the value that walk, lock file and compare speak in."""

from __future__ import annotations

import stat
from typing import NamedTuple

LOCK_FILE = b".gitrun.lock"
GIT_LINK = b".git"
ROOT = b""
"""The path of the run directory itself, the first entry of every lock file."""

WRITE_BITS = 0o222

FILE, DIRECTORY, SYMLINK, FIFO, SOCKET, CHARACTER_DEVICE, BLOCK_DEVICE = "f", "d", "l", "p", "s", "c", "b"
"""Kinds of entries, in the letters of `find -printf %y`."""

KIND_NAMES = {
    FILE: "file",
    DIRECTORY: "directory",
    SYMLINK: "symlink",
    FIFO: "FIFO",
    SOCKET: "socket",
    CHARACTER_DEVICE: "character device",
    BLOCK_DEVICE: "block device",
}

_KIND_OF_FORMAT = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFCHR: CHARACTER_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}

BLOB, LFS, NOT_STORED = "blob", "lfs", "none"
"""How the content of a file is stored: git blob, git-lfs object, or not at all (`--link none`)."""


def full_path(run: bytes, path: bytes) -> bytes:
    """The path of an entry as people know it; for the root that of the run itself, without a slash behind it."""
    return run + b"/" + path if path else run


def kind_of(st_mode: int) -> str:
    """The kind of an entry, from the `st_mode` of its lstat."""
    return _KIND_OF_FORMAT[stat.S_IFMT(st_mode)]


class Entry(NamedTuple):
    """One entry of a run, as the lock file records it.

    A tuple and not a dataclass: a run may have 100,000 of them, and making a tuple costs a tenth.
    """

    path: bytes
    """Relative to the run, `/` between components; ROOT is the run directory itself."""
    kind: str
    mode: int
    """Permission bits 0..0o7777 as they were before the lock."""
    size: int
    """Bytes of content (files) or of the link target (symlinks), else 0."""
    mtime_ns: int
    sha256: str = ""
    """Lower-case hex for files, empty for everything else.  Likewise `blake3`."""
    blake3: str = ""
    storage: str = ""
    """BLOB, LFS or NOT_STORED for files, empty for everything else."""
    mutable: bool = False
    """A change of its content does not break the lock."""
    created: bool = False
    """An empty mutable file that lock itself creates, and unlock removes if it still is empty."""
    target: bytes = b""
    """Where a symlink points to."""
    device: tuple[int, int] | None = None
    """Major and minor number of a device."""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    """Extended attributes (user.*, POSIX ACLs, capabilities), sorted by name."""
    hardlink: int = 0
    """Entries with the same number above 0 are hard links of one file."""
    tree_path: bytes = b""
    """Where it lies in the git tree, when not under its own name."""
    extra: tuple[tuple[str, str], ...] = ()
    """Attributes that a newer minor version of the format wrote; kept as they are."""

    @property
    def sealed_mode(self) -> int:
        """The permission bits that the entry has while the run is locked."""
        if self.mutable or self.kind not in (FILE, DIRECTORY):
            return self.mode
        return self.mode & ~WRITE_BITS


EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY_BLAKE3 = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
"""The digests of no bytes at all."""
