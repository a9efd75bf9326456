"""Comparison: what is different is told once, as what it is, and nothing else is."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitrun.compare import (
    changed_at_a_glance,
    content_difference,
    drift,
    join,
    links_drift,
    litter,
    sealed_xattrs,
    without_echoes,
)
from gitrun.entry import BLOB, DIRECTORY, FILE, ROOT, SYMLINK, Entry
from gitrun.results import Difference
from gitrun.walk import Node, node_of

S, B = "a" * 64, "b" * 64
ACL = b"system.posix_acl_access"


def a_file(path: bytes, mode: int = 0o644, size: int = 3, time: int = 7, **more: object) -> Entry:
    return Entry(path, FILE, mode, size, time, S, B, BLOB)._replace(**more)


def node(entry: Entry, **more: object) -> Node:
    """The node of a sealed entry, nothing changed."""
    same = node_of(entry.path, os.lstat(os.devnull))._replace(kind=entry.kind, mode=entry.sealed_mode, size=entry.size)
    same = same._replace(mtime_ns=entry.mtime_ns, target=entry.target, device=entry.device, inode=hash(entry.path))
    return same._replace(**more)


A_DIRECTORY = Entry(b"d", DIRECTORY, 0o755, 0, 7)
A_LINK = Entry(b"l", SYMLINK, 0o777, 3, 7, target=b"old")
A_DEVICE = Entry(b"c", "c", 0o600, 0, 7, device=(1, 3))
RECORD = [Entry(ROOT, DIRECTORY, 0o755, 0, 7), A_DEVICE, A_DIRECTORY, a_file(b"f"), A_LINK]
AS_LOCKED = [node(entry) for entry in RECORD]


def told(nodes: list[Node]) -> list[tuple[bytes, str, str, str]]:
    return [(it.path, it.kind, it.expected, it.actual) for it in join(RECORD, nodes).differences]


def replaced(**more: object) -> list[Node]:
    """The run as locked but for the entry at `path`."""
    return [it._replace(**more) if it.path == more["path"] else it for it in AS_LOCKED]


# -- names and types --


def test_nothing_changed() -> None:
    joined = join(RECORD, AS_LOCKED)
    assert not joined.differences
    assert joined.pairs == list(zip(RECORD, AS_LOCKED, strict=True))


def test_deleted() -> None:
    assert told([it for it in AS_LOCKED if it.path != b"f"]) == [(b"f", "deleted", "file, 3 bytes", "")]
    assert told([it for it in AS_LOCKED if it.path != b"d"]) == [(b"d", "deleted", "directory", "")]
    assert told([it for it in AS_LOCKED if it.path != b"l"]) == [(b"l", "deleted", "symlink to old", "")]


def test_added() -> None:
    new = node(a_file(b"new", size=9))
    assert told([*AS_LOCKED, new]) == [(b"new", "added", "", "file, 9 bytes")]


def test_renamed_is_both() -> None:
    renamed = [it._replace(path=b"g") if it.path == b"f" else it for it in AS_LOCKED]
    assert [it[:2] for it in told(renamed)] == [(b"f", "deleted"), (b"g", "added")]


@pytest.mark.parametrize(("kind", "name"), [("d", "directory"), ("l", "symlink"), ("p", "FIFO"), ("s", "socket")])
def test_another_type(kind: str, name: str) -> None:
    assert told(replaced(path=b"f", kind=kind)) == [(b"f", "type", "file", name)]


def test_another_device_is_another_type() -> None:
    assert told(replaced(path=b"c", device=(1, 5)))[0][:2] == (b"c", "type")


def test_another_target() -> None:
    assert told(replaced(path=b"l", target=b"\xffnew")) == [(b"l", "target", "old", "\\xffnew")]


def test_differences_are_sorted_and_all_told() -> None:
    changed = [it for it in replaced(path=b"l", target=b"x") if it.path not in (b"c", b"f")]
    added = [node(a_file(name)) for name in (b"z", b"a", b"g")]
    assert [it[:2] for it in told([*added, *changed])] == [
        (b"a", "added"),
        (b"c", "deleted"),
        (b"f", "deleted"),
        (b"g", "added"),
        (b"l", "target"),
        (b"z", "added"),
    ]


names = st.sets(st.sampled_from([bytes([letter]) for letter in b"abcdefgh"]))


@given(names, names)
def test_every_name_is_a_pair_or_a_difference(before: set[bytes], after: set[bytes]) -> None:
    joined = join([a_file(name) for name in sorted(before)], [node(a_file(name)) for name in sorted(after)])
    assert {entry.path for entry, _ in joined.pairs} == before & after
    assert {(it.path, it.kind) for it in joined.differences} == {(name, "deleted") for name in before - after} | {
        (name, "added") for name in after - before
    }


# -- content --


def test_content_of_a_file_and_of_a_mutable_one() -> None:
    found = content_difference(a_file(b"f"), 4, "c" * 64)
    assert (found.kind, found.expected, found.actual) == (
        "modified",
        f"sha256:{S}, 3 bytes",
        f"sha256:{'c' * 64}, 4 bytes",
    )
    assert content_difference(a_file(b"f", mutable=True), 4, "").kind == "mutable"


def test_a_glance_sees_sizes_and_times_of_files() -> None:
    entry = a_file(b"f")
    assert not changed_at_a_glance(entry, node(entry))
    assert changed_at_a_glance(entry, node(entry, size=4))
    assert changed_at_a_glance(entry, node(entry, mtime_ns=8))
    assert not changed_at_a_glance(a_file(b"f", mutable=True), node(entry, size=4))
    assert not changed_at_a_glance(A_DIRECTORY, node(A_DIRECTORY, mtime_ns=8))


# -- drift --


def drifted(
    entry: Entry, xattrs: tuple[tuple[bytes, bytes], ...] = (), *, sealed: bool = True, **more: object
) -> list[str]:
    found = drift(entry, node(entry, **more), xattrs, sealed=sealed)
    assert all(it.path == entry.path for it in found)
    return [it.kind for it in found]


@pytest.mark.parametrize("entry", [a_file(b"f"), A_DIRECTORY, A_DEVICE, A_LINK])
def test_what_is_as_it_was_locked_has_not_drifted(entry: Entry) -> None:
    assert drifted(entry) == []


def test_a_write_bit_that_came_back_is_told_apart_from_other_modes() -> None:
    entry = a_file(b"f", mode=0o664)
    assert drifted(entry, mode=0o644) == ["writable"]
    assert drifted(entry, mode=0o666) == ["writable"]
    assert drifted(entry, mode=0o555) == ["mode"]
    assert drifted(entry, mode=0o440) == ["mode"]
    assert drifted(entry, mode=0o4444) == ["mode"]
    assert drifted(entry, mode=0o755) == ["mode"]
    (found,) = drift(entry, node(entry, mode=0o664), (), sealed=True)
    assert (found.expected, found.actual) == ("0444", "0664")


def test_of_an_unlocked_run_the_recorded_bits_are_expected() -> None:
    entry = a_file(b"f", mode=0o664)
    assert drifted(entry, mode=0o664, sealed=False) == []
    assert drifted(entry, mode=0o444, sealed=False) == ["mode"]


def test_times() -> None:
    for entry in (a_file(b"f"), A_DIRECTORY, A_LINK):
        assert drifted(entry, mtime_ns=8) == ["mtime"]


def test_of_mutable_files_only_extended_attributes_count() -> None:
    entry = a_file(b"f", mutable=True)
    assert drifted(entry, mode=0o600, mtime_ns=9) == []
    assert drifted(entry, ((b"user.x", b""),)) == ["xattr"]


def test_extended_attributes_are_told_by_name() -> None:
    entry = a_file(b"f", xattrs=((b"user.a", b"1"), (b"user.b", b"2")))
    found = drift(entry, node(entry), ((b"user.b", b"3"), (b"user.c", b"")), sealed=True)
    assert [(it.kind, it.expected, it.actual) for it in found] == [("xattr", "user.a, user.b", "user.b, user.c")]


def test_hard_links_that_were_taken_apart() -> None:
    entries = [a_file(name, hardlink=1) for name in (b"a", b"b", b"c")] + [a_file(b"d", hardlink=2), a_file(b"e")]
    whole = [(entry, node(entry, inode=entry.hardlink)) for entry in entries]
    assert links_drift(whole) == []
    broken = [(entry, it._replace(inode=9) if entry.path == b"b" else it) for entry, it in whole]
    assert [(it.path, it.kind, it.expected) for it in links_drift(broken)] == [(b"b", "links", "hard link of a")]


def test_a_directory_whose_entries_differ_is_not_told_for_its_time() -> None:
    differences = [Difference(b"d/new", "added", "", ""), Difference(b"top", "deleted", "", "")]
    warnings = [Difference(path, "mtime", "", "") for path in (b"", b"d", b"e")] + [Difference(b"d", "mode", "", "")]
    assert [(it.path, it.kind) for it in without_echoes(warnings, differences)] == [(b"e", "mtime"), (b"d", "mode")]


# -- ACLs --


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize("rules", ["u:65534:rw", "u:65534:rw,g:0:rwx", "u:65534:w,m::rwx", "u:65534:r,o::rw"])
def test_an_acl_is_sealed_as_chmod_seals_it(tmp_path: Path, rules: str) -> None:
    path = tmp_path / "f"
    path.touch(0o664)
    subprocess.run(["setfacl", "-m", rules, path], check=True)
    before = os.getxattr(path, ACL)
    path.chmod(path.stat().st_mode & 0o7555)
    assert sealed_xattrs(((ACL, before),)) == ((ACL, os.getxattr(path, ACL)),)


def test_without_a_mask_the_groups_bits_are_taken() -> None:
    before = acl((0x01, 6, 0), (0x04, 6, 0), (0x20, 2, 0))
    assert sealed_xattrs(((ACL, before),)) == ((ACL, acl((0x01, 4, 0), (0x04, 4, 0), (0x20, 0, 0))),)


@pytest.mark.parametrize("damaged", [b"", b"\2", b"\2\0\0\0\1", acl((1, 6, 0))[:-1]])
def test_an_acl_that_is_none_is_left_alone(damaged: bytes) -> None:
    assert sealed_xattrs(((ACL, damaged), (b"user.x", damaged))) == ((ACL, damaged), (b"user.x", damaged))


def test_default_acls_stay() -> None:
    default = ((b"system.posix_acl_default", acl((0x01, 7, 0), (0x04, 7, 0), (0x20, 7, 0))),)
    assert sealed_xattrs(default) == default


# -- litter --

LITTER = [
    b".ipynb_checkpoints/a.ipynb",
    b"sub/.~x.ipynb",
    b".x.swp",
    b"a~",
    b"#a#",
    b".#a",
    b"__pycache__/m.pyc",
    b".DS_Store",
]
LITTER += [b"Thumbs.db", b".nfs0000000001", b".tmp-gitrun-0123", b".vscode/settings.json"]


@pytest.mark.parametrize("path", LITTER)
def test_litter_is_known_by_its_name(path: bytes) -> None:
    assert litter(path).startswith(("left by", "a file that an NFS client"))
    (found,) = join([], [node(a_file(path))]).differences
    assert found.note == litter(path)


@pytest.mark.parametrize("path", [b"metrics.json", b"a.swp", b"~a", b"nfs1", b"pycache", b".git", b"\xff"])
def test_anything_else_is_not(path: bytes) -> None:
    assert litter(path) == ""
