"""`.gitattributes`: git and git-lfs find exactly the large files, whatever they are called."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gitrun.attributes import gitattributes
from gitrun.pointer import Pointer
from gitrun.tree import Leaf, build_trees
from tests.support.judge import Judge

POINTER = Pointer("a" * 64, 2**21).encode()
LFS = b" filter=lfs diff=lfs merge=lfs -text\n"

LINES = {
    "plain": (b"out/model.bin", b"/out/model.bin"),
    "blank": (b"my model.bin", b'"/my model.bin"'),
    "blanks around": (b" a ", b'"/ a "'),
    "newline": (b"a\nb", rb'"/a\012b"'),
    "quote": (b'a"b', rb'"/a\"b"'),
    "backslash": (b"a\\b", rb"/a\\b"),
    "backslash and blank": (b"a \\b", rb'"/a \\\\b"'),
    "glob": (b"a*b?[c]", rb"/a\*b\?\[c]"),
    "not ASCII": ("é".encode(), rb'"/\303\251"'),
    "not UTF-8": (b"\xff", rb'"/\377"'),
    "comment": (b"#a", b"/#a"),
    "negation": (b"!a", b"/!a"),
    "macro": (b"[attr]a", rb"/\[attr]a"),
    "octal digits behind": (b"\x017", rb'"/\0017"'),
}


@pytest.mark.parametrize(("path", "pattern"), LINES.values(), ids=LINES)
def test_a_large_file_has_its_line(path: bytes, pattern: bytes) -> None:
    assert gitattributes([path]) == b"* -text\n" + pattern + LFS


def test_lines_are_sorted_and_small_files_have_none() -> None:
    printed = gitattributes([b"b", b"a/b", b"a!"], [b"c", b"a/d"])
    assert printed == b"* -text\n/a!" + LFS + b"/a/b" + LFS + b"/b" + LFS


def found_by_git(judge: Judge, paths: list[bytes]) -> set[bytes]:
    """Those of `paths` that git gives to git-lfs, by the attributes in the index."""
    asked = b"".join(path + b"\0" for path in paths)
    asked_for = ("filter", "diff", "merge", "text")
    fields = judge.run("check-attr", "--cached", "-z", "--stdin", *asked_for, data=asked).split(b"\0")
    triples = list(zip(fields[::3], fields[1::3], fields[2::3], strict=False))
    values = {path: [value for other, _, value in triples if other == path] for path in paths}
    assert all(value[3] == b"unset" for value in values.values())
    assert all(value[:3] in ([b"lfs"] * 3, [b"unspecified"] * 3) for value in values.values())
    return {path for path in paths if values[path][0] == b"lfs"}


def commit(judge: Judge, large: list[bytes], small: list[bytes]) -> None:
    """Makes HEAD and the index a tree with these files and their attributes."""
    contents = {b".gitattributes": gitattributes(large, small)}
    contents |= dict.fromkeys(large, POINTER) | dict.fromkeys(small, b"small")
    blobs = {data: bytes.fromhex(judge.write("blob", data).decode()) for data in contents.values()}
    trees = build_trees([Leaf(path, b"100644", blobs[data]) for path, data in contents.items()])
    root = [judge.write("tree", tree.data) for tree in trees][-1]
    oid = judge.write("commit", b"tree %b\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\n\n" % root)
    judge.run("update-ref", "HEAD", oid.decode())
    judge.run("read-tree", "HEAD")


def is_fine(judge: Judge) -> bool:
    """Whether neither git nor git-lfs has anything to say about HEAD."""
    assert judge.run("fsck", "--strict", "--no-dangling") == b""
    return judge.run("lfs", "fsck", "--pointers", "HEAD", codes=(0, 1)) == b"Git LFS fsck OK\n"


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path / "repository.git")


def test_git_and_git_lfs_find_the_large_files_and_no_others(judge: Judge) -> None:
    large = [b"d/" + path for path, _ in LINES.values()] + [path for path, _ in LINES.values()]
    small = [b"e/" + path for path in large] + [b"ab", b"aXb", b"axbxc", b"a1b", b"b", b"a/b", b"d/a/b", b"d/a\\"]
    commit(judge, large, small)
    assert found_by_git(judge, large + small) == set(large)
    assert is_fine(judge)


def test_a_small_file_called_like_a_large_one_at_the_top_is_taken_out(judge: Judge) -> None:
    large, small = [b"model.bin", b"2/model.bin"], [b"1/model.bin", b"1/other.bin"]
    printed = gitattributes(large, small)
    assert printed == b"* -text\n/2/model.bin" + LFS + b"/model.bin" + LFS + b"/1/model.bin !filter !diff !merge\n"
    commit(judge, large, small)
    assert found_by_git(judge, large + small) == set(large)
    assert is_fine(judge)


def deep(length: int, unit: bytes = b"d") -> bytes:
    """A path of `length` bytes, in components of 200."""
    return b"/".join([unit * 200] * 60)[: length - 2] + b"/x"


LONG = {
    "longest exact": (deep(2007), False),
    "a byte longer": (deep(2008), False),
    "beyond one line": (deep(2009), True),
    "quoted": (deep(600, b"\xff"), True),
    "beyond PATH_MAX": (deep(12000), True),
    "globs": (deep(1500, b"*"), True),
    "one long quoted name": (b"a/" + b"\xff" * 255, False),
    "all names long and quoted": (b"/".join([b"\xff" * 255] * 3), True),
}


@pytest.mark.parametrize(("path", "shortened"), LONG.values(), ids=LONG)
def test_long_paths_fit_into_a_line(judge: Judge, path: bytes, shortened: bool) -> None:
    name = path.rpartition(b"/")[2]
    small = [b"elsewhere/" + name, path[:-1] + b"y", path.partition(b"/")[0] + b"/y"]
    printed = gitattributes([path], small)
    assert all(len(line) < 2048 for line in printed.split(b"\n"))
    assert (b"/**/" in printed) == shortened
    commit(judge, [path], small)
    assert found_by_git(judge, [path, *small]) == {path}
    assert is_fine(judge)


def test_a_small_file_that_a_shortened_pattern_catches_is_taken_out(judge: Judge) -> None:
    large = b"\xff" * 100 + b"/" + b"\xff" * 255 + b"/" + b"\xff" * 255 + b"/x"
    small = [b"\xff" * 100 + b"/a/x", b"\xff" * 100 + b"/x"]
    commit(judge, [large], small)
    assert b"/**/x" in gitattributes([large])
    assert found_by_git(judge, [large, *small]) == {large}
    assert is_fine(judge)


PIECES = st.binary(min_size=1, max_size=2) | st.sampled_from([b"\n", b"\\", b"*", b"**", b"?", b"[", b"]", b" ", b'"'])
COMPONENTS = st.lists(PIECES).map(lambda pieces: b"".join(pieces).translate(None, b"\0/")[:80] or b"x")
PATHS = st.lists(COMPONENTS.filter(lambda name: not name.startswith(b".")), min_size=1, max_size=3).map(b"/".join)


def without_conflicts(paths: set[bytes]) -> list[bytes]:
    """`paths` without those that are directories of others."""
    return sorted(path for path in paths if not any(other.startswith(path + b"/") for other in paths))


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(st.sets(PATHS, min_size=2, max_size=60))
@example({b"a\\", b"a\\\\", b"a", b"\\a", b"\\\\a", b"[a", b"[a]", b"[!a]", b"a\n", b"a\r", b"a\t", b" a"})
def test_any_names(paths: set[bytes]) -> None:
    kept = without_conflicts(paths)
    large, small = kept[::2], kept[1::2]
    with tempfile.TemporaryDirectory() as directory:
        judge = Judge(Path(directory) / "repository.git")
        commit(judge, large, small)
        assert found_by_git(judge, kept) == set(large)
        assert is_fine(judge)
