"""Reads git packs and loose objects as they lie on the disk, whole or damaged: for `fsck`, which trusts nothing.

libgit2 takes the first copy of an object, gives up a pack whose index is gone, and maps files, which kills a process
when they are cut.  Here each copy is read by descriptor and checked against its id, alternates are not followed, and
of a pack without index whatever still inflates is found.  The formats are those of git's gitformat-pack documentation.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from gitrun.fsio import opened, read_exactly, read_file
from gitrun.pack import BLOB, COMMIT, TAG, TREE, object_id

KINDS = {COMMIT: "commit", TREE: "tree", BLOB: "blob", TAG: "tag"}
_KIND_OF = {name.encode(): number for number, name in KINDS.items()}
_OFFSET_DELTA, _ID_DELTA = 6, 7
_LOOSE_DIRECTORY = re.compile(rb"[0-9a-f]{2}")
_LOOSE_NAME = re.compile(rb"[0-9a-f]{38}")
_LOOSE_HEAD = re.compile(rb"(commit|tree|blob|tag) (0|[1-9][0-9]{0,18})\0")
_FIRST_READ, _BLOCK = 4096, 1 << 18
_INDEX_LIMIT = 1 << 32
_DEEPEST = 5000
_ZLIB_HEADS = re.compile(b"[\x08\x18\x28\x38\x48\x58\x68\x78]")


class GitObject(NamedTuple):
    """An object whose content is what its id says."""

    kind: int
    data: bytes


class _Damaged(Exception):
    """What stands here is no object."""


class Container(ABC):
    """A file that holds objects: a pack, or a loose object."""

    path: bytes
    """For a pack its `.pack`, which may be missing."""
    faults: list[str]
    """What is wrong with the file as a whole."""
    ids: list[str]

    @abstractmethod
    def read(self, oid: str) -> GitObject | None:
        """The object, checked against its id; None when the copy in this file is damaged."""


class Loose(Container):
    """A loose object."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.faults = []
        self.ids = [os.fsdecode(b"".join(path.split(b"/")[-2:]))]

    def read(self, oid: str) -> GitObject | None:
        """The object, checked against its id; None when it is damaged."""
        try:
            with opened(self.path) as fd:
                data, _ = _inflate(fd, 0, os.fstat(fd).st_size * 1100 + 64)
        except (OSError, _Damaged):
            return None
        head = _LOOSE_HEAD.match(data)
        if head is None or len(data) - head.end() != int(head[2]):
            return None
        return _checked(oid, _KIND_OF[head[1]], data[head.end() :])


