"""Reads the small files of a locked run ahead of everything else, in forked workers.

A verification has a second of other work for every second of reading (its own modules, the record, the walk): both go
on at once when the reading begins first.  What was read tells only what a file was at one moment.  Whoever takes it
compares that with what a later walk sees, so that neither the list of paths nor the moment needs to be trusted.
"""

from __future__ import annotations

import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple, Self

from blake3 import blake3

from gitrun.entry import LOCK_FILE
from gitrun.fsio import Beneath, read_file
from gitrun.parallel import Forked, cpu_count
from gitrun.walk import read_xattrs

LARGE = 1 << 20
"""Files of at least so many bytes are read in blocks by threads, not by these workers."""
_BATCH_FILES = 256
_FORK_FILES = 600
"""With fewer files one process is done before a second one has started."""
_LOCK_FILE_BYTES = 1 << 28
_SUM_LENGTH = 64 + len("  ")
_NO_SUM = frozenset((b"#", b""))
_SETTLED_NS = 20_000_000
"""A file changed within the last clock tick may change once more without another ctime: it is left to a later read."""
_NICENESS = 5
"""The process that waits for the workers has more to do than any of them, and goes first."""

_SHORT = 12 << 10
"""Up to this size SHA-256 is the quicker one of the two recorded digests, where the processor has instructions for it."""
_NOT_READ = bytes(32)
BITS = (1 << 64) - 1
Stat = tuple[int, int, int, int, int]
"""What stays the same while nobody changes or replaces a file: device, inode, size, mtime and ctime in ns, in 64 bits."""
Xattrs = tuple[tuple[bytes, bytes], ...]
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOTHING: tuple[bytes, Stat, Xattrs] = (_NOT_READ, (0, 0, 0, 0, 0), ())


class Digested(NamedTuple):
    """What is learnt of several files, in columns: that travels between processes at little cost."""

    digests: bytes
    """BLAKE3 or SHA-256, 32 bytes for each file; zeros for one that was not read, for whatever reason."""
    stats: array[int]
    """The numbers of a Stat for each file, from before and after it was read."""
    xattrs: dict[int, Xattrs]
    """Extended attributes by the file's number, where it has any."""


class Ahead:
    """Reads small files of a run in forked workers; use it in a `with` block."""

    def __init__(self, run: bytes, paths: Sequence[bytes], *, jobs: int) -> None:
        self.run = run
        """The real path of the run."""
        self._batches = [paths[at : at + _BATCH_FILES] for at in range(0, len(paths), _BATCH_FILES)]
        self.pays = len(paths) >= _FORK_FILES and jobs > 1
        """There are files enough to read them in other processes."""
        self._forked = Forked(partial(_digest_batch, run, _short()), self._batches if self.pays else [], jobs=jobs)

    @classmethod
    def of_lock_file(cls, run: str, *, jobs: int) -> Ahead:
        """Reads what the lock file in a directory lists; nothing, where there is no such file.  Never fails."""
        path = os.path.realpath(os.fsencode(run))
        try:
            data = read_file(os.path.join(path, LOCK_FILE), _LOCK_FILE_BYTES) or b""
        except OSError:
            data = b""
        # Whatever these lines hold: what is no path of a file is not found.
        names = [line[_SUM_LENGTH:] for line in data.split(b"\n") if line[:1] not in _NO_SUM]
        return cls(path, names, jobs=jobs or cpu_count())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._forked.__exit__(*error)

    def seen(self) -> Iterator[tuple[bytes, bytes, Stat, Xattrs]]:
        """Path, BLAKE3 or SHA-256 digest, Stat and extended attributes of each file that could be read."""
        for paths, answer in zip(self._batches, self._forked, strict=False):
            numbers = iter(answer.stats.tolist())
            stats = zip(numbers, numbers, numbers, numbers, numbers, strict=True)
            for number, (path, seen) in enumerate(zip(paths, stats, strict=True)):
                digest = answer.digests[number * 32 : number * 32 + 32]
                if digest != _NOT_READ:
                    yield path, digest, seen, answer.xattrs.get(number, ())


def _stat_of(found: os.stat_result) -> Stat:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns & BITS, found.st_ctime_ns & BITS)


def _short() -> int:
    """The size up to which files are digested by SHA-256 on this machine."""
    return _SHORT if _time_of(sha256) < _time_of(blake3) else 0


def _time_of(algorithm: Callable[[bytes], Any]) -> int:
    """Nanoseconds for a small file, at best."""
    sample = bytes(4096)

    def once() -> int:
        began = time.perf_counter_ns()
        algorithm(sample).digest()
        return time.perf_counter_ns() - began

    return min(once() for _ in range(5))


def _digest_batch(run: bytes, short: int, paths: Sequence[bytes]) -> Digested:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    digests: list[bytes] = []
    stats = array("Q")
    xattrs: dict[int, Xattrs] = {}
    settled_ns = time.time_ns() - _SETTLED_NS
    with Beneath(run) as beneath:
        for number, path in enumerate(paths):
            digest, seen, its_xattrs = _digest_if_small(beneath, path, short, settled_ns)
            digests.append(digest)
            stats.extend(seen)
            if its_xattrs:
                xattrs[number] = its_xattrs
    return Digested(b"".join(digests), stats, xattrs)


def _digest_if_small(beneath: Beneath, path: bytes, short: int, settled_ns: int) -> tuple[bytes, Stat, Xattrs]:
    """What is at `path`, as long as it is a small regular file that does not change; it never fails."""
    head, _, name = path.rpartition(b"/")
    if b".." in path and b".." in path.split(b"/"):
        return _NOTHING  # it would lead out of the run: only a forged lock file says so
    try:
        fd = os.open(name, _READ, dir_fd=beneath.directory(head))
    except OSError:
        return _NOTHING
    try:
        found = os.fstat(fd)
        size, ctime_ns = found.st_size, found.st_ctime_ns
        if size >= LARGE or ctime_ns >= settled_ns or not stat.S_ISREG(found.st_mode):
            return _NOTHING
        data = os.read(fd, size + 1)
        xattrs = read_xattrs(fd)
        if len(data) != size or os.fstat(fd).st_ctime_ns != ctime_ns:
            return _NOTHING
        seen = (found.st_dev, found.st_ino, size, found.st_mtime_ns & BITS, ctime_ns & BITS)
        return (sha256 if size <= short else blake3)(data).digest(), seen, xattrs
    except OSError:
        return _NOTHING
    finally:
        os.close(fd)
