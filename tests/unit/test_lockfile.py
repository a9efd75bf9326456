"""The lock file: one encoding for each record, nothing else is taken in, and `sha256sum` agrees."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gitrun.entry import BLOB, DIRECTORY, EMPTY_BLAKE3, EMPTY_SHA256, FILE, LFS, NOT_STORED, ROOT, SYMLINK, Entry
from gitrun.errors import LockFileInvalid, NewerFormat
from gitrun.lockfile import LockFile, decode_headers

S, B = EMPTY_SHA256, EMPTY_BLAKE3
HUGE = 2**63 - 1

# -- round trips ------------------------------------------------------------------------------------------------------

components = st.one_of(
    st.sampled_from(
        [b"-", b"-rf", b"#", b"a b", b" ", b"\\", b"\\n", b"\n", b"\r", b"...", b"\xff\xfe", b"\xe2\x80\xae"]
    ),
    st.binary(min_size=1, max_size=6).map(lambda name: name.translate(None, b"/\0")),
).filter(lambda name: name not in (b"", b".", b".."))
paths = st.lists(components, min_size=1, max_size=4).map(b"/".join).filter(lambda path: path != b".gitrun.lock")
modes = st.integers(0, 0o7777)
times = st.one_of(st.integers(-(2**63), HUGE), st.sampled_from([0, -1, 1714564800123456789]))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
without_nul = st.binary(min_size=1, max_size=9).map(lambda text: text.replace(b"\0", b"%"))
xattrs = st.dictionaries(without_nul, st.binary(max_size=9), max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))
numbers = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
unknown = st.dictionaries(
    st.from_regex(r"z[a-z0-9-]{0,5}(?::[!-<>-~]{1,5})?", fullmatch=True),
    st.from_regex(r"(?:[!-~][!-~=]{0,8})?", fullmatch=True),
    max_size=2,
).map(lambda pairs: tuple(sorted(pairs.items())))


@st.composite
def files(draw: st.DrawFn, path: bytes) -> Entry:
    mutable = draw(st.booleans())
    created = mutable and draw(st.booleans())
    size = 0 if created else draw(st.integers(0, 2**40))
    storage = draw(st.sampled_from([BLOB, LFS, NOT_STORED]))
    tree_path = draw(st.one_of(st.just(b""), st.just(b"%25" + path.replace(b"\0", b""))))
    entry = Entry(path, FILE, draw(modes), size, draw(times), draw(digests), draw(digests), storage, mutable, created)
    return entry._replace(
        xattrs=draw(xattrs), hardlink=draw(st.integers(0, 9)), tree_path=tree_path, extra=draw(unknown)
    )


@st.composite
def leaves(draw: st.DrawFn, path: bytes) -> Entry:
    kind = draw(st.sampled_from("fffdlpscb"))
    plain = Entry(path, kind, draw(modes), 0, draw(times), extra=draw(unknown))
    if kind == FILE:
        return draw(files(path))
    if kind == DIRECTORY:
        return plain._replace(xattrs=draw(xattrs))
    if kind == SYMLINK:
        target = draw(without_nul)
        return plain._replace(target=target, size=len(target))
    return plain._replace(device=draw(numbers)) if kind in "cb" else plain


@st.composite
def runs(draw: st.DrawFn) -> list[Entry]:
    """The entries of a run, in any order."""
    entries = {ROOT: Entry(ROOT, DIRECTORY, draw(modes), 0, draw(times), xattrs=draw(xattrs))}
    for path in draw(st.lists(paths, max_size=6)):
        parents = [path[:at] for at, byte in enumerate(path) if byte == 0x2F]
        if path in entries or any(entries[parent].kind != DIRECTORY for parent in parents if parent in entries):
            continue
        for parent in parents:
            entries.setdefault(parent, Entry(parent, DIRECTORY, 0o755, 0, 0))
        entries[path] = draw(leaves(path))
    return draw(st.permutations(list(entries.values())))


headers = st.lists(
    st.tuples(
        st.from_regex(r"(?:run-id|store|x-[a-z0-9-]{0,4})", fullmatch=True),
        st.binary(max_size=9).map(lambda value: os.fsdecode(value.replace(b"\0", b"").replace(b"\n", b""))),
    ),
    unique_by=lambda pair: pair[0],
    max_size=3,
)


@given(runs(), headers)
@settings(max_examples=150, deadline=None)
def test_every_record_comes_back_from_its_encoding(entries: list[Entry], pairs: list[tuple[str, str]]) -> None:
    record = LockFile.of(entries, pairs)
    data = record.encode()
    assert LockFile.decode(data) == record
    assert LockFile.decode(data).encode() == data
    assert LockFile.of(reversed(entries), pairs).encode() == data


@given(st.data(), runs())
@settings(max_examples=150, deadline=None)
def test_what_decode_accepts_it_encodes_to_the_same_bytes(data: st.DataObject, entries: list[Entry]) -> None:
    """One byte of a good file replaced, removed or added: refused, or another record in its own one encoding."""
    good = LockFile.of(entries, [("run-id", "r")]).encode()
    at = data.draw(st.integers(0, len(good) - 1))
    new = data.draw(st.sampled_from([b"", b"0", b"1", b"-", b" ", b"\\", b"\n", b"\r", b"\0", b"A", b"f", b"/", b"."]))
    spoilt = good[:at] + new + good[at + data.draw(st.integers(0, 1)) :]
    try:
        record = LockFile.decode(spoilt)
    except (LockFileInvalid, NewerFormat):
        return
    assert record.encode() == spoilt


@given(st.binary(max_size=200))
@example(b"# gitrun lock 1.0\n#\n")
@settings(deadline=None)
def test_rubbish_raises_nothing_but_our_own_errors(data: bytes) -> None:
    for text in (data, b"# gitrun lock 1.0\n" + data, lock_file(data)):
        with pytest.raises((LockFileInvalid, NewerFormat)):
            LockFile.decode(text)


# -- what is refused --------------------------------------------------------------------------------------------------


def lock_file(*entries: str | bytes, counts: tuple[int, int, int] | None = None, more: bytes = b"") -> bytes:
    """A lock file of the run directory and `entries`, each given as its lines; with the right counts if none are given."""
    body = b"".join(entry.encode("latin-1") if isinstance(entry, str) else entry for entry in entries)
    found = re.findall(rb"^# f \S+ (\d+) ", body, re.MULTILINE)
    size, number, regular = counts or (sum(min(int(n[:30]), 10**30) for n in found), len(entries) + 1, len(found))
    head = b"# gitrun lock 1.0\n# bytes: %d\n# entries: %d\n# files: %d\n%b#\n" % (size, number, regular, more)
    return head + b"# d 755 0 0\n#  .\n" + body


def a_file(name: str, *, mark: str = "", size: object = 0) -> str:
    return f"# f 644 {size} 0 {B} blob\n{mark}{S}  {name}\n"


def a_directory(name: str, *, mode: str = "755", time: str = "0", attributes: str = "") -> str:
    return f"# d {mode} 0 {time}{attributes}\n#  {name}\n"


VALID = {
    "nothing": lock_file(),
    "file": lock_file(a_file("a")),
    "dash": lock_file(a_file("./-")),
    "directory named dash": lock_file(a_directory("-")),
    "dash below": lock_file(a_directory("a"), a_file("a/-")),
    "hash": lock_file(a_file("#")),
    "two blanks": lock_file(a_file("  ")),
    "escapes": lock_file(a_file(r"a\n\r\\", mark="\\")),
    "escapes of a directory": lock_file(a_directory(r"a\n\r\\")),
    "three dots": lock_file(a_file("...")),
    "time before 1970": lock_file(a_directory("a", time="-1")),
    "all bits": lock_file(a_directory("a", mode="7777")),
    "no bits": lock_file(a_directory("a", mode="0")),
    "unknown header": lock_file(more=b"# future: x\n"),
    "unknown header without a value": lock_file(more=b"# future: \n"),
    "unknown attribute": lock_file(a_directory("a", attributes=" future future-value=x=y")),
    "empty attribute value": lock_file(a_directory("a", attributes=" xattr:user.a=-")),
    "file after a sibling with a lower byte than /": lock_file(a_directory("a"), a_directory("a-b"), a_file("a/c")),
}


@pytest.mark.parametrize("data", VALID.values(), ids=VALID)
def test_valid_files_are_read(data: bytes) -> None:
    assert LockFile.decode(data).encode() == data


BIG = "9" * 5000

INVALID = {
    # names
    "parent": lock_file(a_file("../x")),
    "only ..": lock_file(a_directory("..")),
    "absolute": lock_file(a_file("/etc/x")),
    ".. in the middle": lock_file(a_directory("a"), a_file("a/../b")),
    ". in the middle": lock_file(a_directory("a"), a_file("a/./b")),
    ". before": lock_file(a_file("./b")),
    ". after": lock_file(a_directory("a"), a_directory("a/.")),
    "two slashes": lock_file(a_directory("a"), a_file("a//b")),
    "slash at the end": lock_file(a_directory("a/")),
    "empty": lock_file(a_file("")),
    "empty directory name": lock_file(a_directory("")),
    "NUL": lock_file(a_file("a\0b")),
    "root twice": lock_file(a_directory(".")),
    "root as a file": lock_file(a_file(".")),
    "the lock file itself": lock_file(a_file(".gitrun.lock")),
    # order and parents
    "duplicate": lock_file(a_file("a"), a_file("a")),
    "unsorted": lock_file(a_file("b"), a_file("a")),
    "unsorted, by its bytes": lock_file(a_file("\xff"), a_file("a")),
    "no parent": lock_file(a_file("a/b")),
    "no grandparent": lock_file(a_directory("a/b"), a_file("a/b/c")),
    "parent is a file": lock_file(a_file("a"), a_file("a/b")),
    "parent is a symlink": lock_file("# l 777 1 0 target=b\n#  a\n", a_file("a/b")),
    "no root": lock_file(a_file("a")).replace(b"# d 755 0 0\n#  .\n", b"").replace(b"entries: 2", b"entries: 1"),
    "root is a FIFO": lock_file().replace(b"# d 755", b"# p 755"),
    # counts and ends
    "too few entries": lock_file(a_file("a"), counts=(0, 3, 1)),
    "too many files": lock_file(a_file("a"), counts=(0, 2, 0)),
    "wrong size": lock_file(a_file("a", size=5), counts=(4, 2, 1)),
    "no counts": b"# gitrun lock 1.0\n#\n# d 755 0 0\n#  .\n",
    "no entries": b"# gitrun lock 1.0\n# bytes: 0\n# entries: 0\n# files: 0\n#\n",
    "garbage after the end": lock_file() + b"x",
    "newline after the end": lock_file() + b"\n",
    "a line of sha256sum's after the end": lock_file() + f"{S}  a\n".encode(),
    "a comment after the end": lock_file() + b"# a\n",
    "NUL after the end": lock_file() + b"\0",
    "BOM": b"\xef\xbb\xbf" + lock_file(),
    "CRLF": lock_file(a_file("a")).replace(b"\n", b"\r\n"),
    # headers
    "header twice": lock_file(more=b"# x: 1\n# x: 1\n"),
    "headers unsorted": lock_file(more=b"# y: 1\n# x: 1\n"),
    "headers unsorted by their bytes": lock_file(more=b"# x: \xff\n# x: \xee\x80\x80\n"),
    "header key in upper case": lock_file(more=b"# X: 1\n"),
    "header without a blank": lock_file(more=b"# x:1\n"),
    "NUL in a header": lock_file(more=b"# x: \0\n"),
    "count twice": lock_file().replace(b"# entries: 1\n", b"# entries: 1\n# entries: 999\n"),
    "two file systems": lock_file(more=b"# filesystem: ext4 xattrs\n# filesystem: xfs xattrs\n"),
    "another run id": lock_file(more=b"# run-id: a\n# run-id: b\n"),
    "not a lock file": b"hello\n",
    "JSON": b'{"version": 1}',
    "nothing at all": b"",
    # a second spelling
    "zero before the mode": lock_file(a_directory("a", mode="0755")),
    "decimal digit in the mode": lock_file(a_directory("a", mode="758")),
    "mode too large": lock_file(a_directory("a", mode="17777")),
    "zero before the size": lock_file(a_file("a", size="00")),
    "sign before the size": lock_file(a_file("a", size="+1")),
    "negative size": lock_file(a_file("a", size="-1"), counts=(-1, 2, 1)),
    "zero before the time": lock_file(a_directory("a", time="00")),
    "minus zero": lock_file(a_directory("a", time="-0")),
    "upper-case SHA-256": lock_file(f"# f 644 0 0 {B} blob\n{S.upper()}  a\n"),
    "upper-case BLAKE3": lock_file(f"# f 644 0 0 {B.upper()} blob\n{S}  a\n"),
    "one blank": lock_file(f"# f 644 0 0 {B} blob\n{S} a\n"),
    "binary mark": lock_file(f"# f 644 0 0 {B} blob\n{S} *a\n"),
    "dash without its place": lock_file(a_file("-")),
    "./- of a directory": lock_file(a_directory("./-")),
    "escape mark without escapes": lock_file(a_file("a", mark="\\")),
    "escapes without their mark": lock_file(a_file(r"a\n")),
    "unknown escape": lock_file(a_file(r"a\t", mark="\\")),
    "escape at the end": lock_file(a_file("a\\", mark="\\")),
    "unknown escape of a directory": lock_file(a_directory(r"a\x")),
    "raw CR": lock_file(a_file("a\rb")),
    "two blanks between fields": lock_file("# d  755 0 0\n#  a\n"),
    "blank at the end of the line": lock_file("# d 755 0 0 \n#  a\n"),
    "attributes unsorted": lock_file(a_directory("a", attributes=" b a")),
    "attribute twice": lock_file(a_directory("a", attributes=" z=1 z=2")),
    "empty value": lock_file(a_directory("a", attributes=" z=")),
    "target encoded in lower case": lock_file("# l 777 1 0 target=%0a\n#  a\n"),
    "target encoded needlessly": lock_file("# l 777 1 0 target=%61\n#  a\n"),
    "xattr without padding": lock_file(a_directory("a", attributes=" xattr:user.a=YQ")),
    "xattr with other last bits": lock_file(a_directory("a", attributes=" xattr:user.a=YR==")),
    "xattr that is not base64": lock_file(a_directory("a", attributes=" xattr:user.a=!")),
    "xattr without a name": lock_file(a_directory("a", attributes=" xattr:=YQ==")),
    "hardlink 0": lock_file(a_file("a").replace("blob", "blob hardlink=0")),
    "hardlink 01": lock_file(a_file("a").replace("blob", "blob hardlink=01")),
    "hardlink that is no number": lock_file(a_file("a").replace("blob", "blob hardlink=x")),
    "device 01": lock_file("# c 644 0 0 device=01:2\n#  a\n"),
    # fields that contradict each other
    "unknown kind": lock_file("# x 644 0 0\n#  a\n"),
    "unknown storage": lock_file(f"# f 644 0 0 {B} tape\n{S}  a\n"),
    "file without digests": lock_file("# f 644 0 0\n#  a\n"),
    "file without BLAKE3": lock_file(f"# f 644 0 0\n{S}  a\n"),
    "file without SHA-256": lock_file(f"# f 644 0 0 {B} blob\n#  a\n"),
    "file with SHA-256 twice": lock_file(f"# f 644 0 0 {B} blob sha256={S}\n{S}  a\n"),
    "mutable file that sha256sum would check": lock_file(f"# f 644 0 0 {B} blob mutable sha256={S}\n{S}  a\n"),
    "mutable file without SHA-256": lock_file(f"# f 644 0 0 {B} blob mutable\n#  a\n"),
    "mutable file with another digest": lock_file(f"# f 644 0 0 {B} blob mutable sha256=abc\n#  a\n"),
    "SHA-256 of a file that is not mutable": lock_file(f"# f 644 0 0 {B} blob sha256={S}\n#  a\n"),
    "mutable with a value": lock_file(f"# f 644 0 0 {B} blob mutable=yes sha256={S}\n#  a\n"),
    "created and not mutable": lock_file(a_file("a").replace("blob", "blob created")),
    "mutable directory": lock_file(a_directory("a", attributes=" mutable")),
    "FIFO with a digest": lock_file(f"# p 644 0 0\n{S}  a\n"),
    "directory with a digest": lock_file(f"# d 755 0 0\n{S}  a\n"),
    "directory with BLAKE3": lock_file(f"# d 755 0 0 {B} blob\n#  a\n"),
    "directory with BLAKE3 and an attribute": lock_file(f"# d 755 0 0 {B} blob z\n#  a\n"),
    "directory with both digests": lock_file(f"# d 755 0 0 {B} blob\n{S}  a\n"),
    "symlink without a target": lock_file("# l 777 0 0\n#  a\n"),
    "file with a target": lock_file(a_file("a").replace("blob", "blob target=b")),
    "device without numbers": lock_file("# c 644 0 0\n#  a\n"),
    "device with one number": lock_file("# c 644 0 0 device=1\n#  a\n"),
    "file with numbers": lock_file(a_file("a").replace("blob", "blob device=1:2")),
    "tree path that leaves the tree": lock_file(a_file("a").replace("blob", "blob tree=../b")),
    "absolute tree path": lock_file(a_file("a").replace("blob", "blob tree=/b")),
    # values that no system has
    "size of a directory": lock_file("# d 755 7 0\n#  a\n"),
    "size of a symlink that is not its target's": lock_file("# l 777 7 0 target=b\n#  a\n"),
    "negative device": lock_file("# c 644 0 0 device=-1:2\n#  a\n"),
    "negative hardlink": lock_file(a_file("a").replace("blob", "blob hardlink=-1")),
    "hardlink of a directory": lock_file(a_directory("a", attributes=" hardlink=1")),
    "created with content": lock_file(f"# f 644 5 0 {B} blob created mutable sha256={S}\n#  a\n"),
    "NUL in a target": lock_file("# l 777 1 0 target=%00\n#  a\n"),
    "NUL in the name of an xattr": lock_file(a_directory("a", attributes=" xattr:%00=YQ==")),
    "size beyond 64 bits": lock_file(a_file("a", size=2**63)),
    "size of 5000 digits": lock_file(a_file("a", size=BIG)),
    "time whose seconds need more than 64 bits": lock_file(a_directory("a", time=str(2**63 * 10**9))),
    "time of a file whose seconds need more than 64 bits": lock_file(
        a_file("a").replace(" 0 0 ", f" 0 {2**63 * 10**9} ")
    ),
    "time of a file long before that": lock_file(a_file("a").replace(" 0 0 ", f" 0 {-(2**63) * 10**9 - 1} ")),
    "time of 5000 digits": lock_file(a_directory("a", time=BIG)),
    "hardlink of 5000 digits": lock_file(a_file("a").replace("blob", f"blob hardlink={BIG}")),
    "device of 5000 digits": lock_file(f"# c 644 0 0 device={BIG}:1\n#  a\n"),
}


@pytest.mark.parametrize("data", INVALID.values(), ids=INVALID)
def test_invalid_files_are_refused(data: bytes) -> None:
    with pytest.raises(LockFileInvalid) as refused:
        LockFile.decode(data)
    assert refused.value.exit_code == 6
    assert "\n" not in refused.value.message


def test_the_first_wrong_line_is_named() -> None:
    with pytest.raises(LockFileInvalid, match="line 8 "):
        LockFile.decode(lock_file(a_directory("a").replace("755", "0755"), a_file("b")))


WHOLE = lock_file(a_directory("a"), a_file("a/b", size=3), a_file(r"new\nline", mark="\\"), more=b"# x: y\n")


@pytest.mark.parametrize("line", range(WHOLE.count(b"\n")))
def test_a_file_that_is_cut_short_is_refused(line: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    start = b"".join(lines[:line])
    for cut in (start, start + lines[line][:-1], start + lines[line][: len(lines[line]) // 2]):
        with pytest.raises(LockFileInvalid):
            LockFile.decode(cut)


def test_a_million_lines_of_nothing_are_refused_at_once() -> None:
    with pytest.raises(LockFileInvalid):
        LockFile.decode(b"# gitrun lock 1.0\n" + b"#\n" * 1_000_000)


# -- versions ---------------------------------------------------------------------------------------------------------


def test_a_newer_minor_version_survives() -> None:
    data = lock_file(a_directory("a", attributes=" zz:top=1"), more=b"# zz-new: 1\n").replace(b"1.0", b"1.23", 1)
    record = LockFile.decode(data)
    assert (record.minor, record.header("zz-new"), record.entries[1].extra) == (23, "1", (("zz:top", "1"),))
    assert record.encode() == data


@pytest.mark.parametrize("version", [b"2.0", b"2.7", b"999999.0"])
def test_a_newer_major_version_is_refused_as_such(version: bytes) -> None:
    data = b"# gitrun lock " + version + b"\nwhatever it may hold"
    for read in (LockFile.decode, decode_headers):
        with pytest.raises(NewerFormat, match=re.escape(version.decode())) as refused:
            read(data)
        assert refused.value.exit_code == 6


@pytest.mark.parametrize("version", [b"0.9", b"01.0", b"1.00", b"1", b"1.", b"1.0 ", b"-1.0", b"1.1234567", b"\xb2.0"])
def test_what_is_no_version_is_invalid(version: bytes) -> None:
    with pytest.raises(LockFileInvalid):
        LockFile.decode(lock_file().replace(b"1.0", version, 1))


# -- headers alone ----------------------------------------------------------------------------------------------------


def test_the_headers_can_be_read_from_the_beginning_alone() -> None:
    data = lock_file(a_file("a", size=3), more=b"# run-id: r-1\n# store: %2Fx\n")
    head = data[: data.index(b"\n#\n") + 3]
    assert decode_headers(head) == {"bytes": "3", "entries": "2", "files": "1", "run-id": "r-1", "store": "%2Fx"}
    with pytest.raises(LockFileInvalid):
        decode_headers(head[:-3])


def test_the_counts_are_those_of_the_entries() -> None:
    root = Entry(ROOT, DIRECTORY, 0o755, 0, 0)
    mutable = Entry(b"m", FILE, 0o644, 4, 0, S, B, BLOB, mutable=True)
    record = LockFile.of([mutable, Entry(b"f", FILE, 0o644, 3, 0, S, B, BLOB), root], [("run-id", "r")])
    assert (record.files, record.bytes, record.header("entries"), record.run_id) == (2, 7, "3", "r")
    assert record.header("unknown", "default") == "default"


def test_header_values_may_hold_any_bytes() -> None:
    record = LockFile.decode(lock_file(more=b"# x: \xff\xc3\xa9\r\t:\n"))
    assert os.fsencode(record.header("x")) == b"\xff\xc3\xa9\r\t:"


# -- sha256sum as judge -----------------------------------------------------------------------------------------------

NASTY = [
    b"-",
    b"--help",
    b"-rf",
    b" ",
    b"  x",
    b"x ",
    b"a\nb",
    b"\n",
    b"\\",
    b"\\n",
    b"a\\\nb",
    b"\r",
    b"a\rb",
    b"\t",
    b"#",
]
NASTY += [
    b"# x",
    b"*",
    b"\xff\xfe",
    b"caf\xc3\xa9",
    b"\x1b[31m",
    b"\x07",
    b"...",
    b"SHA256 (x) = y",
    b"x" * 255,
    b"\xe2\x80\xae",
]
NASTY += [
    b"sub/-",
    b"sub/a\nb",
    b"sub/\\",
    b"sub/ ",
    b"-d/-",
    b"n\nl/x",
    S.encode(),
    b"\\" + S.encode(),
    b".hidden",
    b"a:b",
]


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    """A directory of files with nasty names and its lock file."""
    run = os.fsencode(tmp_path)
    entries = {ROOT: Entry(ROOT, DIRECTORY, 0o755, 0, 0)}
    for path in NASTY:
        parent = os.path.dirname(path)
        if parent:
            os.makedirs(os.path.join(run, parent), exist_ok=True)
            entries[parent] = Entry(parent, DIRECTORY, 0o755, 0, 0)
        with open(os.path.join(run, path), "wb") as file:
            file.write(path)
        sha256 = hashlib.sha256(path).hexdigest()
        entries[path] = Entry(path, FILE, 0o644, len(path), 0, sha256, blake3(path).hexdigest(), BLOB)
    (tmp_path / "label").write_text("changed since")
    entries[b"label"] = Entry(b"label", FILE, 0o644, 0, 0, S, B, BLOB, mutable=True)
    (tmp_path / ".gitrun.lock").write_bytes(LockFile.of(entries.values(), [("run-id", "# x")]).encode())
    return tmp_path


def sha256sum(run: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = ["sha256sum", "--strict", *options, "-c", ".gitrun.lock"]
    return subprocess.run(command, cwd=run, capture_output=True, stdin=subprocess.DEVNULL)


def test_sha256sum_checks_a_lock_file_of_nasty_names(nasty: Path) -> None:
    done = sha256sum(nasty)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b": OK\n") == len(NASTY)


@pytest.mark.parametrize("name", NASTY, ids=repr)
def test_sha256sum_notices_a_change_in_each_of_them(nasty: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(nasty), name), "ab") as file:
        file.write(b".")
    assert sha256sum(nasty, "--status").returncode == 1


def test_the_sum_lines_are_the_very_lines_of_sha256sum(nasty: Path) -> None:
    names = sorted(name for name in NASTY if name != b"-")
    done = subprocess.run(["sha256sum", "--", *names], cwd=nasty, capture_output=True, check=True)
    ours = re.findall(rb"^\\?[0-9a-f]{64}  .*\n", (nasty / ".gitrun.lock").read_bytes(), re.MULTILINE)
    assert [line for line in ours if not line.endswith(b"  ./-\n")] == done.stdout.splitlines(keepends=True)
