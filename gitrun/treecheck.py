"""Compares the git tree of a lock with its lock file.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gitrun.entry import BLOB, FILE, LOCK_FILE, SYMLINK, Entry
from gitrun.lockfile import LockFile
from gitrun.pack import BLOB as BLOB_OBJECT
from gitrun.pack import object_id
from gitrun.pointer import Pointer
from gitrun.tree import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, is_in_tree

GIT_ATTRIBUTES = b".gitattributes"
Files = dict[bytes, tuple[bytes, str]]
"""Mode and object id of all files of a tree by path."""


class Fault(NamedTuple):
    """A file that is in one of the two, or not the same in both."""

    oid: str
    """The object in the tree; empty where there is none to blame."""
    message: str
    path: bytes


def compare_tree(
    record: LockFile, files: Files, broken: Iterable[bytes], digests: Mapping[str, tuple[str, int]]
) -> Iterator[Fault]:
    """Where a tree is not what the lock file lists.

    `broken` are the directories (with their slash) that could not be read, `digests` SHA-256 and size of all blobs.
    """
    unreadable = tuple(broken)
    remaining = dict(files)
    for entry in record.entries:
        if is_in_tree(entry.kind, entry.target):
            path = entry.tree_path or entry.path
            mode, oid = remaining.pop(path, (b"", ""))
            fault = _fault(entry, mode, oid, digests) if oid else ""
            if fault:
                yield Fault(oid, fault, entry.path)
            elif not oid and not path.startswith(unreadable):
                yield Fault("", "the lock file lists a file that is not in the tree", entry.path)
    for path in sorted(remaining.keys() - {LOCK_FILE, GIT_ATTRIBUTES}):
        yield Fault("", "the tree holds a file that the lock file does not list", path)
    if GIT_ATTRIBUTES not in files and b"" not in unreadable:
        yield Fault("", "the tree has no .gitattributes", GIT_ATTRIBUTES)


def _fault(entry: Entry, mode: bytes, oid: str, digests: Mapping[str, tuple[str, int]]) -> str:
    wanted = expected_mode(entry)
    if mode != wanted:
        seen = mode.decode("ascii", "replace")
        return f"its mode in the tree is not that of the lock file: {wanted.decode()} expected, {seen} seen"
    if entry.kind == FILE and entry.storage == BLOB:
        known = digests.get(oid)
        return "" if known in (None, (entry.sha256, entry.size)) else "the stored content is not what was locked"
    if object_id(BLOB_OBJECT, derived_content(entry)).hex() == oid:
        return ""
    return "the stored link leads elsewhere" if entry.kind == SYMLINK else "the pointer is not the one to its content"


def expected_mode(entry: Entry) -> bytes:
    """The mode in the tree of a file or symlink."""
    if entry.kind == SYMLINK:
        return SYMLINK_MODE
    return EXECUTABLE_MODE if entry.mode & 0o100 else FILE_MODE


def derived_content(entry: Entry) -> bytes:
    """The blob of a symlink, or of a file that is stored as a pointer."""
    return entry.target if entry.kind == SYMLINK else Pointer(entry.sha256, entry.size).encode()
