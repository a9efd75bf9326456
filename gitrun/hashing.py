"""Reads the small files of a run and digests them; large ones are `copying`'s.

Each file is opened once, without following links, and must be the one that the walk saw, before the first byte and
after the last: a file that changes while it is read never yields a digest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from blake3 import blake3

from gitrun.errors import ChangedWhileReading, GitrunError, RunActive, Unreadable
from gitrun.fsio import Beneath, read_exactly
from gitrun.pack import BLOB, Packed, object_id, packed
from gitrun.parallel import fork_map
from gitrun.pointer import resembles_pointer
from gitrun.walk import Node, node_of, read_xattrs

Xattrs = tuple[tuple[bytes, bytes], ...]
Answer = TypeVar("Answer")

_BATCH_FILES = 64
_BATCH_BYTES = 4 << 20
_FORK_FILES = 600
_FORK_BYTES = 24 << 20
"""Below both figures one process is done before a second one has started."""


class Sealed(NamedTuple):
    """What a lock learns from one read of a small file."""

    sha256: str
    blake3: str
    oid: bytes
    packed: Packed | None
    """None when the repository has the blob already, or the file goes to git-lfs."""
    content: bytes | None
    """The content itself of a file that git-lfs could take for a pointer, and that is stored as an LFS object."""
    xattrs: Xattrs


class Digested(NamedTuple):
    """What a verification learns from one read of a file."""

    blake3: str
    xattrs: Xattrs


def seal_files(
    run: bytes, nodes: Sequence[Node], known: frozenset[bytes], *, force: bool, jobs: int
) -> Iterator[Sealed]:
    """Reads small files for a lock, in the order of `nodes`; `known` are blobs that need not be packed again.

    Raises RunActive when a process holds one open for writing (unless `force`), ChangedWhileReading, Unreadable.
    """
    return _over_batches(partial(_seal_batch, run, known, force), nodes, jobs)


def digest_files(run: bytes, nodes: Sequence[Node], *, jobs: int, failure: type[GitrunError]) -> Iterator[Digested]:
    """Reads small files for a verification, in the order of `nodes`; raises `failure` for one that cannot be read."""
    return _over_batches(partial(_digest_batch, run, failure), nodes, jobs)


def _over_batches(work: Callable[[Sequence[Node]], list[Answer]], nodes: Sequence[Node], jobs: int) -> Iterator[Answer]:
    pays = len(nodes) >= _FORK_FILES or sum(node.size for node in nodes) >= _FORK_BYTES
    for answers in fork_map(work, list(_batches(nodes)), jobs=jobs if pays else 1):
        yield from answers


def _batches(nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
    start = size = 0
    for index, node in enumerate(nodes):
        if index - start >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield nodes[start:index]
            start, size = index, 0
        size += node.size
    if start < len(nodes):
        yield nodes[start:]


def _seal_batch(run: bytes, known: frozenset[bytes], force: bool, nodes: Sequence[Node]) -> list[Sealed]:
    with Beneath(run) as beneath:
        return [_seal(run, beneath, node, known, force) for node in nodes]


def _seal(run: bytes, beneath: Beneath, node: Node, known: frozenset[bytes], force: bool) -> Sealed:
    data, xattrs = _read(run, beneath, node, Unreadable, writers_allowed=force)
    sha256 = hashlib.sha256(data).hexdigest()
    if resembles_pointer(data):
        return Sealed(sha256, blake3(data).hexdigest(), b"", None, data, xattrs)
    oid = object_id(BLOB, data)
    item = None if oid in known else packed(BLOB, data, oid)
    return Sealed(sha256, blake3(data).hexdigest(), oid, item, None, xattrs)


def _digest_batch(run: bytes, failure: type[GitrunError], nodes: Sequence[Node]) -> list[Digested]:
    with Beneath(run) as beneath:
        return [_digest(run, beneath, node, failure) for node in nodes]


def _digest(run: bytes, beneath: Beneath, node: Node, failure: type[GitrunError]) -> Digested:
    data, xattrs = _read(run, beneath, node, failure, writers_allowed=True)
    return Digested(blake3(data).hexdigest(), xattrs)


def _read(
    run: bytes, beneath: Beneath, node: Node, failure: type[GitrunError], *, writers_allowed: bool
) -> tuple[bytes, Xattrs]:
    fd = open_node(run, beneath, node, failure)
    try:
        if not writers_allowed:
            refuse_writers(run, fd, node)
        data = read_exactly(fd, node.size)
        # One byte more would be there only if the file grew: fstat tells that without a read.
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
    if (found.st_dev, found.st_ino) != node.identity:
        raise ChangedWhileReading(
            "the file was replaced while it was read", path=os.path.join(run, node.path), hint=_AGAIN
        )
    if (found.st_size, found.st_mtime_ns, found.st_ctime_ns) != (
        node.size,
        node.mtime_ns,
        node.ctime_ns,
    ) or size != node.size:
        raise ChangedWhileReading(
            f"the file changed while it was read: {node.size} bytes expected, {found.st_size} seen",
            path=os.path.join(run, node.path),
            hint=_AGAIN,
        )


_AGAIN = "something still writes to the run; try again when it has finished"


def unreadable(run: bytes, node: Node, error: OSError, failure: type[GitrunError]) -> GitrunError:
    """The failure that tells why a file could not be read."""
    path = os.path.join(run, node.path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ChangedWhileReading("the file vanished while the run was read", path=path, hint=_AGAIN)
    return failure(f"cannot read it: {error.strerror}", path=path, hint="make it readable, or move it out of the run")


def refuse_writers(run: bytes, fd: int, node: Node) -> None:
    """Raises RunActive when any process has the file open, or mapped, for writing.

    A read lease is granted only while nobody has; it is given back at once, so no writer is ever held up.  Where the
    file system or the system knows no leases, nothing is refused.
    """
    if has_writer(fd):
        raise RunActive(
            f"the file is open for writing{_holders(node)}",
            path=os.path.join(run, node.path),
            hint="wait until its writer has finished, or lock with --force",
        )


def has_writer(fd: int) -> bool:
    """Whether any process has the file of this read-only descriptor open for writing, as far as the system can tell."""
    if signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):
        return False
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def ignore_lease_signals() -> None:
    """Somebody who opens a leased file makes the kernel send SIGIO, which by default would end this process.

    Only the main thread may change that; elsewhere, where nobody did, writers go unnoticed by leases.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
        signal.signal(signal.SIGIO, signal.SIG_IGN)


def _holders(node: Node) -> str:
    """The processes that have the file open, as far as /proc shows them to us."""
    pids: list[str] = []
    for pid in filter(str.isdigit, _listdir("/proc")):
        for fd in _listdir(f"/proc/{pid}/fd"):
            try:
                found = os.stat(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == node.identity and pid != str(os.getpid()):
                pids.append(pid)
                break
    return f" by process {', '.join(pids)}" if pids else ""


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def node_at(beneath: Beneath, path: bytes) -> Node:
    """The node of one path, looked up now."""
    return node_of(path, beneath.lstat(path))