class Pack(Container):
    """A pack and its index, one of which may be missing or damaged."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.faults = []
        self._size, checksum = self._check_pack()
        indexed = self._read_index(checksum)
        self._offsets: dict[bytes, int] = indexed or {}
        if indexed is None:
            self._scan()
        self.ids = [oid.hex() for oid in sorted(self._offsets, key=lambda oid: self._offsets[oid])]

    @property
    def index(self) -> bytes:
        """The path of the index."""
        return self.path.removesuffix(b".pack") + b".idx"

    def read(self, oid: str) -> GitObject | None:
        """The object, checked against its id; None when it is damaged."""
        try:
            with opened(self.path) as fd:
                kind, data, _ = self._object(fd, self._offsets[bytes.fromhex(oid)])
        except (OSError, _Damaged, KeyError):
            return None
        return _checked(oid, kind, data)

    # -- the two files --

    def _check_pack(self) -> tuple[int, bytes]:
        """The pack's size, and the checksum at its end."""
        try:
            with opened(self.path) as fd:
                size = os.fstat(fd).st_size
                head = read_exactly(fd, 12)
                if size < 32 or head[:4] != b"PACK" or head[4:8] not in (b"\0\0\0\2", b"\0\0\0\3"):
                    self.faults.append("it is empty" if not size else "it is no git pack")
                    return size, b""
                checksum = os.pread(fd, 20, size - 20)
                if _sha1(fd, size - 20) != checksum:
                    self.faults.append("its checksum is wrong: it was changed or cut short")
                return size, checksum
        except OSError as error:
            self.faults.append(f"it cannot be read: {error.strerror}")
            return 0, b""

    def _read_index(self, checksum: bytes) -> dict[bytes, int] | None:
        try:
            data = read_file(self.index, _INDEX_LIMIT)
        except OSError as error:
            self.faults.append(f"its index cannot be read: {error.strerror}")
            return None
        if data is None:
            self.faults.append("its index is missing")
            return None
        offsets = _parse_index(data)
        if offsets is None or hashlib.sha1(data[:-20], usedforsecurity=False).digest() != data[-20:]:
            self.faults.append("its index is damaged" if data else "its index is empty")
            return None
        if not self.faults and data[-40:-20] != checksum:
            self.faults.append("its index belongs to another pack")
            return None
        return offsets

    def _scan(self) -> None:
        """Finds the objects of a pack without index, one after the other, over damaged stretches too."""
        if self._size < 32:
            return
        with opened(self.path) as fd:
            at = 12
            while at < self._size - 20:
                try:
                    kind, data, end = self._object(fd, at)
                except _Damaged:
                    at = self._next_start(fd, at + 1)
                    continue
                self._offsets.setdefault(object_id(kind, data), at)
                at = end

    def _next_start(self, fd: int, at: int) -> int:
        """The next place where an object may begin: two bytes or more before something like a zlib stream."""
        while at < self._size - 20:
            block = os.pread(fd, _BLOCK, at)
            for found in _ZLIB_HEADS.finditer(block, 1):
                start = found.start()
                if start + 1 < len(block) and (block[start] << 8 | block[start + 1]) % 31 == 0:
                    for length in range(min(5, start), 0, -1):
                        if all(byte & 0x80 for byte in block[start - length : start - 1]) and block[start - 1] < 0x80:
                            return at + start - length
            at += max(1, len(block) - 8)
        return self._size

    # -- objects --

    def _object(self, fd: int, offset: int) -> tuple[int, bytes, int]:
        """Kind and content of the object at `offset`, and where it ends."""
        deltas: list[bytes] = []
        end = 0
        while len(deltas) < _DEEPEST:
            kind, size, base, start = self._head(fd, offset)
            data, stop = _inflate(fd, start, size)
            if len(data) != size:
                raise _Damaged
            end = end or stop
            if base is None:
                return kind, _patched(data, deltas), end
            deltas.append(data)
            offset = base
        raise _Damaged

    def _head(self, fd: int, offset: int) -> tuple[int, int, int | None, int]:
        """Kind, size, the offset of a delta's base, and where the content begins."""
        head = os.pread(fd, 64, offset)
        try:
            kind, size, at, shift = head[0] >> 4 & 7, head[0] & 15, 1, 4
            while head[at - 1] & 0x80:
                size |= (head[at] & 0x7F) << shift
                at, shift = at + 1, shift + 7
            if kind == _OFFSET_DELTA:
                distance = head[at] & 0x7F
                while head[at] & 0x80:
                    at += 1
                    distance = (distance + 1) << 7 | head[at] & 0x7F
                if not 0 < distance <= offset - 12:
                    raise _Damaged
                return kind, size, offset - distance, offset + at + 1
            if kind == _ID_DELTA:
                return kind, size, self._offsets[head[at : at + 20]], offset + at + 20
        except (IndexError, KeyError):
            raise _Damaged from None
        if kind not in KINDS:
            raise _Damaged
        return kind, size, None, offset + at


class ObjectFiles:
    """All objects of a repository, in all their copies."""

    def __init__(self, repository: bytes) -> None:
        """Opens every pack; raises OSError where the directories cannot be listed."""
        objects = os.path.join(repository, b"objects")
        self.containers: list[Container] = [Pack(path) for path in _packs(os.path.join(objects, b"pack"))]
        self.containers += [Loose(path) for path in _loose(objects)]
        self.copies: dict[str, list[Container]] = {}
        for container in self.containers:
            for oid in container.ids:
                self.copies.setdefault(oid, []).append(container)

    def __contains__(self, oid: str) -> bool:
        return oid in self.copies

    def read(self, oid: str) -> GitObject | None:
        """An object, from the first good copy; None where there is none."""
        found = (container.read(oid) for container in self.copies.get(oid, ()))
        return next((one for one in found if one is not None), None)


