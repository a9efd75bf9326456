"""Takes the write permission of a run away and gives it back: by descriptors, nothing outside the run, nothing through a link.

The order is fixed: children before their directory when bits go, directories before their children when bits come back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from gitrun.entry import DIRECTORY, FILE, WRITE_BITS, Entry, kind_of
from gitrun.errors import ChangedWhileReading, SystemFailed, system_failed
from gitrun.fsio import Beneath
from gitrun.leases import refuse_writers
from gitrun.parallel import fork_map
from gitrun.results import IMMUTABLE, NOT_ENFORCED, PROTECTED, UNPROTECTED
from gitrun.walk import Node

_GET_FLAGS, _SET_FLAGS, _IMMUTABLE_FLAG = 0x80086601, 0x40086602, 0x10
_NO_CHMOD = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EROFS}
_BATCH = 512


def seal(run: bytes, pairs: Sequence[tuple[Entry, Node]], *, force: bool, immutable: bool, jobs: int) -> None:
    """Takes the write bits from files and directories, mutable files excepted, children first.

    A file system that refuses chmod keeps its modes: the caller reads them back.  Each entry must be the one that was
    walked.  Raises RunActive for a file that a process holds open for writing (unless `force`), SystemFailed where
    `immutable` was asked and cannot be.
    """
    chosen = [pair for pair in reversed(pairs) if pair[0].kind in (FILE, DIRECTORY)]
    batches = [chosen[at : at + _BATCH] for at in range(0, len(chosen), _BATCH)]
    # Children of one directory may fall into two batches: then the directory's own turn comes with the second at the
    # earliest, so every worker still finds what it has to open; only write permission is taken, never search.
    for _ in fork_map(partial(_seal_batch, run, force), batches, jobs=jobs if len(batches) > 2 else 1):
        pass
    if immutable:
        set_immutable(run, [entry for entry, _ in chosen if not entry.mutable], True)


def _seal_batch(run: bytes, force: bool, pairs: Sequence[tuple[Entry, Node]]) -> None:
    with Beneath(run) as beneath:
        for entry, node in pairs:
            _seal_one(run, beneath, entry, node, force)


def _seal_one(run: bytes, beneath: Beneath, entry: Entry, node: Node, force: bool) -> None:
    path = os.path.join(run, entry.path)
    try:
        fd = beneath.open(entry.path) if entry.path else os.dup(beneath.directory(b""))
    except OSError as error:
        raise system_failed(error, "take its write permission", path) from error
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != node.identity:
            raise ChangedWhileReading("it was replaced while the run was locked", path=path)
        if stat.S_IMODE(found.st_mode) != entry.sealed_mode and not entry.mutable:
            _take(fd, entry.sealed_mode)
        if entry.kind == FILE and not entry.mutable and not force:
            # New writers cannot come any more; this asks for those that were there before.
            refuse_writers(run, fd, node)
    except OSError as error:
        raise system_failed(error, "take its write permission", path) from error
    finally:
        os.close(fd)


def _take(fd: int, mode: int) -> None:
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in _NO_CHMOD:
            raise


def unseal(run: bytes, entries: Sequence[Entry], *, immutable: bool = False) -> None:
    """Gives back the recorded permission bits exactly, directories first; what is gone or of another type is left alone."""
    chosen = [entry for entry in entries if entry.kind in (FILE, DIRECTORY)]
    if immutable:
        set_immutable(run, [entry for entry in chosen if not entry.mutable], False)
    for entry, fd in _each_open(run, chosen):
        found = os.fstat(fd)
        if stat.S_IMODE(found.st_mode) != entry.mode and not entry.mutable:
            _give_back(fd, entry.mode, os.path.join(run, entry.path))


def _give_back(fd: int, mode: int, path: bytes) -> None:
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        raise system_failed(error, "give its write permission back", path) from error


def _each_open(run: bytes, entries: Iterable[Entry]) -> Iterator[tuple[Entry, int]]:
    """Each entry that still is what it was, with a descriptor."""
    with Beneath(run) as beneath:
        for entry in entries:
            try:
                fd = beneath.open(entry.path) if entry.path else os.dup(beneath.directory(b""))
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                    continue
                raise system_failed(error, "open it", os.path.join(run, entry.path)) from error
            try:
                if kind_of(os.fstat(fd).st_mode) == entry.kind:
                    yield entry, fd
            finally:
                os.close(fd)


def set_immutable(run: bytes, entries: Sequence[Entry], on: bool) -> None:
    """Sets or clears the file system's immutable flag; raises SystemFailed where it, or the user, cannot."""
    ordered = entries if on else sorted(entries)
    for entry, fd in _each_open(run, ordered):
        try:
            flags = _flags(fd)
            wanted = flags | _IMMUTABLE_FLAG if on else flags & ~_IMMUTABLE_FLAG
            if wanted != flags:
                _set_flags(fd, wanted)
        except OSError as error:
            raise SystemFailed(
                f"cannot {'set' if on else 'clear'} the immutable flag: {error.strerror}",
                path=os.path.join(run, entry.path),
                hint="only root may, on a file system that has it (ext4, xfs, btrfs)",
            ) from error


def is_immutable(path: bytes) -> bool:
    """Whether a file or directory has the immutable flag; False where that cannot be told."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return bool(_flags(fd) & _IMMUTABLE_FLAG)
    except OSError:
        return False
    finally:
        os.close(fd)


def _flags(fd: int) -> int:
    from fcntl import ioctl

    return int.from_bytes(ioctl(fd, _GET_FLAGS, b"\0" * 8)[:4], "little")


def _set_flags(fd: int, flags: int) -> None:
    from fcntl import ioctl

    ioctl(fd, _SET_FLAGS, flags.to_bytes(8, "little"))


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
