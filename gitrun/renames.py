"""Finds files that only moved: the same bytes under another name or, as git does it, much the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gitrun.entry import FILE, Entry
from gitrun.errors import GitrunError
from gitrun.sides import Side

ALIKE = 50
"""So many percent of the larger file at least must be in the other one, as for git."""
ALIKE_BYTES = 1 << 20
"""Larger files count as moved only with the same bytes."""
SAME = 100
READ_BYTES = 64 << 20
"""So much is read to find out; what is left then only counts as moved with the same bytes."""
_PAIRS = 50_000
"""So many pairs at most are compared, which takes about a second; with more, none of them is."""
_CHUNK = re.compile(rb"[^\n]{1,63}\n?|\n")
"""Lines, and pieces of long ones: what git counts, too."""

_Chunks = Counter[bytes]


class Rename(NamedTuple):
    """Where a file was before."""

    path: bytes
    similarity: int
    """Percent: 100 for the same bytes, and less for all else."""


def renames(deleted: Sequence[Entry], added: Sequence[Entry], old: Side, new: Side) -> dict[bytes, Rename]:
    """The old name of each added file that a deleted one became, each old name for one new one."""
    found = dict(_exact(deleted, added))
    taken = {rename.path for rename in found.values()}
    for score, was, now in _alike(
        [entry for entry in deleted if entry.path not in taken],
        [entry for entry in added if entry.path not in found],
        old,
        new,
    ):
        if was not in taken and now not in found:
            taken.add(was)
            found[now] = Rename(was, score)
    return found


def _exact(deleted: Sequence[Entry], added: Sequence[Entry]) -> Iterator[tuple[bytes, Rename]]:
    by_content: dict[str, list[bytes]] = {}
    for entry in reversed(deleted):
        if entry.kind == FILE and entry.size:
            by_content.setdefault(entry.sha256, []).append(entry.path)
    for entry in added:
        if by_content.get(entry.sha256):
            yield entry.path, Rename(by_content[entry.sha256].pop(), SAME)


def _alike(deleted: Sequence[Entry], added: Sequence[Entry], old: Side, new: Side) -> list[tuple[int, bytes, bytes]]:
    """Score, old and new name of all pairs that are alike, the best first; of equals those that kept their file name."""
    pairs = [(was, now) for was in deleted for now in added if _could_be_alike(was, now)]
    if len(pairs) > _PAIRS:
        return []
    reading = _Reading()
    found = []
    for was, now in pairs:
        score = _similarity(reading.chunks(old, was), reading.chunks(new, now), max(was.size, now.size))
        if score >= ALIKE:
            found.append((score, was.path, now.path))
    return sorted(found, key=lambda it: (-it[0], _name(it[1]) != _name(it[2]), it[1], it[2]))


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _could_be_alike(was: Entry, now: Entry) -> bool:
    if was.kind != FILE or now.kind != FILE or was.mutable or now.mutable:
        return False
    smaller, larger = sorted((was.size, now.size))
    return larger <= ALIKE_BYTES and smaller * 100 >= larger * ALIKE > 0


class _Reading:
    """Reads each file once, and not more than READ_BYTES of all."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], _Chunks] = {}
        self._left = READ_BYTES

    def chunks(self, side: Side, entry: Entry) -> _Chunks:
        """How often each line is in a file; none for what cannot be read, which its own difference will say."""
        key = (id(side), entry.path)
        if key not in self._known:
            self._known[key] = self._read(side, entry)
        return self._known[key]

    def _read(self, side: Side, entry: Entry) -> _Chunks:
        if entry.size > self._left:
            return Counter()
        self._left -= entry.size
        try:
            return Counter(_CHUNK.findall(side.content(entry)))
        except (GitrunError, OSError):
            return Counter()


def _similarity(one: _Chunks, other: _Chunks, size: int) -> int:
    """Percent of the larger file's `size` that both have; less than 100, since they are not the same."""
    shared = sum(min(count, other[chunk]) * len(chunk) for chunk, count in one.items() if chunk in other)
    return min(SAME - 1, shared * 100 // size)
