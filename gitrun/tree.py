"""Builds git trees from a flat list of paths, in memory and pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from gitrun.entry import FILE, SYMLINK
from gitrun.pack import TREE, object_id
from gitrun.pointer import resembles_pointer

FILE_MODE, EXECUTABLE_MODE, SYMLINK_MODE, TREE_MODE = b"100644", b"100755", b"120000", b"40000"


class Leaf(NamedTuple):
    """A blob and its place in the tree."""

    path: bytes
    mode: bytes
    oid: bytes


class Tree(NamedTuple):
    """A tree object."""

    oid: bytes
    data: bytes


def is_in_tree(kind: str, target: bytes) -> bool:
    """Whether the git tree holds an entry: files and symlinks, and not what git has no word for.

    A symlink to the text of a git-lfs pointer is left to the lock file alone: `git lfs fsck` takes its blob for a
    pointer to an object that is missing.
    """
    return kind == FILE or (kind == SYMLINK and not resembles_pointer(target))


def build_trees(leaves: Iterable[Leaf]) -> list[Tree]:
    """All tree objects of the directory that `leaves` make, children before parents, the root last.

    Directories exist only where a leaf lies below: git knows no empty ones.
    """
    directories: defaultdict[bytes, list[tuple[bytes, bytes, bytes]]] = defaultdict(list)
    for path, mode, oid in leaves:
        parent, _, name = path.rpartition(b"/")
        directories[parent].append((name, mode, oid))
    _add_parents(directories)
    directories.setdefault(b"", [])
    trees: list[Tree] = []
    for path in sorted(directories, key=_depth, reverse=True):
        data = _encode(directories[path])
        tree = Tree(object_id(TREE, data), data)
        trees.append(tree)
        if path:
            parent, _, name = path.rpartition(b"/")
            directories[parent].append((name, TREE_MODE, tree.oid))
    return trees


def _add_parents(directories: defaultdict[bytes, list[tuple[bytes, bytes, bytes]]]) -> None:
    for path in list(directories):
        parent = path
        while parent:
            parent = parent.rpartition(b"/")[0]
            if parent in directories:
                break
            directories[parent] = []


def _depth(path: bytes) -> int:
    return path.count(b"/") + 1 if path else 0


def _encode(entries: list[tuple[bytes, bytes, bytes]]) -> bytes:
    # git sorts a directory as if its name ended in a slash.
    entries.sort(key=lambda entry: entry[0] + b"/" if entry[1] == TREE_MODE else entry[0])
    return b"".join([b"%b %b\0%b" % (mode, name, oid) for name, mode, oid in entries])
