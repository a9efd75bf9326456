"""The walk: every entry of a run, by descriptors, with every error fatal.

Nothing else in gitrun lists a run.  `git add`, `os.walk` and `glob` leave out what they cannot read and still succeed
(docs/adr/0003); here an entry is either in the result or the walk fails.
"""

from __future__ import annotations

import errno
import marshal
import os
from collections.abc import Iterator
from typing import NamedTuple

from gitrun.entry import DIRECTORY, ROOT, SYMLINK, full_path, kind_of
from gitrun.errors import ChangedWhileReading, GitrunError, Unreadable, Unsupported

MAX_DEPTH = 256
"""Levels of directories; each costs an open descriptor during the walk."""

STILL_WRITTEN = "something still writes to the run; try again when it has finished"
"""The hint of every ChangedWhileReading."""

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_XATTRS = {errno.ENOTSUP, errno.ENOSYS, errno.EPERM}


class Node(NamedTuple):
    """One entry as it stands on disk now."""

    path: bytes
    kind: str
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    device_id: int
    inode: int
    links: int
    owner: int
    target: bytes = b""
    device: tuple[int, int] | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    """Of directories; those of files are read with their content."""
    group: int = -1

    @property
    def identity(self) -> tuple[int, int]:
        """What all hard links of one file share."""
        return (self.device_id, self.inode)

    def unchanged(self, other: Node) -> bool:
        """Whether the same object is there with the same content, as far as lstat tells.

        Modes, link counts and ctime may differ: sealing changes them.
        """
        return (
            self[:2] == other[:2]
            and self[3:5] == other[3:5]
            and self[6:8] == other[6:8]
            and self[10:12] == other[10:12]
        )


def node_of(path: bytes, found: os.stat_result) -> Node:
    """The node that an lstat or fstat of `path` tells."""
    mode = found.st_mode
    kind = kind_of(mode)
    return _node(
        (
            path,
            kind,
            mode & 0o7777,
            found.st_size if kind in "fl" else 0,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_dev,
            found.st_ino,
            found.st_nlink,
            found.st_uid,
            b"",
            (os.major(found.st_rdev), os.minor(found.st_rdev)) if kind in "cb" else None,
            (),
            found.st_gid,
        )
    )


_node = Node._make  # half the time of calling Node with keywords, and a walk makes nothing else


def walk(run: bytes, *, failure: type[GitrunError] = Unreadable) -> list[Node]:
    """All entries of the directory `run`, itself first, sorted by path.

    Symlinks are never followed and nothing is opened but directories.  Raises `failure` for whatever cannot be read or
    listed, ChangedWhileReading when something vanished between two looks, Unsupported below MAX_DEPTH levels.
    """
    walker = _Walker(run, failure)
    try:
        nodes = list(walker.nodes())
    finally:
        walker.close()
    nodes.sort()
    return nodes


def walk_to_bytes(run: bytes, *, failure: type[GitrunError] = Unreadable) -> bytes:
    """The walk as bytes, for another process on this machine: nodes themselves would take as long as walking."""
    return marshal.dumps([tuple(node) for node in walk(run, failure=failure)])


def walk_from_bytes(data: bytes) -> list[Node]:
    """The walk that walk_to_bytes made."""
    return list(map(_node, marshal.loads(data)))


class _Walker:
    def __init__(self, run: bytes, failure: type[GitrunError]) -> None:
        self._run = run
        self._failure = failure
        self._open: list[int] = []

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def nodes(self) -> Iterator[Node]:
        """Depth first without recursion: `pending` holds for each open directory the subdirectories still to visit."""
        with self._errors(ROOT):
            self._open.append(os.open(self._run, _OPEN))
            root = node_of(ROOT, os.fstat(self._open[-1]))._replace(xattrs=read_xattrs(self._open[-1]))
        yield root
        pending = [self._list(ROOT)]
        yield from pending[-1].others
        while pending:
            if not pending[-1].directories:
                pending.pop()
                os.close(self._open.pop())
                continue
            node = pending[-1].directories.pop()
            if len(self._open) > MAX_DEPTH:
                raise Unsupported(
                    f"directories lie deeper than {MAX_DEPTH} levels",
                    path=self._full(node.path),
                    hint="pack that part of the run into an archive",
                )
            yield self._enter(node)
            pending.append(self._list(node.path))
            yield from pending[-1].others

    def _enter(self, node: Node) -> Node:
        with self._errors(node.path):
            self._open.append(os.open(os.path.basename(node.path), _OPEN, dir_fd=self._open[-1]))
            found = os.fstat(self._open[-1])
        if (found.st_dev, found.st_ino) != node.identity:
            raise ChangedWhileReading(
                "a directory was replaced while it was read", path=self._full(node.path), hint=STILL_WRITTEN
            )
        with self._errors(node.path):
            return node._replace(xattrs=read_xattrs(self._open[-1]))

    def _list(self, directory: bytes) -> _Listing:
        listing = _Listing([], [])
        prefix = directory + b"/" if directory else b""
        with self._errors(directory), os.scandir(self._open[-1]) as names:
            entries = list(names)
        for entry in entries:
            name = os.fsencode(entry.name)
            path = prefix + name
            try:
                node = node_of(path, entry.stat(follow_symlinks=False))
                if node.kind == SYMLINK:
                    target = os.readlink(name, dir_fd=self._open[-1])
                    node = node._replace(target=target, size=len(target))
            except OSError as error:
                raise self._told(error, path) from error
            (listing.directories if node.kind == DIRECTORY else listing.others).append(node)
        return listing

    def _errors(self, path: bytes) -> _Errors:
        return _Errors(self, path)

    def _told(self, error: OSError, path: bytes) -> GitrunError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return ChangedWhileReading(
                "it vanished while the run was listed", path=self._full(path), hint=STILL_WRITTEN
            )
        return self._failure(
            f"cannot read it: {error.strerror}",
            path=self._full(path),
            hint="make it readable, or move it out of the run",
        )

    def _full(self, path: bytes) -> bytes:
        return full_path(self._run, path) if path else self._run


class _Listing(NamedTuple):
    directories: list[Node]
    others: list[Node]


class _Errors:
    """Turns an OSError of a block into the failure that names the path."""

    def __init__(self, walker: _Walker, path: bytes) -> None:
        self._walker = walker
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise self._walker._told(error, self._path) from error


def read_xattrs(fd: int) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes that a lock records: the user's own, POSIX ACLs and capabilities, sorted by name.

    Security labels (SELinux) belong to the machine and not to the run, and are left alone.
    """
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise
    if not names:
        return ()
    kept = [name for name in names if name.startswith(("user.", "system.posix_acl_")) or name == "security.capability"]
    return tuple(sorted((os.fsencode(name), os.getxattr(fd, name)) for name in kept))


def mount_points(run: bytes) -> list[bytes]:
    """Mount points below the run, from the kernel's own list: `st_dev` does not betray a bind mount."""
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            mounted = [_unescape(line.split(b" ", 5)[4]) for line in table]
    except OSError:
        return []  # not Linux
    return [place for place in mounted if place.startswith(run.rstrip(b"/") + b"/")]


def _unescape(field: bytes) -> bytes:
    for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, byte)
    return field
