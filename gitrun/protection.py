"""What keeps a locked run from being changed by accident: the mode bits, or the file system's immutable flag."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from fcntl import ioctl
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gitrun.entry import DIRECTORY, FILE, WRITE_BITS, Entry, full_path
from gitrun.errors import SystemFailed
from gitrun.fsio import opened
from gitrun.lockfile import LockFile
from gitrun.results import IMMUTABLE, NOT_ENFORCED, PROTECTED, UNPROTECTED
from gitrun.seal import each_open
from gitrun.walk import Node

_GET_FLAGS, _SET_FLAGS, _IMMUTABLE_FLAG = 0x80086601, 0x40086602, 0x10


def immutable_headers(run: bytes, nodes: Iterable[Node]) -> list[tuple[str, str]]:
    """The lock file's headers for `lock --immutable`: that it was asked, and which entries had the flag before."""
    candidates = [node.path for node in nodes if node.kind in (FILE, DIRECTORY)]
    before = [path for path in candidates if is_immutable(full_path(run, path))]
    return [("immutable", "yes"), *(("immutable-before", quote_from_bytes(path) or ".") for path in before)]


def make_immutable(run: bytes, record: LockFile) -> None:
    """Sets the flag on every sealed file and directory, children first; raises SystemFailed where that cannot be."""
    _set_flag(run, sorted(_flagged(record), reverse=True), True)


def make_changeable(run: bytes, record: LockFile) -> None:
    """Clears the flag where a lock has set it, directories first."""
    before = {unquote_to_bytes(value) for key, value in record.headers if key == "immutable-before"}
    _set_flag(run, [entry for entry in _flagged(record) if (entry.path or b".") not in before], False)


def _flagged(record: LockFile) -> list[Entry]:
    return [entry for entry in record.entries if entry.kind in (FILE, DIRECTORY) and not entry.mutable]


def is_asked(record: LockFile) -> bool:
    """Whether the run was locked with `--immutable`."""
    return record.header("immutable") == "yes"


def _set_flag(run: bytes, entries: Sequence[Entry], on: bool) -> None:
    for entry, fd in each_open(run, entries):
        try:
            flags = _flags(fd)
            wanted = flags | _IMMUTABLE_FLAG if on else flags & ~_IMMUTABLE_FLAG
            if wanted != flags:
                ioctl(fd, _SET_FLAGS, wanted.to_bytes(8, "little"))
        except OSError as error:
            raise SystemFailed(
                f"cannot {'set' if on else 'clear'} the immutable flag: {error.strerror}",
                path=full_path(run, entry.path),
                hint="only root may, on a file system that has it (ext4, xfs, btrfs)",
            ) from error


def is_immutable(path: bytes) -> bool:
    """Whether a file or directory has the immutable flag; False where that cannot be told."""
    try:
        with opened(path) as fd:
            return bool(_flags(fd) & _IMMUTABLE_FLAG)
    except OSError:
        return False


def _flags(fd: int) -> int:
    return int.from_bytes(ioctl(fd, _GET_FLAGS, b"\0" * 8)[:4], "little")


def protection(run: bytes, writable: Callable[[], bool]) -> str:
    """What keeps the run from being changed by accident; `writable` says whether any entry has its write bits back."""
    if is_immutable(run):
        return IMMUTABLE
    if writable():
        return UNPROTECTED
    return NOT_ENFORCED if os.geteuid() == 0 else PROTECTED


def any_writable(pairs: Iterable[tuple[Entry, Node]]) -> bool:
    """Whether any file or directory that should be read-only is not."""
    return any(node.mode & WRITE_BITS and not entry.mutable for entry, node in pairs if entry.kind in (FILE, DIRECTORY))
