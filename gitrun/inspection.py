"""Looks at all that a run repository stores: every object in every copy, every ref, every lock against its lock file.

Faults are collected, never stopped at.  Nothing here writes; `mend` works from what is found here.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from gitrun.entry import LFS, LOCK_FILE, NOT_STORED
from gitrun.errors import RecordError
from gitrun.fsio import read_file
from gitrun.lockfile import MAX_BYTES, LockFile
from gitrun.objectfiles import KINDS, Container, ObjectFiles, Pack
from gitrun.pack import BLOB as BLOB_OBJECT
from gitrun.pack import COMMIT, TAG, TREE
from gitrun.progress import Progress
from gitrun.reffiles import Refs, read_refs
from gitrun.repo import ARCHIVE, DIGEST_TRAILER, LOCKED, MAIN, Commit, Tag, parse_commit, parse_tag, parse_tree
from gitrun.results.fsck import Finding
from gitrun.store import Place
from gitrun.surroundings import REPLACEMENTS, look_around
from gitrun.tree import TREE_MODE
from gitrun.treecheck import Files, compare_tree


class Lock(NamedTuple):
    """One lock of the history, as far as it can be read."""

    commit: str
    digest: str
    """SHA-256 of its lock file, as its tag or its commit has it; empty where neither can be read."""
    record: LockFile | None
    data: bytes
    tree: str


@dataclass(slots=True)
class Large:
    """An LFS object that locks of this run list."""

    size: int
    paths: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Inspection:
    """What was found."""

    files: ObjectFiles
    refs: Refs
    findings: list[Finding] = field(default_factory=list)
    around: list[Finding] = field(default_factory=list)
    """Those findings that are of neither objects nor refs: configuration and the like."""
    notes: list[str] = field(default_factory=list)
    checked_objects: int = 0
    checked_bytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """The objects of which there is a good copy."""
    tags: dict[str, Tag] = field(default_factory=dict)
    """All tag objects of gitrun's, whether a ref leads to them or not."""
    damaged: list[Container] = field(default_factory=list)
    """Files that hold a damaged copy, or are damaged as a whole."""
    locks: list[Lock] = field(default_factory=list)
    large: dict[str, Large] = field(default_factory=dict)


def inspect(place: Place, progress: Progress) -> Inspection:
    """Everything but the content of large files (largefiles.py); raises OSError when a directory cannot be listed."""
    assert place.repository is not None
    return _Inspector(place, progress).run()


