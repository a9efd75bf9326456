"""Pointers: one canonical encoding, and no file that git-lfs could take for a pointer goes unnoticed."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitrun.pointer import EMPTY_OID, SIZE_LIMIT, Pointer, PointerInvalid, resembles_pointer
from tests.support.judge import Judge

OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
POINTER = Pointer(OID, 12345).encode()
LARGEST = 2**63 - 1
EXTENSION = b"ext-0-foo sha256:" + b"a" * 64 + b"\n"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge(tmp_path_factory.mktemp("judge") / "repository.git")


def edited(old: bytes, new: bytes) -> bytes:
    assert old in POINTER
    return POINTER.replace(old, new)


LENIENT = {
    "canonical": POINTER,
    "no final newline": POINTER[:-1],
    "CRLF": edited(b"\n", b"\r\n"),
    "empty lines": edited(b"\n", b"\n\r\n\n"),
    "blanks behind": POINTER + b" \t\n\n",
    "blanks before": b" \n\t" + POINTER,
    "Unicode blanks around": "\u3000\u00a0".encode() + POINTER + "\u2028\u0085".encode(),
    "plus": edited(b"12345", b"+12345"),
    "leading zeros": edited(b"12345", b"0012345"),
    "size 0": edited(b"12345", b"0"),
    "minus zero": edited(b"12345", b"-0"),
    "largest size": edited(b"12345", b"%d" % LARGEST),
    "alpha": edited(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
    "pre-release": edited(b"git-lfs", b"hawser"),
    "extension": edited(b"oid", EXTENSION + b"oid"),
    "extension first": EXTENSION + POINTER,
    "extension before the size": edited(b"size", EXTENSION + b"size"),
    "1023 bytes": POINTER + b" " * (SIZE_LIMIT - 1 - len(POINTER)),
}

CONTENT = {
    "text": b"version 1\n",
    "upper-case oid": edited(OID.encode(), OID.upper().encode()),
    "extra key": POINTER + b"x y\n",
    "byte-order mark": b"\xef\xbb\xbf" + POINTER,
    "size beyond 64 bits": edited(b"12345", b"%d" % (LARGEST + 1)),
    "negative size": edited(b"12345", b"-1"),
    "other format": edited(b"spec/v1", b"spec/v2"),
    "other order": b"".join(sorted(POINTER.splitlines(keepends=True))),
    "1024 bytes": POINTER + b" " * (SIZE_LIMIT - len(POINTER)),
    "1025 bytes": POINTER + b" " * (SIZE_LIMIT + 1 - len(POINTER)),
    "1023 bytes of something else": POINTER + b"x" * (SIZE_LIMIT - 1 - len(POINTER)),
}


def taken_by_git_lfs(judge: Judge, data: bytes) -> bool:
    """Whether `git lfs clean` passes `data` through, as it does with pointers alone."""
    return judge.run("lfs", "clean", data=data) == data


@pytest.mark.parametrize("data", LENIENT.values(), ids=LENIENT)
def test_what_git_lfs_takes_for_a_pointer_is_noticed(judge: Judge, data: bytes) -> None:
    assert taken_by_git_lfs(judge, data)
    assert resembles_pointer(data)


@pytest.mark.parametrize("data", CONTENT.values(), ids=CONTENT)
def test_what_git_lfs_takes_for_content_stays_plain(judge: Judge, data: bytes) -> None:
    assert not taken_by_git_lfs(judge, data)
    assert not resembles_pointer(data)


def test_an_empty_file_is_its_own_pointer(judge: Judge) -> None:
    assert Pointer(EMPTY_OID, 0).encode() == b"" == judge.run("lfs", "clean", data=b"")
    assert Pointer.decode(b"") == Pointer(EMPTY_OID, 0)
    assert not resembles_pointer(b"")


PIECES = [b"\n", b"\r\n", b"\n\n", b" ", b"\t", b"\0", b"\xff", "\u3000".encode(), b"+", b"-", b"0", b"9", b"x"]
PIECES += [b"version ", b"oid ", b"size ", b"sha256:", EXTENSION, b"ext-1-a b\n", b"ext-12-a b\n", POINTER]


def mutations(count: int) -> list[bytes]:
    """Lenient pointers with one to three small changes at places where lines or words meet; always the same ones."""
    chance = random.Random(3)
    results: set[bytes] = set()
    while len(results) < count:
        data = chance.choice(list(LENIENT.values()))
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            places = chance.choice([rb"(?m)^", rb"(?m)$", rb"\b", rb"\A|\Z"])
            at = chance.choice([match.start() for match in re.finditer(places, data)] or [0])
            data = data[:at] + chance.choice([b"", *PIECES]) + data[at + chance.choice([0, 0, 0, 1, 2]) :]
        results.add(data)
    return sorted(results)


def test_no_mutation_is_missed(judge: Judge) -> None:
    # `git lfs clean` costs 20 ms a file; `git lfs ls-files` puts a whole tree through the same parser.
    blobs = {judge.write("blob", data): data for data in mutations(4000)}
    tree = b"".join(b"100644 %b\0%b" % (oid, bytes.fromhex(oid.decode())) for oid in sorted(blobs))
    root = judge.write("tree", tree)
    commit = judge.write("commit", b"tree %b\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\n\n" % root)
    judge.run("update-ref", "HEAD", commit.decode())
    listed = judge.run("lfs", "ls-files", "--debug", "HEAD")
    taken = {blobs[oid] for oid in re.findall(rb"^filepath: ([0-9a-f]{40})$", listed, re.MULTILINE)}
    assert len(taken) > 200
    assert [data for data in taken if data and not resembles_pointer(data)] == []
    stored_in_vain = [data for data in set(blobs.values()) - taken if resembles_pointer(data)]
    assert len(stored_in_vain) < len(taken)


@settings(max_examples=200, derandomize=True, database=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, LARGEST))
def test_decode_gives_back_what_encode_was_given(digest: bytes, size: int) -> None:
    pointer = Pointer(digest.hex(), size)
    assert len(pointer.encode()) < SIZE_LIMIT
    assert Pointer.decode(pointer.encode()) == pointer
    assert resembles_pointer(pointer.encode())


def test_encode_says_what_git_lfs_says(judge: Judge) -> None:
    content = b"some content"
    printed = judge.run("lfs", "clean", data=content)
    assert Pointer.decode(printed).size == len(content)
    assert Pointer.decode(printed).encode() == printed


@pytest.mark.parametrize(
    "data",
    [*[data for name, data in LENIENT.items() if name not in ("canonical", "largest size")], *CONTENT.values()],
    ids=[*[name for name in LENIENT if name not in ("canonical", "largest size")], *CONTENT],
)
def test_decode_refuses_everything_else(data: bytes) -> None:
    with pytest.raises(PointerInvalid):
        Pointer.decode(data)
