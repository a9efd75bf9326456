"""Trees: the objects are the very ones that git makes of the same entries."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitrun.pack import BLOB, TREE, object_id
from gitrun.tree import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, Leaf, build_trees
from tests.support.judge import Judge

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
CONTENT = {b"file": FILE_MODE, b"program": EXECUTABLE_MODE, b"link": SYMLINK_MODE}


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path / "judge.git")


def leaf(path: bytes, content: bytes = b"file") -> Leaf:
    return Leaf(path, CONTENT[content], object_id(BLOB, content))


def as_git_has_it(judge: Judge, leaves: list[Leaf]) -> bytes:
    """The id of the tree that `git write-tree` makes of an index with these entries."""
    for content in CONTENT:
        judge.write("blob", content)
    lines = [b"%b %b\t%b\0" % (mode, oid.hex().encode(), path) for path, mode, oid in leaves]
    judge.run("read-tree", "--empty")
    judge.run("update-index", "-z", "--index-info", data=b"".join(lines))
    return judge.run("write-tree").strip()


ORDERS = {
    "a directory sorts as if it ended in a slash": [b"a-b", b"a/x", b"a.b", b"a0", b"ab"],
    "directory between its neighbours": [b"lib-x", b"lib/a", b"lib.c", b"lib0"],
    "nested": [b"a/b/c", b"a/b-c", b"a/b.c", b"a.b/c", b"a-b/c/d"],
    "bytes, not letters": [b"Z", b"z", b"\xff", b"\xc3\xa9", b"_", b"~"],
    "numbers": [b"10", b"9", b"1/0", b"1-0", b"01"],
    "controls": [b"a\nb", b"a\tb", b" ", b"\x01"],
    "deep": [b"/".join([b"d"] * 60) + b"/x"],
}


@pytest.mark.parametrize("paths", ORDERS.values(), ids=ORDERS)
def test_the_order_is_gits(judge: Judge, paths: list[bytes]) -> None:
    leaves = [leaf(path) for path in paths]
    assert build_trees(leaves)[-1].oid.hex().encode() == as_git_has_it(judge, leaves)


def test_modes_are_gits(judge: Judge) -> None:
    leaves = [leaf(b"sub/" + content, content) for content in CONTENT]
    assert build_trees(leaves)[-1].oid.hex().encode() == as_git_has_it(judge, leaves)


components = st.binary(min_size=1, max_size=3).map(lambda name: b"n" + name.translate(None, b"/\0"))


@given(st.lists(st.lists(components, min_size=1, max_size=4).map(b"/".join), unique=True, max_size=12), st.randoms())
@settings(max_examples=40, deadline=None)
def test_any_leaves_in_any_order_make_gits_tree(tmp_path_factory: pytest.TempPathFactory, paths, random) -> None:  # type: ignore[no-untyped-def]
    files = {path for path in paths if not any(other.startswith(path + b"/") for other in paths)}
    leaves = [leaf(path, random.choice(list(CONTENT))) for path in sorted(files)]
    random.shuffle(leaves)
    judge = Judge(tmp_path_factory.mktemp("judge") / "git")
    assert build_trees(leaves)[-1].oid.hex().encode() == as_git_has_it(judge, leaves)


def test_git_finds_nothing_to_object_to(judge: Judge) -> None:
    trees = build_trees([leaf(b"%d/%b" % (n, path)) for n, paths in enumerate(ORDERS.values()) for path in paths])
    judge.write("blob", b"file")
    for tree in trees:
        judge.write("tree", tree.data)
    assert b"error" not in judge.run("fsck", "--strict", "--no-dangling", trees[-1].oid.hex())


def test_children_come_before_their_parents_and_the_root_last() -> None:
    trees = build_trees([leaf(b"a/b/c"), leaf(b"a/d/e"), leaf(b"f")])
    seen: set[bytes] = set()
    for tree in trees:
        assert all(child in seen for child in subtrees(tree.data))
        seen.add(tree.oid)
    assert len(trees) == 4 and b"f\0" in trees[-1].data


def subtrees(data: bytes) -> list[bytes]:
    found = []
    while data:
        entry, _, rest = data.partition(b"\0")
        if entry.startswith(b"40000 "):
            found.append(rest[:20])
        data = rest[20:]
    return found


def test_ids_are_those_of_the_data() -> None:
    for tree in build_trees([leaf(b"a/b")]):
        assert tree.oid == object_id(TREE, tree.data)
        assert tree.oid == hashlib.sha1(b"tree %d\0" % len(tree.data) + tree.data).digest()


def test_nothing_makes_the_empty_tree() -> None:
    (root,) = build_trees([])
    assert (root.oid.hex(), root.data) == (EMPTY_TREE, b"")
