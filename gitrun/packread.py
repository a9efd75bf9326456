"""Reads single objects from packs without deltas, which are the packs that gitrun writes.

Loading libgit2 takes as long as verifying a small run, and `status` looks into thousands of repositories: this reads
what it needs with two or three `pread`.  Whatever it does not know (deltas, loose objects, damage) it leaves to libgit2,
which tells it properly (repo.py).
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gitrun.fsio import opened
from gitrun.pack import object_id

_INDEX_MAGIC = b"\xfftOc\0\0\0\2"
_FANOUT = 8
_OIDS = _FANOUT + 256 * 4
_FAR = 1 << 31
_HEADER_BYTES = 32
_LARGE = 1 << 18
_MANY_PACKS = 24
_PLAIN_KINDS = (1, 2, 3, 4)
MAX_OBJECT = 1 << 30
"""A larger object is not one that a lock makes: it is not even allocated."""


def read_packed(repository: bytes, oid: bytes) -> tuple[int, bytes] | None:
    """Kind and content of an object, checked against its id; None where no pack has it whole and without deltas.

    None too where there are many packs: libgit2, which keeps their indexes open, is quicker then.
    """
    indexes = list(_indexes(repository))
    for index in indexes if len(indexes) <= _MANY_PACKS else ():
        try:
            found = _read_from(index, oid)
        except (OSError, ValueError, IndexError, struct.error):
            continue  # libgit2 says what is wrong with it, if anybody asks
        if found is not None and object_id(*found) == oid:
            return found
    return None


def packed_ids(repository: bytes) -> set[bytes]:
    """The ids of all objects in packs, 20 bytes each; a damaged index adds nothing."""
    ids: set[bytes] = set()
    for index in _indexes(repository):
        with suppress(OSError, struct.error), opened(index) as fd:
            count = _count(fd, 255)
            if _fits(fd, index, count):
                table = os.pread(fd, count * 20, _OIDS)
                ids.update(table[at : at + 20] for at in range(0, len(table), 20))
    return ids


def _fits(fd: int, index: bytes, count: int) -> bool:
    """Whether an index is whole, and beside it the very pack that it was made for: no lock may count on another one."""
    size = os.fstat(fd).st_size
    if os.pread(fd, 8, 0) != _INDEX_MAGIC or size < _OIDS + count * 28 + 40:
        return False
    with opened(index.removesuffix(b".idx") + b".pack") as pack:
        length = os.fstat(pack).st_size
        return length > 32 and os.pread(pack, 20, length - 20) == os.pread(fd, 20, size - 40)


def _indexes(repository: bytes) -> Iterator[bytes]:
    packs = os.path.join(repository, b"objects", b"pack")
    try:
        names = os.listdir(packs)
    except OSError:
        return
    for name in names:
        if name.endswith(b".idx"):
            yield os.path.join(packs, name)


def _read_from(index: bytes, oid: bytes) -> tuple[int, bytes] | None:
    with opened(index) as fd:
        offset = _offset(fd, oid)
    if offset is None:
        return None
    with opened(index.removesuffix(b".idx") + b".pack") as fd:
        return _read_at(fd, offset)


def _offset(fd: int, oid: bytes) -> int | None:
    count = _count(fd, 255)
    if os.pread(fd, 8, 0) != _INDEX_MAGIC or os.fstat(fd).st_size < _OIDS + count * 28 + 40:
        return None
    first, last = (_count(fd, oid[0] - 1) if oid[0] else 0), _count(fd, oid[0])
    bucket = os.pread(fd, (last - first) * 20, _OIDS + first * 20)
    known = [bucket[at : at + 20] for at in range(0, len(bucket), 20)]
    place = bisect_left(known, oid)
    if place >= len(known) or known[place] != oid:
        return None
    number = first + place
    (offset,) = struct.unpack(">I", os.pread(fd, 4, _OIDS + count * 24 + number * 4))
    if offset & _FAR:
        (offset,) = struct.unpack(">Q", os.pread(fd, 8, _OIDS + count * 28 + (offset & ~_FAR) * 8))
    return int(offset)


def _count(fd: int, byte: int) -> int:
    """How many objects have an id that begins with `byte` or less."""
    (count,) = struct.unpack(">I", os.pread(fd, 4, _FANOUT + byte * 4))
    return int(count)


def _read_at(fd: int, offset: int) -> tuple[int, bytes] | None:
    header = os.pread(fd, _HEADER_BYTES, offset)
    kind, size, shift, at = header[0] >> 4 & 7, header[0] & 15, 4, 1
    while header[at - 1] & 0x80:
        size |= (header[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    if kind not in _PLAIN_KINDS or size > MAX_OBJECT:
        return None
    return kind, _inflate(fd, offset + at, size)


def _inflate(fd: int, offset: int, size: int) -> bytes:
    stream, failure = _decompressor(size)
    parts: list[bytes] = []
    have = 0
    while have <= size and not stream.eof:
        data = os.pread(fd, min(max(size, 256), 1 << 20), offset)
        if not data:
            break
        offset += len(data)
        try:
            parts.append(stream.decompress(data, size - have + 1))
        except failure as error:
            raise ValueError("the object cannot be inflated") from error
        have += len(parts[-1])
    if have != size:
        raise ValueError("the object has another size than its header says")
    return b"".join(parts)


def _decompressor(size: int) -> tuple[Any, Any]:
    """zlib's for the many small objects, isal's, twice as fast but 1 ms to load, for a large one; and what each raises."""
    if size < _LARGE:
        return zlib.decompressobj(), zlib.error
    from isal import isal_zlib

    return isal_zlib.decompressobj(), isal_zlib.error
