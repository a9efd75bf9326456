"""Where lost git objects can be had from: the lock file and the files of the run, and the repositories beside it.

Objects are named by their content, so whatever has the right id is the object.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from hashlib import sha256

from gitrun.attributes import gitattributes
from gitrun.entry import BLOB, FILE, LOCK_FILE, SYMLINK, Entry
from gitrun.fsio import Beneath, read_exactly
from gitrun.inspection import Inspection, Lock
from gitrun.objectfiles import GitObject
from gitrun.pack import BLOB as BLOB_OBJECT
from gitrun.pack import TAG, TREE, object_id
from gitrun.packread import read_packed
from gitrun.repo import DIGEST_TRAILER
from gitrun.store import Place, repositories
from gitrun.tree import FILE_MODE, Leaf, build_trees, is_in_tree
from gitrun.treecheck import GIT_ATTRIBUTES, derived_content, expected_mode

_COMMITTER = re.compile(rb"^committer ([^\n]+)$", re.MULTILINE)


class Salvage:
    """All that objects can be had from, beside the repository itself; use it in a `with` block."""

    def __init__(self, place: Place, found: Inspection) -> None:
        self._place, self._files = place, found.files
        self._made: dict[str, GitObject] = {}
        self._in_run: dict[str, Entry] = {}
        self._siblings: list[bytes] | None = None
        for lock in found.locks:
            if lock.record is not None:
                self._derive(lock, lock.record.entries)

    def read(self, oid: str) -> GitObject | None:
        """An object that is as its id says, from wherever it can be had."""
        return self._files.read(oid) or self._made.get(oid) or self._from_run(oid) or self._from_siblings(oid)

    # -- from the lock file, and the run --

    def _derive(self, lock: Lock, entries: Sequence[Entry]) -> None:
        """All objects of a lock that follow from its lock file, and its trees where every file below is known."""
        self._add(BLOB_OBJECT, lock.data)
        leaves = [Leaf(LOCK_FILE, FILE_MODE, self._add(BLOB_OBJECT, lock.data)), self._attributes(entries)]
        for entry in entries:
            oid = self._content_id(entry) if is_in_tree(entry.kind, entry.target) else b""
            if oid:
                leaves.append(Leaf(entry.tree_path or entry.path, expected_mode(entry), oid))
        for tree in build_trees(leaves):
            self._made[tree.oid.hex()] = GitObject(TREE, tree.data)
        self._add_tag(lock)

    def _add(self, kind: int, data: bytes) -> bytes:
        oid = object_id(kind, data)
        self._made[oid.hex()] = GitObject(kind, data)
        return oid

    def _attributes(self, entries: Iterable[Entry]) -> Leaf:
        files = [entry for entry in entries if entry.kind == FILE]
        large = [entry.tree_path or entry.path for entry in files if entry.storage != BLOB]
        small = [entry.tree_path or entry.path for entry in files if entry.storage == BLOB]
        return Leaf(GIT_ATTRIBUTES, FILE_MODE, self._add(BLOB_OBJECT, gitattributes(large, small)))

    def _content_id(self, entry: Entry) -> bytes:
        """The id of an entry's blob; of a small file only where the run still has its content."""
        if entry.kind == SYMLINK or entry.storage != BLOB:
            return self._add(BLOB_OBJECT, derived_content(entry))
        data = self._content(entry)
        if data is None:
            return b""
        oid = object_id(BLOB_OBJECT, data)
        self._in_run[oid.hex()] = entry
        return oid

    def _content(self, entry: Entry) -> bytes | None:
        """The content of a small file, if it still is what was locked."""
        if not self._place.exists:
            return None
        try:
            with Beneath(self._place.run) as beneath:
                fd = beneath.open(entry.path)
        except OSError:
            return None
        with open(fd, "rb", buffering=0):
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
                return None
            data = read_exactly(fd, entry.size + 1)
        return data if sha256(data).hexdigest() == entry.sha256 else None

    def _add_tag(self, lock: Lock) -> None:
        """The tag object of a lock: but for the digest, all of it follows from the commit."""
        commit = self._files.read(lock.commit)
        committer = _COMMITTER.search(commit.data) if commit else None
        if committer and lock.record:
            head = f"object {lock.commit}\ntype commit\ntag locked\ntagger ".encode()
            message = f"Locked run {lock.record.run_id}\n\n{DIGEST_TRAILER}: {sha256(lock.data).hexdigest()}\n"
            self._add(TAG, head + committer[1] + b"\n\n" + message.encode("utf-8", "surrogateescape"))

    def _from_run(self, oid: str) -> GitObject | None:
        entry = self._in_run.get(oid)
        data = self._content(entry) if entry else None
        whole = data is not None and object_id(BLOB_OBJECT, data).hex() == oid
        return GitObject(BLOB_OBJECT, data) if whole and data is not None else None

    # -- from other runs --

    def _from_siblings(self, oid: str) -> GitObject | None:
        if self._siblings is None:
            self._siblings = [it for it in repositories(self._place.store) if it != self._place.repository]
        for repository in self._siblings:
            found = _read_sibling(repository, oid)
            if found is not None:
                return found
        return None


def _read_sibling(repository: bytes, oid: str) -> GitObject | None:
    found = read_packed(repository, bytes.fromhex(oid))
    return GitObject(*found) if found else None
