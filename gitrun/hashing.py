"""Reads the small files of a run and digests them, in forked workers where that pays; large ones are `copying`'s."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from blake3 import blake3

from gitrun.errors import GitrunError, Unreadable
from gitrun.fsio import Beneath
from gitrun.pack import BLOB, FinishedPack, PackWriter, object_id, packed
from gitrun.parallel import fork_map
from gitrun.pointer import resembles_pointer
from gitrun.reading import Xattrs, read_small
from gitrun.walk import Node

_BATCH_FILES = 256
_BATCH_BYTES = 4 << 20
_FORK_FILES = 600
_FORK_BYTES = 24 << 20
"""Below both figures one process is done before a second one has started."""


class Sealed(NamedTuple):
    """What a lock learns from one read of a small file."""

    sha256: str
    blake3: str
    oid: bytes
    content: bytes | None
    """The content itself of a file that git-lfs could take for a pointer: it has no blob but becomes an LFS object."""
    xattrs: Xattrs


class SmallFiles:
    """Reads the small files of a lock; their blobs go into `pack`, or in a forked worker into a pack of its own.

    So nothing but digests travels between processes.  Blobs that are `known` are not packed again.
    """

    def __init__(self, run: bytes, pack: PackWriter, known: frozenset[bytes], *, force: bool) -> None:
        self._run = run
        self._known = known
        self._force = force
        self._pack = pack
        self._owner = os.getpid()

    def read(self, nodes: Sequence[Node], *, jobs: int) -> Iterator[Sealed | FinishedPack]:
        """What was learnt of each node, in their order, and then the packs that workers made.

        Raises RunActive when a process holds one open for writing (unless `force`), ChangedWhileReading, Unreadable.
        """
        for answer in fork_map(self._read_batch, list(_batches(nodes)), jobs=_worth(nodes, jobs), finish=self._finish):
            yield from answer

    def _read_batch(self, nodes: Sequence[Node]) -> list[Sealed | FinishedPack]:
        if os.getpid() != self._owner:
            self._pack, self._owner = PackWriter(self._pack.directory), os.getpid()
        with Beneath(self._run) as beneath:
            return [self._read_one(beneath, node) for node in nodes]

    def _read_one(self, beneath: Beneath, node: Node) -> Sealed:
        data, xattrs = read_small(self._run, beneath, node, Unreadable, writers_allowed=self._force)
        sha256, blake = hashlib.sha256(data).hexdigest(), blake3(data).hexdigest()
        if resembles_pointer(data):
            return Sealed(sha256, blake, b"", data, xattrs)
        oid = object_id(BLOB, data)
        if oid not in self._known and oid not in self._pack:
            self._pack.add(packed(BLOB, data, oid))
        return Sealed(sha256, blake, oid, None, xattrs)

    def _finish(self) -> list[Sealed | FinishedPack]:
        """The end of a worker."""
        return [self._pack.finish()] if self._pack else []


def digest_small(
    run: bytes, nodes: Sequence[Node], *, jobs: int, failure: type[GitrunError]
) -> Iterator[tuple[bytes, Xattrs]]:
    """BLAKE3 digest and extended attributes of each file, in the order of `nodes`.

    Raises `failure` for one that cannot be read, and ChangedWhileReading.
    """
    for answers in fork_map(partial(_read_batch, run, failure), list(_batches(nodes)), jobs=_worth(nodes, jobs)):
        yield from answers


def _read_batch(run: bytes, failure: type[GitrunError], nodes: Sequence[Node]) -> list[tuple[bytes, Xattrs]]:
    read = []
    with Beneath(run) as beneath:
        for node in nodes:
            data, xattrs = read_small(run, beneath, node, failure, writers_allowed=True)
            read.append((blake3(data).digest(), xattrs))
    return read


def _worth(nodes: Sequence[Node], jobs: int) -> int:
    """The number of processes that pay."""
    return jobs if len(nodes) >= _FORK_FILES or sum(node.size for node in nodes) >= _FORK_BYTES else 1


def _batches(nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
    start = size = 0
    for index, node in enumerate(nodes):
        if index - start >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield nodes[start:index]
            start, size = index, 0
        size += node.size
    if start < len(nodes):
        yield nodes[start:]