class _Inspector:
    """One inspection under way."""

    def __init__(self, place: Place, progress: Progress) -> None:
        assert place.repository is not None
        self._place, self._repository, self._progress = place, place.repository, progress
        self._found = Inspection(ObjectFiles(place.repository), read_refs(place.repository))
        self._digests: dict[str, tuple[str, int]] = {}
        self._bad_copies: list[tuple[str, Container]] = []
        self._wanted: dict[str, str] = {}
        """Objects that something refers to and that cannot be read, with the kind that they should be of."""
        self._paths: defaultdict[str, set[bytes]] = defaultdict(set)

    def run(self) -> Inspection:
        found = self._found
        found.around, found.notes = look_around(self._repository)
        self._check_objects()
        self._check_refs()
        for commit, tags in self._commits().items():
            self._check_lock(commit, tags)
        found.findings = [*found.around, *found.findings, *self._object_findings()]
        return found

    def _say(self, kind: str, thing: str, message: str, paths: Iterable[bytes] = ()) -> None:
        self._found.findings.append(Finding(kind, thing, message, tuple(sorted(paths))))

    # -- objects --

    def _check_objects(self) -> None:
        found = self._found
        self._progress.stage("checking objects", len(found.files.copies), "objects")
        for container in found.files.containers:
            before = len(self._bad_copies)
            for oid in container.ids:
                self._check_object(oid, container)
            for fault in container.faults:
                self._say("corrupt", self._name(container), fault)
            if container.faults or len(self._bad_copies) > before:
                found.damaged.append(container)

    def _check_object(self, oid: str, container: Container) -> None:
        found = self._found
        good = container.read(oid)
        if good is None:
            self._bad_copies.append((oid, container))
            return
        found.checked_objects += 1
        found.checked_bytes += len(good.data)
        self._progress.advance(1)
        found.kinds[oid] = good.kind
        if good.kind == BLOB_OBJECT:
            self._digests[oid] = (sha256(good.data).hexdigest(), len(good.data))
        elif good.kind == TAG:
            tag = parse_tag(oid, good.data)
            if tag is not None:
                found.tags[oid] = tag

    def _name(self, container: Container) -> str:
        return os.fsdecode(os.path.relpath(container.path, self._repository))

    def _object_findings(self) -> Iterator[Finding]:
        """Objects that are damaged or missing, with the files of the run that they concern."""
        told = set()
        for oid, container in self._bad_copies:
            told.add(oid)
            elsewhere = "; another copy is good" if oid in self._found.kinds else ""
            where = self._name(container) if isinstance(container, Pack) else "a file of its own"
            kind = self._wanted.get(oid, "object")
            message = f"the {kind} is damaged in {where}{elsewhere}"
            yield Finding("corrupt", oid, message, tuple(sorted(self._paths[oid])))
        for oid, kind in self._wanted.items():
            if oid not in told:
                yield Finding("missing", oid, f"the {kind} is missing", tuple(sorted(self._paths[oid])))

    def _read(self, oid: str, kind: int) -> bytes | None:
        """The content of an object that something refers to; one that cannot be read is remembered as wanted."""
        if self._found.kinds.get(oid) == kind:
            good = self._found.files.read(oid)
            return good.data if good else None
        self._want(oid, kind)
        return None

    def _want(self, oid: str, kind: int) -> bool:
        """Remembers an object that cannot be read; whether there is a good one."""
        known = self._found.kinds.get(oid)
        if known == kind:
            return True
        if known is None:
            self._wanted.setdefault(oid, KINDS[kind])
        else:
            self._say("mismatch", oid, f"it is a {KINDS[known]} where a {KINDS[kind]} should be")
        return False

    # -- refs --

    def _check_refs(self) -> None:
        refs = self._found.refs
        for name, fault in refs.broken.items():
            self._say("corrupt", name, f"the ref is damaged: {fault}")
        if refs.head_fault:
            self._say("corrupt", "HEAD", refs.head_fault)
        if refs.packed_damaged:
            self._say("corrupt", "packed-refs", "it holds lines that are no refs")
        for name, oid in refs.good.items():
            if name.startswith(REPLACEMENTS):
                self._say("config", name, "it makes git take one object for another")
            elif oid not in self._found.kinds:
                self._wanted.setdefault(oid, "tag" if name == LOCKED or name.startswith(ARCHIVE) else "commit")
        self._check_missing_refs()

    def _check_missing_refs(self) -> None:
        refs = self._found.refs
        has_lock_file = self._place.exists and os.path.lexists(self._place.lock_file)
        if has_lock_file and not self._is_interrupted() and LOCKED not in refs.good and LOCKED not in refs.broken:
            self._say("missing", LOCKED, "the lock file stands but the tag is gone")
        if MAIN not in refs.good and MAIN not in refs.broken and any(True for _ in self._lock_tags()):
            self._say("missing", MAIN, "the branch is gone, and with it the history")

    def _is_interrupted(self) -> bool:
        return os.path.lexists(self._place.own(b"journal"))

    def _lock_tags(self) -> Iterator[tuple[str, str]]:
        """Name and tag object of the standing lock and of all earlier ones, the newest first."""
        good = self._found.refs.good
        numbered = [(name, oid) for name, oid in good.items() if name.startswith(ARCHIVE)]
        if LOCKED in good:
            yield LOCKED, good[LOCKED]
        yield from sorted(numbered, key=lambda pair: _number(pair[0]), reverse=True)

    # -- locks --

    def _commits(self) -> dict[str, list[tuple[str, Tag]]]:
        """The commits of all locks, newest first, each with the refs and tags that name it."""
        tagged: defaultdict[str, list[tuple[str, Tag]]] = defaultdict(list)
        for name, oid in self._lock_tags():
            tag = self._found.tags.get(oid)
            if tag is not None:
                tagged[tag.commit].append((name, tag))
            elif self._found.kinds.get(oid) is not None:
                self._say("mismatch", name, "it leads to something that is no tag of gitrun's")
        history = list(self._history())
        if MAIN in self._found.refs.good and not self._wanted:
            for commit, names in tagged.items():
                if commit not in history:
                    self._say("mismatch", names[0][0], "its lock is not part of the history of the branch main")
        self._check_newest(tagged)
        return {commit: tagged.get(commit, []) for commit in dict.fromkeys([*tagged, *history])}

    def _check_newest(self, tagged: dict[str, list[tuple[str, Tag]]]) -> None:
        main = self._found.refs.good.get(MAIN)
        locked = next((commit for commit, names in tagged.items() if names[0][0] == LOCKED), None)
        if main and locked and main != locked and not self._is_interrupted():
            self._say("mismatch", MAIN, f"the branch is not at the standing lock: {locked} expected, {main} seen")

    def _history(self) -> Iterator[str]:
        waiting = [oid for name, oid in self._found.refs.good.items() if name == MAIN]
        seen: set[str] = set()
        while waiting:
            oid = waiting.pop()
            if oid in seen:
                continue
            seen.add(oid)
            yield oid
            data = self._read(oid, COMMIT)
            if data is not None:
                waiting.extend(reversed(parse_commit(oid, data).parents))

    def _check_lock(self, oid: str, tags: list[tuple[str, Tag]]) -> None:
        data = self._read(oid, COMMIT)
        if data is None:
            return
        commit = parse_commit(oid, data)
        files, broken = self._flatten(commit.tree)
        digest = tags[0][1].digest if tags else _trailer(commit)
        stored = self._stored_lock_file(commit, files, broken)
        if stored is not None:
            self._check_digests(sha256(stored).hexdigest(), commit, tags)
        content = self._working_copy(digest) if stored is None else stored
        record = self._decode(oid, content) if content else None
        self._found.locks.append(Lock(oid, digest, record, content, commit.tree))
        if record is not None:
            self._check_run_id(record, tags)
            self._compare(oid, record, files, broken)
            self._list_large(record)
        self._name_paths(files, broken, record)

    def _stored_lock_file(self, commit: Commit, files: Files, broken: dict[bytes, str]) -> bytes | None:
        if LOCK_FILE in files:
            return self._read(files[LOCK_FILE][1], BLOB_OBJECT)
        if b"" not in broken:
            self._say("mismatch", commit.oid, "the commit holds no lock file", [LOCK_FILE])
        return None

    def _working_copy(self, digest: str) -> bytes:
        """The lock file in the run, where it is the one that `digest` names; else nothing."""
        data = read_file(self._place.lock_file, MAX_BYTES) if self._place.exists and digest else None
        return data if data is not None and sha256(data).hexdigest() == digest else b""

    def _decode(self, commit: str, data: bytes) -> LockFile | None:
        try:
            return LockFile.decode(data)
        except RecordError as error:
            self._say("corrupt", commit, f"its lock file cannot be read: {error.message}", [LOCK_FILE])
            return None

    def _check_digests(self, seen: str, commit: Commit, tags: list[tuple[str, Tag]]) -> None:
        for name, tag in tags:
            if tag.digest != seen:
                self._say("mismatch", name, f"the tag names another lock file: {tag.digest} expected, {seen} seen")
        trailer = _trailer(commit)
        if trailer and trailer != seen:
            self._say("mismatch", commit.oid, f"the commit names another lock file: {trailer} expected, {seen} seen")

    def _check_run_id(self, record: LockFile, tags: list[tuple[str, Tag]]) -> None:
        for name, _ in tags:
            if record.run_id != self._place.run_id:
                message = f"the lock is one of another run: {self._place.run_id} expected, {record.run_id} seen"
                self._say("mismatch", name, message)

    def _list_large(self, record: LockFile) -> None:
        if record.run_id != self._place.run_id:
            return  # a lock of the run that this one was forked from
        for entry in record.entries:
            if entry.storage == LFS and entry.size:
                self._found.large.setdefault(entry.sha256, Large(entry.size)).paths.add(entry.path)

    # -- a lock's tree --

    def _flatten(self, tree: str) -> tuple[Files, dict[bytes, str]]:
        """Mode and id of all files by path, and the directories that cannot be read."""
        files: Files = {}
        broken: dict[bytes, str] = {}
        waiting = [(b"", tree)]
        while waiting:
            prefix, oid = waiting.pop()
            data = self._read(oid, TREE)
            try:
                entries = dict(parse_tree(data)) if data is not None else None
            except ValueError:
                self._say("corrupt", oid, "the tree cannot be read")
                entries = None
            if entries is None:
                broken[prefix] = oid
                continue
            for name, (mode, child) in entries.items():
                if mode == TREE_MODE:
                    waiting.append((prefix + name + b"/", child))
                else:
                    files[prefix + name] = (mode, child)
                    self._want(child, BLOB_OBJECT)
        return files, broken

    def _compare(self, commit: str, record: LockFile, files: Files, broken: dict[bytes, str]) -> None:
        for fault in compare_tree(record, files, broken, self._digests):
            self._say("mismatch", fault.oid or commit, fault.message, [fault.path])

    def _name_paths(self, files: Files, broken: dict[bytes, str], record: LockFile | None) -> None:
        """Remembers which files of the run the damaged objects concern."""
        entries = record.entries if record else ()
        names = {entry.tree_path: entry.path for entry in entries if entry.tree_path}
        for path, (_, oid) in files.items():
            if oid in self._wanted:
                self._paths[oid].add(names.get(path, path))
        for prefix, oid in broken.items():
            below = (entry.path for entry in entries if (entry.tree_path or entry.path).startswith(prefix))
            self._paths[oid].update(path for path in below if path)


def not_stored(found: Inspection) -> int:
    """How many files of the newest lock were never stored (`lock --link none`)."""
    record = next((lock.record for lock in found.locks if lock.record is not None), None)
    return sum(entry.storage == NOT_STORED for entry in record.entries) if record else 0


def _number(name: str) -> int:
    text = name.removeprefix(ARCHIVE)
    return int(text) if text.isdecimal() else -1


def _trailer(commit: Commit) -> str:
    lines = [line for line in commit.message.splitlines() if line.startswith(DIGEST_TRAILER + ": ")]
    return lines[-1].partition(": ")[2] if lines else ""
