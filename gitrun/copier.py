"""Copies the large files of a run into the spool, hashed on the way, several at a time."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gitrun.copying import blake3_file, copy_hashing, hash_file, reflink
from gitrun.entry import full_path
from gitrun.errors import GitrunError, SystemFailed, Unreadable, system_failed
from gitrun.fsio import Beneath, opened, try_chmod
from gitrun.leases import give_back, refuse_writers
from gitrun.reading import Xattrs, check_unchanged, open_node, unreadable
from gitrun.store import object_path
from gitrun.threads import Check, run_threads
from gitrun.walk import Node, read_xattrs

Link = Literal["auto", "copy", "reflink", "hardlink", "none"]
LINKS: tuple[Link, ...] = ("auto", "copy", "reflink", "hardlink", "none")
_REFLINK: dict[Link, Literal["auto", "always", "never"]] = {"auto": "auto", "copy": "never", "reflink": "always"}
_HASH_FIRST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be gathered, and how."""

    run: bytes
    repository: bytes
    store: bytes
    nodes: Sequence[Node]
    mutable: frozenset[bytes]
    link: Link
    threshold: int
    force: bool
    jobs: int
    known: frozenset[bytes]
    """Ids of the git objects that the repository has already."""


def copy_large(
    source: Source, nodes: Sequence[Node], spool: bytes, advance: Callable[[int], None]
) -> dict[bytes, tuple[str, str, Xattrs]]:
    """SHA-256, BLAKE3 and extended attributes of each file; what the store has not yet lies in `spool` under its oid.

    Raises Unreadable, ChangedWhileReading, RunActive, and SystemFailed when the store cannot take it all.
    """
    _check_space(source, nodes, spool)
    by_size: defaultdict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        by_size[node.size].append(node)
    # The largest first, so that no thread is left alone with it at the end.  Files of one size may be copies of one
    # another: one thread takes them in turn, and looks at the digest before it copies again.
    groups = [by_size[size] for size in sorted(by_size, reverse=True)]
    return _Copier(source, spool, _stored_sizes(source, nodes), advance).run(groups)


def _check_space(source: Source, nodes: Sequence[Node], spool: bytes) -> None:
    """Refuses before the first byte is copied, when the store cannot take all of it."""
    if source.link in ("hardlink", "none", "reflink"):
        return
    disk = os.statvfs(spool)
    available = disk.f_bavail * disk.f_frsize
    needed = sum({node.size: min(node.size, _allocated(source.run, node)) for node in nodes}.values())
    if needed > available and not _shares_blocks(source, nodes[0], spool):
        raise SystemFailed(
            f"not enough space for the large files: {needed} bytes needed, {available} available",
            path=source.store,
            hint="free some space, set GITRUN_STORE to another disk, or lock with --link none",
        )


def _allocated(run: bytes, node: Node) -> int:
    try:
        return os.stat(full_path(run, node.path), follow_symlinks=False).st_blocks * 512
    except OSError:
        return node.size


def _shares_blocks(source: Source, node: Node, spool: bytes) -> bool:
    """Whether the file system makes reflinks from the run into the store."""
    if source.link == "copy":
        return False
    probe = os.path.join(spool, b"probe")
    try:
        with Beneath(source.run) as beneath:
            fd = open_node(source.run, beneath, node, Unreadable)
        try:
            with opened(probe, os.O_WRONLY | os.O_CREAT) as target:
                return reflink(fd, target)
        finally:
            os.close(fd)
            os.unlink(probe)
    except OSError:
        return False


def _stored_sizes(source: Source, nodes: Sequence[Node]) -> frozenset[int]:
    """Sizes of LFS objects that are stored already; a file of such a size is hashed before it is copied."""
    tops = [source.repository]
    if sum(node.size for node in nodes) >= _HASH_FIRST_BYTES:
        tops.append(source.store)  # looking through the whole pool pays only against a long copy
    sizes = set()
    for top in tops:
        for directory, _, names in os.walk(os.path.join(top, b"lfs", b"objects")):
            sizes |= {os.lstat(os.path.join(directory, name)).st_size for name in names}
    return frozenset(sizes)