def _packs(directory: bytes) -> list[bytes]:
    names = _listed(directory)
    stems = {
        os.path.splitext(name)[0] for name in names if name.startswith(b"pack-") and name.endswith((b".pack", b".idx"))
    }
    return [os.path.join(directory, stem + b".pack") for stem in sorted(stems)]


def _loose(objects: bytes) -> Iterator[bytes]:
    for directory in sorted(filter(_LOOSE_DIRECTORY.fullmatch, _listed(objects))):
        for name in sorted(filter(_LOOSE_NAME.fullmatch, _listed(os.path.join(objects, directory)))):
            yield os.path.join(objects, directory, name)


def _listed(directory: bytes) -> list[bytes]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(directory)
    return []


def _checked(oid: str, kind: int, data: bytes) -> GitObject | None:
    return GitObject(kind, data) if object_id(kind, data).hex() == oid else None


def _sha1(fd: int, size: int) -> bytes:
    digest, at = hashlib.sha1(usedforsecurity=False), 0
    while at < size and (data := os.pread(fd, min(_BLOCK, size - at), at)):
        digest.update(data)
        at += len(data)
    return digest.digest()


def _inflate(fd: int, offset: int, limit: int) -> tuple[bytes, int]:
    """What the zlib stream at `offset` holds, at most `limit` bytes and one more, and where it ends."""
    stream, parts, room = zlib.decompressobj(), [], limit + 1
    block = _FIRST_READ
    while not stream.eof and room > 0:
        data = stream.unconsumed_tail or os.pread(fd, block, offset)
        if not data:
            raise _Damaged
        if not stream.unconsumed_tail:
            offset += len(data)
            block = _BLOCK
        try:
            parts.append(stream.decompress(data, room))
        except zlib.error:
            raise _Damaged from None
        room -= len(parts[-1])
    if not stream.eof:
        raise _Damaged
    return parts[0] if len(parts) == 1 else b"".join(parts), offset - len(stream.unused_data)


def _parse_index(data: bytes) -> dict[bytes, int] | None:
    """Offsets by object id, from an index of version 2; None for anything else."""
    if len(data) < 1072 or data[:8] != b"\xfftOc\0\0\0\2":
        return None
    fanout = struct.unpack_from(">256I", data, 8)
    count, at = fanout[255], 1032
    if list(fanout) != sorted(fanout) or len(data) < at + 28 * count + 40:
        return None
    ids = [data[at + 20 * number : at + 20 * number + 20] for number in range(count)]
    short = struct.unpack_from(f">{count}I", data, at + 24 * count)
    far = struct.unpack_from(f">{(len(data) - at - 28 * count - 40) // 8}Q", data, at + 28 * count)
    try:
        offsets = [far[offset & 0x7FFFFFFF] if offset >> 31 else offset for offset in short]
    except IndexError:
        return None
    return dict(zip(ids, offsets, strict=True))


def _patched(data: bytes, deltas: list[bytes]) -> bytes:
    for delta in reversed(deltas):
        data = _apply(data, delta)
    return data


def _apply(base: bytes, delta: bytes) -> bytes:
    """The object that `delta` makes of `base`."""
    try:
        source, at = _number(delta, 0)
        target, at = _number(delta, at)
        out: list[bytes] = []
        while at < len(delta):
            code, at = delta[at], at + 1
            if code & 0x80:
                values = []
                for bit in range(7):
                    values.append(delta[at] if code >> bit & 1 else 0)
                    at += code >> bit & 1
                start = int.from_bytes(bytes(values[:4]), "little")
                length = int.from_bytes(bytes(values[4:]), "little") or 0x10000
                out.append(base[start : start + length])
            else:
                out.append(delta[at : at + code])
                at += code
    except IndexError:
        raise _Damaged from None
    result = b"".join(out)
    if source != len(base) or target != len(result):
        raise _Damaged
    return result


def _number(delta: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (delta[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not delta[at - 1] & 0x80:
            return value, at
