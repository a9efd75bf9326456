"""Files, as gitrun touches them: by descriptor, never through a symlink, and synced where a promise hangs on it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

Path = bytes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NO_CHMOD = frozenset((errno.EPERM, errno.ENOSYS, errno.ENOTSUP))
"""What a file system without permission bits (FAT) answers to chmod."""
TEMPORARY = b".tmp-gitrun-"
"""Names of unfinished files begin so; they are short, so that a name of 255 bytes has one too."""


class Beneath:
    """Opens what lies beneath a directory, component by component, never through a symlink.

    It keeps the directories on the way to the last path open, so a sorted list of paths costs one open for each
    directory, and paths may be longer than PATH_MAX.  Not for use by several threads.
    """

    def __init__(self, root: Path | int) -> None:
        self._root = os.open(root, _DIRECTORY) if isinstance(root, bytes) else os.dup(root)
        self._names: list[bytes] = []
        self._fds: list[int] = [self._root]
        self._current = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every directory."""
        while self._fds:
            os.close(self._fds.pop())

    def directory(self, path: Path) -> int:
        """A descriptor of the directory `path`, valid until the next call."""
        if path == self._current:
            return self._fds[-1]
        wanted = path.split(b"/") if path else []
        shared = _shared(self._names, wanted)
        self._shorten(shared)
        for name in wanted[shared:]:
            self._fds.append(os.open(name, _DIRECTORY, dir_fd=self._fds[-1]))
            self._names.append(name)
        self._current = path
        return self._fds[-1]

    def _shorten(self, length: int) -> None:
        self._current = b"\0"  # no path: an exception on the way must not leave a wrong answer
        while len(self._names) > length:
            self._names.pop()
            os.close(self._fds.pop())

    def parent(self, path: Path) -> tuple[int, bytes]:
        """The descriptor of the directory that holds `path`, and the last component."""
        head, _, name = path.rpartition(b"/")
        return self.directory(head), name

    def open(self, path: Path, flags: int = _READ, mode: int = 0o600) -> int:
        """A new descriptor of the file `path`; the caller closes it."""
        fd, name = self.parent(path)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=fd)

    def lstat(self, path: Path) -> os.stat_result:
        """The lstat of `path`; the empty path is the root itself."""
        if not path:
            return os.fstat(self._root)
        fd, name = self.parent(path)
        return os.stat(name, dir_fd=fd, follow_symlinks=False)


def _shared(one: list[bytes], other: list[bytes]) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


@contextmanager
def opened(path: Path, flags: int = _READ, *, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor of `path` for the duration of a block; symlinks are not followed."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def read_exactly(fd: int, size: int) -> bytes:
    """Up to `size` bytes from the descriptor's position; fewer only at the end of the file."""
    data = os.read(fd, size)
    if len(data) == size:
        return data
    parts = [data]
    have = len(data)
    while data and have < size:
        data = os.read(fd, size - have)
        parts.append(data)
        have += len(data)
    return b"".join(parts)


def read_file(path: Path, limit: int, *, dir_fd: int | None = None) -> bytes | None:
    """The content of a regular file of at most `limit` bytes; None when there is no such file, or it is none of these."""
    try:
        with opened(path, dir_fd=dir_fd) as fd:
            found = os.fstat(fd)
            if not _is_regular(found) or found.st_size > limit:
                return None
            data = read_exactly(fd, found.st_size + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    return data if len(data) <= limit else None


def _is_regular(found: os.stat_result) -> bool:
    return (found.st_mode & 0o170000) == 0o100000


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes all of `data`, however short the single writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_file(path: Path, data: bytes, *, mode: int = 0o644, dir_fd: int | None = None, sync: bool = True) -> None:
    """Replaces `path` by a file with this content, all or nothing, synced with its directory.

    The content lies beside under a temporary name until it is complete; nothing of it stays after a failure.
    """
    directory = os.path.dirname(path)
    temporary = os.path.join(directory, TEMPORARY + os.urandom(8).hex().encode())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    try:
        try:
            write_all(fd, data)
            _drop_inherited_acl(fd)
            try_chmod(fd, mode)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:  # ^C too: no half file stays
        with suppress(OSError):
            os.unlink(temporary, dir_fd=dir_fd)
        raise
    if sync:
        sync_directory(directory or b".", dir_fd=dir_fd)


def _drop_inherited_acl(fd: int) -> None:
    """The default ACL of a run's directory is for the files of its tool, and would let others write."""
    with suppress(OSError):
        os.removexattr(fd, "system.posix_acl_access")


def try_chmod(fd: int, mode: int) -> None:
    """Sets the mode of one of gitrun's own files, where the file system has modes."""
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in NO_CHMOD:
            raise


def sync_directory(path: Path, *, dir_fd: int | None = None) -> None:
    """Makes the names in a directory survive a power cut."""
    fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    try:
        _fsync_directory(fd)
    finally:
        os.close(fd)


def _fsync_directory(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network and FUSE file systems have no such thing as syncing a directory.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_tree(top: Path) -> None:
    """Syncs every file and directory below `top`, and `top` itself."""
    for directory, _, names, fd in os.fwalk(top, onerror=_raise):
        for name in names:
            with opened(name, dir_fd=fd) as file:
                os.fsync(file)
        del directory
        _fsync_directory(fd)


def make_directories(path: Path, *, mode: int = 0o777) -> None:
    """Makes `path` and its missing parents, each name synced in its directory."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_directories(parent, mode=mode)
    with suppress(FileExistsError):
        os.mkdir(path, mode)
        sync_directory(parent)


def remove_file(path: Path, *, dir_fd: int | None = None) -> bool:
    """Removes a file; False when there was none."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def remove_tree(top: Path) -> None:
    """Removes a directory of gitrun's own, read-only or not, with all that is in it; nothing there is fine."""
    if not os.path.lexists(top):
        return
    for _, directories, names, fd in os.fwalk(top, topdown=False, onerror=_raise):
        for name in names:
            os.unlink(name, dir_fd=fd)
        for name in directories:
            try:
                os.rmdir(name, dir_fd=fd)
            except NotADirectoryError:
                os.unlink(name, dir_fd=fd)
    os.rmdir(top)


def remove_sealed_tree(top: Path) -> None:
    """Removes a run that gitrun itself has made, with its read-only directories; nothing there is fine.

    Whatever else somebody has put under that name is unlinked, and never followed.
    """
    try:
        if not stat.S_ISDIR(os.lstat(top).st_mode):
            os.unlink(top)
            return
    except FileNotFoundError:
        return
    os.chmod(top, 0o700)
    for _, names, _, fd in os.fwalk(top):
        for name in names:
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=fd)
    remove_tree(top)


def _raise(error: OSError) -> None:
    raise error
