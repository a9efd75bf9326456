"""Takes the write permission of a run away and gives it back: by descriptors, nothing outside the run, nothing through a link.

The order is fixed: children before their directory when bits go, directories before their children when bits come back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from gitrun.entry import DIRECTORY, FILE, Entry, full_path, kind_of
from gitrun.errors import ChangedWhileReading, system_failed
from gitrun.fsio import Beneath, try_chmod
from gitrun.leases import refuse_writers
from gitrun.parallel import fork_map
from gitrun.walk import STILL_WRITTEN, Node

_BATCH = 512


def seal(run: bytes, pairs: Sequence[tuple[Entry, Node]], *, force: bool, jobs: int) -> None:
    """Takes the write bits from files and directories, mutable files excepted, children first.

    A file system that refuses chmod keeps its modes: the caller reads them back.  Each entry must be the one that was
    walked.  Raises RunActive for a file that a process holds open for writing (unless `force`).
    """
    chosen = [pair for pair in reversed(pairs) if pair[0].kind in (FILE, DIRECTORY)]
    names = Counter(node.identity for entry, node in chosen if entry.kind == FILE and node.links > 1)
    shared = frozenset(identity for identity, count in names.items() if count > 1)
    with Beneath(run) as beneath:
        for entry, node in chosen:
            if node.identity in shared:
                _refuse_changed(run, entry, node, beneath.lstat(entry.path))
    batches = [chosen[at : at + _BATCH] for at in range(0, len(chosen), _BATCH)]
    # Children of one directory may fall into two batches: then the directory's own turn comes with the second at the
    # earliest, so every worker still finds what it has to open; only write permission is taken, never search.
    for _ in fork_map(partial(_seal_batch, run, force, shared), batches, jobs=jobs if len(batches) > 2 else 1):
        pass


def _seal_batch(
    run: bytes, force: bool, shared: frozenset[tuple[int, int]], pairs: Sequence[tuple[Entry, Node]]
) -> None:
    with Beneath(run) as beneath:
        for entry, node in pairs:
            _seal_one(run, beneath, entry, node, force, node.identity in shared)


def _refuse_changed(run: bytes, entry: Entry, node: Node, found: os.stat_result) -> None:
    """Raises ChangedWhileReading for a file that was written since it was hashed, even if its size and times were put back.

    Only the ctime tells, and only until the write permission is taken, which changes it.  So does a new hard link, such
    as `--link hardlink` makes.
    """
    if entry.kind != FILE or entry.mutable or found.st_nlink != node.links:
        return
    if (found.st_size, found.st_mtime_ns, found.st_ctime_ns) != (node.size, node.mtime_ns, node.ctime_ns):
        path = full_path(run, entry.path)
        raise ChangedWhileReading("it changed while the run was locked", path=path, hint=STILL_WRITTEN)


def _seal_one(run: bytes, beneath: Beneath, entry: Entry, node: Node, force: bool, is_shared: bool) -> None:
    path = full_path(run, entry.path)
    try:
        fd = beneath.open(entry.path) if entry.path else os.dup(beneath.directory(b""))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            message = "it was moved or replaced while the run was locked"
            raise ChangedWhileReading(message, path=path, hint=STILL_WRITTEN) from error
        raise system_failed(error, "take its write permission", path) from error
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != node.identity:
            raise ChangedWhileReading("it was replaced while the run was locked", path=path, hint=STILL_WRITTEN)
        if not is_shared:  # of its several names another one may have been sealed before
            _refuse_changed(run, entry, node, found)
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
        try_chmod(fd, mode)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def reseal_modes(run: bytes, entries: Sequence[Entry]) -> int:
    """Gives everything the permission bits of a locked run, children first; how many had others."""
    mended = 0
    for entry, fd in each_open(run, [entry for entry in reversed(entries) if entry.kind in (FILE, DIRECTORY)]):
        if stat.S_IMODE(os.fstat(fd).st_mode) != entry.sealed_mode and not entry.mutable:
            _chmod(fd, entry.sealed_mode, full_path(run, entry.path))
            mended += 1
    return mended


def unseal(run: bytes, entries: Sequence[Entry]) -> None:
    """Gives back the recorded permission bits exactly, directories first; what is gone or of another type is left alone."""
    for entry, fd in each_open(run, [entry for entry in entries if entry.kind in (FILE, DIRECTORY)]):
        if stat.S_IMODE(os.fstat(fd).st_mode) != entry.mode and not entry.mutable:
            _chmod(fd, entry.mode, full_path(run, entry.path))


def _chmod(fd: int, mode: int, path: bytes) -> None:
    try:
        try:
            os.fchmod(fd, mode)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.chmod(f"/proc/self/fd/{fd}", mode)  # it was opened without the right to read
    except OSError as error:
        raise system_failed(error, "give its write permission back", path) from error


def each_open(run: bytes, entries: Iterable[Entry]) -> Iterator[tuple[Entry, int]]:
    """Each entry that still is what it was, with a descriptor, which may be good for no more than chmod (O_PATH)."""
    _make_searchable(run, entries)
    with Beneath(run) as beneath:
        for entry in entries:
            try:
                fd = _open_any(beneath, entry.path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                    continue
                raise system_failed(error, "open it", full_path(run, entry.path)) from error
            try:
                if kind_of(os.fstat(fd).st_mode) == entry.kind:
                    yield entry, fd
            finally:
                os.close(fd)


def _open_any(beneath: Beneath, path: bytes) -> int:
    if not path:
        return os.dup(beneath.directory(b""))
    try:
        return beneath.open(path)
    except PermissionError:
        return beneath.open(path, os.O_PATH)


def _make_searchable(run: bytes, entries: Iterable[Entry]) -> None:
    """Lets the owner into the run directory again, should somebody have taken even that permission away."""
    if os.access(run, os.R_OK | os.X_OK):
        return
    root = next((entry for entry in entries if not entry.path), None)
    if root is not None:
        fd = os.open(run, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _chmod(fd, root.mode, run)
        finally:
            os.close(fd)
