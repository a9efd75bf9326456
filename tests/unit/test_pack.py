"""Packs: stock git takes them, and finds in them what was put in."""

from __future__ import annotations

import hashlib
import os
import random
import re
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitrun.pack import BLOB, COMMIT, TAG, TREE, PackWriter, _header, object_id, packed
from tests.support.judge import Judge

KINDS = {COMMIT: "commit", TREE: "tree", BLOB: "blob", TAG: "tag"}
BOUNDARIES = [0, 1, 15, 16, 17, 127, 128, 2047, 2048, 2049, (1 << 18) - 1, 1 << 18, (1 << 25) - 1, 1 << 25]
"""Sizes around which the header of an object grows by a byte."""
WHO = b"A <a@b> 0 +0000"


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path / "judge.git")


def write(directory: Path, objects: list[tuple[int, bytes]]) -> Path:
    """A pack of `objects` in `directory`, without suffix."""
    writer = PackWriter(os.fsencode(directory))
    try:
        for kind, data in objects:
            writer.add(packed(kind, data, object_id(kind, data)))
        writer.finish()
    finally:
        writer.close()
    (found,) = directory.glob("*.pack")
    return found.with_suffix("")


def in_judge(judge: Judge, objects: list[tuple[int, bytes]]) -> Path:
    return write(judge.directory / "objects" / "pack", objects)


def listed(judge: Judge) -> dict[bytes, tuple[bytes, int]]:
    """All objects that git finds: kind and size by id."""
    lines = judge.run("cat-file", "--batch-all-objects", "--batch-check").splitlines()
    return {oid: (kind, int(size)) for oid, kind, size in (line.split() for line in lines)}


def a_history() -> tuple[list[tuple[int, bytes]], bytes]:
    """Blob, tree, commit and tag that hang together, and the id of the tag."""
    blob = b"content\n"
    tree = b"100644 file\0" + object_id(BLOB, blob)
    commit = b"tree %b\nauthor %b\ncommitter %b\n\nwhy\n" % (object_id(TREE, tree).hex().encode(), WHO, WHO)
    tag = b"object %b\ntype commit\ntag locked\ntagger %b\n\nwhy\n" % (object_id(COMMIT, commit).hex().encode(), WHO)
    return [(BLOB, blob), (TREE, tree), (COMMIT, commit), (TAG, tag)], object_id(TAG, tag).hex().encode()


def test_git_reads_every_kind_of_object(judge: Judge) -> None:
    objects, tag = a_history()
    in_judge(judge, objects)
    judge.run("symbolic-ref", "HEAD", "refs/heads/main")
    judge.run("update-ref", "refs/heads/main", tag.decode() + "^{commit}")
    judge.run("update-ref", "refs/tags/locked", tag.decode())
    assert judge.run("fsck", "--strict", "--no-dangling") == b""
    assert judge.run("cat-file", "blob", "locked:file") == b"content\n"
    for kind, data in objects:
        assert judge.run("cat-file", KINDS[kind], object_id(kind, data).hex()) == data


@pytest.mark.parametrize("size", BOUNDARIES)
def test_objects_of_every_length_of_header(judge: Judge, size: int) -> None:
    blobs = [bytes(max(0, size + more)) for more in (-1, 0, 1)]
    path = in_judge(judge, [(BLOB, blob) for blob in blobs])
    expected = {hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest().encode(): len(blob) for blob in blobs}
    assert listed(judge) == {oid: (b"blob", length) for oid, length in expected.items()}
    judge.run("index-pack", "--strict", "--fsck-objects", "--verify", str(path.with_suffix(".pack")))


def test_git_makes_the_same_index(judge: Judge, tmp_path: Path) -> None:
    data = random.Random(1)
    path = write(tmp_path, [(BLOB, data.randbytes(data.randrange(400))) for _ in range(3000)])
    index = path.with_suffix(".idx").read_bytes()
    judge.run("index-pack", "--strict", "-o", str(tmp_path / "git.idx"), str(path.with_suffix(".pack")))
    assert (tmp_path / "git.idx").read_bytes() == index