class _Copier:
    """Copies and hashes large files, several groups at a time."""

    def __init__(
        self, source: Source, spool: bytes, stored_sizes: frozenset[int], advance: Callable[[int], None]
    ) -> None:
        self._source = source
        self._spool = spool
        self._stored_sizes = stored_sizes
        self._progress = advance
        self._guard = threading.Lock()
        self._done: dict[bytes, tuple[str, str, Xattrs]] = {}

    def run(self, groups: Sequence[Sequence[Node]]) -> dict[bytes, tuple[str, str, Xattrs]]:
        """SHA-256, BLAKE3 and extended attributes of every file."""
        run_threads(self._copy_group, groups, self._source.jobs)
        return self._done

    def _copy_group(self, group: Sequence[Node], check: Check) -> None:
        def advance(amount: int) -> None:
            check()
            with self._guard:
                self._progress(amount)

        with Beneath(self._source.run) as beneath:
            for number, node in enumerate(group):
                likely_there = number > 0 or node.size in self._stored_sizes
                fd = open_node(self._source.run, beneath, node, Unreadable)
                try:
                    self._done[node.path] = self._read(fd, node, likely_there, advance)
                except OSError as error:
                    raise unreadable(self._source.run, node, error, Unreadable) from error
                finally:
                    os.close(fd)

    def _read(self, fd: int, node: Node, likely_there: bool, advance: Callable[[int], None]) -> tuple[str, str, Xattrs]:
        if not self._source.force:
            refuse_writers(self._source.run, fd, node)
            give_back(fd)
        sha256, blake3 = self._copy(fd, node, likely_there, advance)
        xattrs = read_xattrs(fd)
        check_unchanged(self._source.run, fd, node, node.size)
        if self._source.link == "hardlink" and not self._has(sha256, blake3, node.size):
            self._link(node, sha256)  # only now: it changes the ctime
        return sha256, blake3, xattrs

    def _copy(self, fd: int, node: Node, likely_there: bool, advance: Callable[[int], None]) -> tuple[str, str]:
        if self._source.link in ("none", "hardlink"):
            return hash_file(fd, advance=advance)
        if likely_there:
            sha256, blake3 = hash_file(fd, advance=lambda _: advance(0))
            if self._has(sha256, blake3, node.size):
                advance(node.size)
                return sha256, blake3
            os.lseek(fd, 0, os.SEEK_SET)
        return self._spool_copy(fd, node, advance)

    def _has(self, oid: str, blake3: str, size: int) -> bool:
        """Whether the spool or the store holds the object, whole: a damaged one is no reason not to copy."""
        tops = (self._source.repository, self._source.store)
        stored = [path for path in (object_path(top, oid) for top in tops) if _size(path) == size]
        return _size(os.path.join(self._spool, oid.encode())) == size or any(_is_whole(path, blake3) for path in stored)

    def _link(self, node: Node, oid: str) -> None:
        source, target = full_path(self._source.run, node.path), os.path.join(self._spool, oid.encode())
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return
        except OSError as error:
            raise SystemFailed(
                f"cannot hard-link the file into the store: {error.strerror}", path=source, hint="lock with --link auto"
            ) from error
        with opened(target) as fd:
            os.fsync(fd)

    def _spool_copy(self, fd: int, node: Node, advance: Callable[[int], None]) -> tuple[str, str]:
        temporary = os.path.join(self._spool, b"copy-%d" % threading.get_ident())
        try:
            with opened(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as target:
                copied = copy_hashing(fd, target, reflink=_REFLINK[self._source.link], advance=advance)
                try_chmod(target, 0o444)
                os.fsync(target)
            os.rename(temporary, os.path.join(self._spool, copied.sha256.encode()))
        except GitrunError as error:
            error.path = error.path or full_path(self._source.run, node.path)
            raise
        except OSError as error:
            raise system_failed(
                error, "copy a large file into the store", full_path(self._source.run, node.path)
            ) from error
        if copied.size != node.size:
            check_unchanged(self._source.run, fd, node, copied.size)
        return copied.sha256, copied.blake3


def _is_whole(path: bytes, blake3: str) -> bool:
    try:
        with opened(path) as fd:
            return blake3_file(fd, threads=1) == blake3
    except OSError:
        return False


def _size(path: bytes) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return -1
