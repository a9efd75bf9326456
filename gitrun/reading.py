"""Opens the very files that the walk saw, and tells when they changed since."""

from __future__ import annotations

import os

from gitrun.entry import full_path
from gitrun.errors import ChangedWhileReading, GitrunError
from gitrun.fsio import Beneath, read_exactly
from gitrun.leases import refuse_writers
from gitrun.walk import STILL_WRITTEN, Node, read_xattrs

Xattrs = tuple[tuple[bytes, bytes], ...]


def read_small(
    run: bytes, beneath: Beneath, node: Node, failure: type[GitrunError], *, writers_allowed: bool
) -> tuple[bytes, Xattrs]:
    """Content and extended attributes of a file, read at once.

    Raises `failure` for one that cannot be read, ChangedWhileReading, and RunActive unless `writers_allowed`.
    """
    fd = open_node(run, beneath, node, failure)
    try:
        if not writers_allowed:
            refuse_writers(run, fd, node)
        data = read_exactly(fd, node.size) if node.size else b""
        xattrs = read_xattrs(fd)
        check_unchanged(run, fd, node, len(data))
    except OSError as error:
        raise unreadable(run, node, error, failure) from error
    finally:
        os.close(fd)
    return data, xattrs


def open_node(run: bytes, beneath: Beneath, node: Node, failure: type[GitrunError]) -> int:
    """A descriptor of the very file that the walk saw; the caller closes it."""
    try:
        fd = beneath.open(node.path)
    except OSError as error:
        raise unreadable(run, node, error, failure) from error
    try:
        check_unchanged(run, fd, node, node.size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_unchanged(run: bytes, fd: int, node: Node, size: int) -> None:
    """Raises ChangedWhileReading unless `fd` still is what the walk saw, and `size` bytes of it were read."""
    found = os.fstat(fd)
    if (
        found.st_ctime_ns == node.ctime_ns
        and found.st_size == node.size == size
        and found.st_ino == node.inode
        and found.st_mtime_ns == node.mtime_ns
        and found.st_dev == node.device_id
    ):
        return
    replaced = (found.st_dev, found.st_ino) != node.identity
    seen = "another file there" if replaced else f"{found.st_size} bytes, {size} of them read"
    raise ChangedWhileReading(
        f"the file changed while it was read: {node.size} bytes expected, {seen}",
        path=full_path(run, node.path),
        hint=STILL_WRITTEN,
    )


def unreadable(run: bytes, node: Node, error: OSError, failure: type[GitrunError]) -> GitrunError:
    """The failure that tells why a file could not be read."""
    path = full_path(run, node.path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ChangedWhileReading("the file vanished while the run was read", path=path, hint=STILL_WRITTEN)
    return failure(f"cannot read it: {error.strerror}", path=path, hint="make it readable, or move it out of the run")
