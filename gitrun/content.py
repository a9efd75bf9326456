"""Digests of the files of a run for a verification: small ones in forked workers, large ones in threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from hashlib import sha256

from gitrun.ahead import BITS, LARGE, Ahead, Stat
from gitrun.compare import Xattrs
from gitrun.copying import blake3_file
from gitrun.entry import Entry
from gitrun.errors import GitrunError, SystemFailed
from gitrun.fsio import Beneath
from gitrun.hashing import digest_small
from gitrun.progress import Progress
from gitrun.reading import check_unchanged, open_node, unreadable
from gitrun.threads import Check, run_threads
from gitrun.walk import Node, read_xattrs

Digests = dict[bytes, tuple[bytes, Xattrs]]
"""BLAKE3 or SHA-256 digest, 32 bytes, and extended attributes of each file by its path."""


def digest_nodes(
    run: bytes,
    nodes: Sequence[Node],
    *,
    jobs: int,
    progress: Progress,
    ahead: Ahead | None = None,
    failure: type[GitrunError] = SystemFailed,
) -> Digests:
    """The digests of all files; hard links of one file are read once, and what was read `ahead` is not read again.

    Raises `failure` for a file that cannot be read, ChangedWhileReading for one that changes meanwhile.
    """
    first: dict[tuple[int, int], bytes] = {}
    for node in nodes:
        if node.links > 1:
            first.setdefault(node.identity, node.path)
    unique = [node for node in nodes if node.links == 1 or first[node.identity] == node.path]
    progress.stage("verifying", sum(node.size for node in unique), "B")
    digests = _taken(ahead, unique, progress) if ahead is not None else {}
    rest = [node for node in unique if node.path not in digests]
    small = [node for node in rest if node.size < LARGE]
    for node, seen in zip(small, digest_small(run, small, jobs=jobs, failure=failure), strict=True):
        digests[node.path] = seen
        progress.advance(node.size)
    large = sorted((node for node in rest if node.size >= LARGE), key=lambda node: -node.size)
    digests |= _digest_large(run, large, jobs, progress, failure)
    for node in nodes:
        if node.links > 1:
            digests[node.path] = digests[first[node.identity]]
    return digests


def is_as_recorded(entry: Entry, size: int, digest: bytes) -> bool:
    """Whether a file of that size and digest has the content that was locked; either of the recorded digests will do."""
    return size == entry.size and digest.hex() in (entry.sha256, entry.blake3)


def _taken(ahead: Ahead, nodes: Sequence[Node], progress: Progress) -> Digests:
    """What was read ahead of files that still are what they were then."""
    by_path = {node.path: node for node in nodes}
    taken: Digests = {}
    for path, digest, seen, xattrs in ahead.seen():
        node = by_path.get(path)
        if node is not None and _stat_of(node) == seen:
            taken[path] = (digest, xattrs)
            progress.advance(node.size)
    return taken


def _stat_of(node: Node) -> Stat:
    return (node.device_id, node.inode, node.size, node.mtime_ns & BITS, node.ctime_ns & BITS)


def _digest_large(
    run: bytes, nodes: Sequence[Node], jobs: int, progress: Progress, failure: type[GitrunError]
) -> Digests:
    digests: Digests = {}
    guard = threading.Lock()
    alone = max(1, jobs // max(1, min(jobs, len(nodes))))

    def digest(node: Node, check: Check) -> None:
        def told(amount: int) -> None:
            check()
            with guard:
                progress.advance(amount)

        with Beneath(run) as beneath:
            fd = open_node(run, beneath, node, failure)
        try:
            seen = (bytes.fromhex(blake3_file(fd, threads=alone, advance=told)), read_xattrs(fd))
            check_unchanged(run, fd, node, node.size)
        except OSError as error:
            raise unreadable(run, node, error, failure) from error
        finally:
            os.close(fd)
        with guard:
            digests[node.path] = seen

    run_threads(digest, nodes, jobs)
    return digests


def sha256_of(run: bytes, node: Node) -> str:
    """The SHA-256 of one file, for a report; empty when it cannot be read any more."""
    try:
        with Beneath(run) as beneath:
            fd = open_node(run, beneath, node, SystemFailed)
        with open(fd, "rb", buffering=0) as file:
            digest = sha256()
            while data := file.read(1 << 20):
                digest.update(data)
            return digest.hexdigest()
    except (OSError, GitrunError):
        return ""
