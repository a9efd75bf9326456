"""Writes git packs: all objects of a lock in one file, one stream, one sync.

Loose objects cost a file and a sync each; libgit2's own pack builder is ten times slower than this (docs/performance.md).
The formats are those of git's gitformat-pack documentation, pack version 2 and index version 2, without deltas.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from typing import NamedTuple

from isal import isal_zlib

from gitrun.fsio import try_chmod, write_all, write_file

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4
_TYPE_NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
_BUFFER = 1 << 20
_RANDOM_DIFFERENT = 52


def object_id(kind: int, data: bytes) -> bytes:
    """The 20 bytes of an object's git id."""
    sha1 = hashlib.sha1(b"%s %d\0" % (_TYPE_NAMES[kind], len(data)), usedforsecurity=False)
    sha1.update(data)
    return sha1.digest()


class Packed(NamedTuple):
    """An object in the form in which it stands in a pack."""

    oid: bytes
    data: bytes
    crc: int


def packed(kind: int, data: bytes, oid: bytes) -> Packed:
    """`data` with header and deflated, ready for PackWriter.add."""
    # zlib's level 0 stores: five times faster than finding out by deflating that there is nothing to gain.
    deflated = zlib.compress(data, 0) if _looks_random(data) else isal_zlib.compress(data, 1)
    body = _header(kind, len(data)) + deflated
    return Packed(oid, body, zlib.crc32(body))


def _looks_random(data: bytes) -> bool:
    """Whether 64 bytes from the middle look compressed or random: text has some 30 different bytes there, floats 48."""
    middle = len(data) >> 1
    return len(set(data[middle : middle + 64])) >= _RANDOM_DIFFERENT


def _header(kind: int, size: int) -> bytes:
    first = kind << 4 | size & 15
    size >>= 4
    out = bytearray()
    while size:
        out.append(first | 0x80)
        first = size & 0x7F
        size >>= 7
    out.append(first)
    return bytes(out)


class FinishedPack(NamedTuple):
    """A pack and its index, complete and synced, side by side in the directory where they were written."""

    name: str
    """Without the suffixes `.pack` and `.idx`."""
    size: int
    """Bytes of both."""


class PackWriter:
    """Collects objects in a new file in `directory`; `finish` completes pack and index there.

    Objects that are added twice are written once.  The caller moves the two files into place and removes them after a
    failure.
    """

    def __init__(self, directory: bytes) -> None:
        self.directory = directory
        self._path = os.path.join(directory, b"objects-%d.pack" % os.getpid())
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._index: dict[bytes, tuple[int, int]] = {}
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._offset = 12
        write_all(self._fd, b"\0" * self._offset)  # room for the header: the count is known last

    def __contains__(self, oid: bytes) -> bool:
        return oid in self._index

    def __len__(self) -> int:
        return len(self._index)

    def add(self, item: Packed) -> None:
        """Adds an object."""
        if item.oid in self._index:
            return
        self._index[item.oid] = (self._offset, item.crc)
        self._offset += len(item.data)
        self._buffer.append(item.data)
        self._buffered += len(item.data)
        if self._buffered >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        write_all(self._fd, b"".join(self._buffer))
        self._buffer.clear()
        self._buffered = 0

    def finish(self) -> FinishedPack:
        """Completes and syncs pack and index, read-only."""
        self._flush()
        os.lseek(self._fd, 0, os.SEEK_SET)
        write_all(self._fd, struct.pack(">4sII", b"PACK", 2, len(self._index)))
        checksum = self._checksum()
        write_all(self._fd, checksum)
        name = f"pack-{checksum.hex()}"
        path = os.path.join(self.directory, name.encode())
        index = self._encode_index(checksum)
        try_chmod(self._fd, 0o444)
        os.fsync(self._fd)
        # Two workers whose files are alike make the same pack: then the second one takes the place of the first.
        os.rename(self._path, path + b".pack")
        write_file(path + b".idx", index, mode=0o444)
        return FinishedPack(name, self._offset + len(checksum) + len(index))

    def close(self) -> None:
        """Closes the file; nothing is removed."""
        os.close(self._fd)

    def _checksum(self) -> bytes:
        sha1 = hashlib.sha1(usedforsecurity=False)
        os.lseek(self._fd, 0, os.SEEK_SET)
        while data := os.read(self._fd, _BUFFER):
            sha1.update(data)
        return sha1.digest()

    def _encode_index(self, pack_checksum: bytes) -> bytes:
        oids = sorted(self._index)
        fanout = [0] * 256
        for oid in oids:
            fanout[oid[0]] += 1
        for byte in range(1, 256):
            fanout[byte] += fanout[byte - 1]
        offsets, crcs = zip(*(self._index[oid] for oid in oids), strict=True) if oids else ((), ())
        far = [offset for offset in offsets if offset >= 1 << 31]
        slot = {offset: number for number, offset in enumerate(far)}
        short = [offset if offset < 1 << 31 else 1 << 31 | slot[offset] for offset in offsets]
        body = b"".join(
            (
                b"\xfftOc" + struct.pack(">I", 2),
                struct.pack(">256I", *fanout),
                *oids,
                struct.pack(f">{len(crcs)}I", *crcs),
                struct.pack(f">{len(short)}I", *short),
                struct.pack(f">{len(far)}Q", *far),
                pack_checksum,
            )
        )
        return body + hashlib.sha1(body, usedforsecurity=False).digest()