def test_a_pack_larger_than_the_buffer(judge: Judge) -> None:
    noise = random.Random(2)
    blobs = [noise.randbytes(700_000) for _ in range(5)]
    in_judge(judge, [(BLOB, blob) for blob in blobs])
    for blob in blobs:
        assert judge.run("cat-file", "blob", object_id(BLOB, blob).hex()) == blob
    assert b"bad" not in judge.run("fsck", "--strict", "--no-dangling")


def test_an_object_that_is_added_twice_is_there_once(judge: Judge) -> None:
    path = in_judge(judge, [(BLOB, b"a"), (BLOB, b"b"), (BLOB, b"a"), (BLOB, b""), (BLOB, b"")])
    assert struct.unpack(">4sII", path.with_suffix(".pack").read_bytes()[:12]) == (b"PACK", 2, 3)
    assert len(listed(judge)) == 3
    judge.run("verify-pack", str(path.with_suffix(".idx")))


def test_the_writer_knows_what_it_has(tmp_path: Path) -> None:
    writer = PackWriter(os.fsencode(tmp_path))
    oid = object_id(BLOB, b"a")
    assert oid not in writer and len(writer) == 0
    writer.add(packed(BLOB, b"a", oid))
    assert oid in writer and len(writer) == 1
    writer.close()


def test_an_empty_pack_is_a_pack(judge: Judge) -> None:
    path = in_judge(judge, [])
    judge.run("index-pack", str(path.with_suffix(".pack")), "-o", str(path.parent / "again.idx"))
    assert (path.parent / "again.idx").read_bytes() == path.with_suffix(".idx").read_bytes()


def test_the_name_is_the_checksum_and_both_files_are_read_only(tmp_path: Path) -> None:
    path = write(tmp_path, [(BLOB, b"a")])
    data = path.with_suffix(".pack").read_bytes()
    assert path.name == f"pack-{hashlib.sha1(data[:-20]).hexdigest()}" and data[-20:].hex() == path.name[5:]
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name + ".pack", path.name + ".idx"}
    assert {entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()} == {0o444}


def test_the_same_objects_in_the_same_order_make_the_same_pack(tmp_path: Path) -> None:
    objects, _ = a_history()
    names = set()
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        names.add(write(tmp_path / place, objects).name)
    assert len(names) == 1


def test_offsets_beyond_2_gib_go_into_the_second_table(tmp_path: Path) -> None:
    writer = PackWriter(os.fsencode(tmp_path))
    oids = sorted(hashlib.sha1(bytes([n])).digest() for n in range(4))
    places = [12, (1 << 31) - 1, 1 << 31, 5 << 32]
    writer._index = {oid: (place, number) for number, (oid, place) in enumerate(zip(oids, places, strict=True))}
    index = writer._encode_index(bytes(20))
    writer.close()
    short = struct.unpack(">4I", index[8 + 1024 + 4 * 20 + 4 * 4 :][:16])
    far = struct.unpack(">2Q", index[8 + 1024 + 4 * 20 + 4 * 4 + 16 :][:16])
    assert short == (12, (1 << 31) - 1, 1 << 31, (1 << 31) + 1) and far == (1 << 31, 5 << 32)
    assert len(index) == 8 + 1024 + 4 * 20 + 4 * 4 + 16 + 16 + 40


@given(st.sampled_from(list(KINDS)), st.integers(0, 2**63))
def test_the_header_of_an_object_reads_back(kind: int, size: int) -> None:
    data = _header(kind, size)
    assert [byte >> 7 for byte in data] == [1] * (len(data) - 1) + [0]
    read = data[0] & 15
    for place, byte in enumerate(data[1:]):
        read |= (byte & 0x7F) << (4 + 7 * place)
    assert (data[0] >> 4 & 7, read) == (kind, size)


@given(st.binary(max_size=3000), st.sampled_from(list(KINDS)))
@settings(max_examples=50, deadline=None)
def test_what_is_packed_unpacks(data: bytes, kind: int) -> None:
    item = packed(kind, data, b"?" * 20)
    head = re.match(rb"[\x80-\xff]*[\x00-\x7f]", item.data)
    assert head and zlib.decompress(item.data[head.end() :]) == data
    assert item.crc == zlib.crc32(item.data)
    assert object_id(kind, data) == hashlib.sha1(b"%s %d\0" % (KINDS[kind].encode(), len(data)) + data).digest()
