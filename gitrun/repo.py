"""The run repository: the only module that knows pygit2.

Packs that gitrun wrote are read by packread, everything else by libgit2, which is loaded when it is needed.  It never
sees a run, an index, a filter, or the repository's configuration beyond the format version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Self

from gitrun.entry import LOCK_FILE
from gitrun.errors import ObjectCorrupt, ObjectMissing, RecordError, Refused, TagMismatch
from gitrun.fsio import TEMPORARY, make_directories, remove_tree, sync_directory, sync_tree, write_file
from gitrun.packread import packed_ids, read_packed
from gitrun.refs import delete_ref, read_ref, read_refs, write_ref
from gitrun.settings import Identity
from gitrun.store import Place, RunRecord, object_path, read_record, repository_path
from gitrun.tree import TREE_MODE

if TYPE_CHECKING:
    import pygit2

MAIN = "refs/heads/main"
LOCKED = "refs/tags/locked"
ARCHIVE = "refs/gitrun/locks/"
DIGEST_TRAILER = "Lock-File-Sha256"

CONFIG = b"""\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[gc]
\tauto = 0
"""
_DIRECTORIES = (b"gitrun", b"info", b"lfs/objects", b"objects/info", b"objects/pack", b"refs/heads", b"refs/tags")
RUN_ID_TRAILER, ORIGIN_TRAILER = "Gitrun-Run-Id", "Gitrun-Origin"
_TAG = re.compile(
    rb"object ([0-9a-f]{40})\ntype commit\ntag ([^\n]+)\ntagger ([^\n]*?) (-?\d+) ([+-]\d{4})\n\n(.*)", re.DOTALL
)
_RUN_ID = re.compile(rf"^{RUN_ID_TRAILER}: ([^\n]+)$", re.MULTILINE)
_DIGEST = re.compile(rb"^Lock-File-Sha256: ([0-9a-f]{64})$", re.MULTILINE)


class Tag(NamedTuple):
    """A lock, as its annotated tag tells it."""

    oid: str
    commit: str
    name: str
    tagger: str
    when: int
    """Seconds since the epoch."""
    digest: str
    """SHA-256 of the lock file."""


class Commit(NamedTuple):
    """A lock's commit."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: str
    when: int
    message: str

    @property
    def run_id(self) -> str:
        """The id of the run that it is a lock of; empty where the message does not tell."""
        told = _RUN_ID.findall(self.message)
        return told[-1] if told else ""


def create(place: Place, fill: Callable[[bytes], None] | None = None) -> None:
    """Makes the repository of a place: complete and synced under a temporary name, then renamed.

    `fill` is given the path while it still is temporary, to put something in.
    """
    assert place.repository is not None
    make_directories(place.store)
    # The same name each time: what a killed lock left there, the next lock of this run removes.
    building = os.path.join(place.store, TEMPORARY + sha256(place.run).hexdigest()[:16].encode())
    remove_tree(building)
    try:
        for name in _DIRECTORIES:
            os.makedirs(os.path.join(building, name))
        write_file(os.path.join(building, b"HEAD"), b"ref: refs/heads/main\n", sync=False)
        write_file(os.path.join(building, b"config"), CONFIG, sync=False)
        write_record(building, place.record(), sync=False)
        if fill is not None:
            fill(building)
        sync_tree(building)
        os.rename(building, place.repository)
    except BaseException:
        remove_tree(building)
        raise
    sync_directory(place.store)


def write_record(repository: bytes, record: RunRecord, *, sync: bool = True) -> None:
    """Writes which run the repository is of."""
    write_file(os.path.join(repository, b"gitrun", b"run"), record.encode(), sync=sync)


def follow_name(place: Place) -> Place:
    """Names the repository after its run, should that have been renamed since; the place with the repository's path."""
    assert place.repository is not None
    named = repository_path(place.store, place.name)
    if place.repository != named and not os.path.lexists(named):
        os.rename(place.repository, named)
        sync_directory(place.store)
        place = replace(place, repository=named)
    repository = place.repository or named
    if place.exists and read_record(repository) != place.record():
        write_record(repository, place.record())
    return place


def check_owner(place: Place) -> None:
    """Raises Refused when the repository belongs to somebody whose record we have no reason to trust."""
    if place.repository is None:
        return
    owner = os.stat(place.repository).st_uid
    trusted = {os.geteuid(), 0}
    with suppress(OSError):
        trusted.add(os.stat(place.run).st_uid)
    if owner not in trusted and os.geteuid() != 0:
        raise Refused(
            f"the run repository belongs to another user (uid {owner})",
            path=place.repository,
            hint="run gitrun as that user, or lock into a store of your own with GITRUN_STORE",
        )


class RunRepo:
    """A run repository; use it in a `with` block, from one thread."""

    def __init__(self, path: bytes) -> None:
        """Raises RecordError when there is no repository."""
        self.path = path
        self._git: pygit2.Repository | None = None
        if not os.path.isdir(os.path.join(path, b"objects")):
            raise RecordError("the run repository is not whole: it has no objects", path=path, hint="gitrun fsck")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._git is not None:
            self._git.free()
            self._git = None

    def _libgit2(self) -> pygit2.Repository:
        """The repository by libgit2, which takes 50 ms to load: for what packread does not know."""
        if self._git is None:
            if os.path.lexists(os.path.join(self.path, b"commondir")):
                raise RecordError(
                    "the run repository borrows from another one", path=self.path, hint="gitrun fsck --repair"
                )
            import pygit2
            from pygit2.enums import RepositoryOpenFlag

            # gitrun checks by itself who owns a repository (check_owner); libgit2's check knows no root and no group.
            pygit2.settings.owner_validation = False
            try:
                flags = RepositoryOpenFlag.BARE | RepositoryOpenFlag.NO_SEARCH
                self._git = pygit2.Repository(os.fsdecode(self.path), flags)
            except (pygit2.GitError, KeyError) as error:
                message = f"the run repository cannot be opened: {error}"
                raise RecordError(message, path=self.path, hint="gitrun fsck") from error
        return self._git

    # -- objects --

    def read(self, oid: str, kind: str) -> bytes:
        """The content of an object of that kind (`blob`, `tree`, `commit`, `tag`), checked against its id.

        Raises ObjectMissing or ObjectCorrupt.
        """
        quick = None if self._git is not None else read_packed(self.path, bytes.fromhex(oid))
        found, data = quick or self._read_by_libgit2(oid, kind)
        if found != _KINDS[kind]:
            raise self._corrupt(oid, kind, "it is another kind of object")
        return data

    def _read_by_libgit2(self, oid: str, kind: str) -> tuple[int, bytes]:
        git = self._libgit2()
        from pygit2 import GitError

        try:
            found, data = git.read(oid)
        except KeyError as error:
            raise ObjectMissing(f"git {kind} {oid} is missing", path=self.path, hint="gitrun fsck --repair") from error
        except (GitError, ValueError, MemoryError) as error:
            raise self._corrupt(oid, kind, str(error)) from error
        return int(found), bytes(data)

    def _corrupt(self, oid: str, kind: str, why: str) -> ObjectCorrupt:
        return ObjectCorrupt(f"git {kind} {oid} is corrupt: {why}", path=self.path, hint="gitrun fsck --repair")

    def object_ids(self) -> frozenset[bytes]:
        """The ids of all objects, 20 bytes each."""
        return frozenset(oid.raw for oid in self._libgit2().odb)

    def packed_ids(self) -> frozenset[bytes]:
        """The ids of the objects that lie in packs, 20 bytes each: cheap, and all that earlier locks wrote."""
        return frozenset(packed_ids(self.path))

    def has(self, oid: str) -> bool:
        """Whether the object is there, whole or not."""
        return oid in self._libgit2()

    def commit(self, oid: str) -> Commit:
        """The commit `oid`."""
        return parse_commit(oid, self.read(oid, "commit"))

    def entries(self, tree: str) -> dict[bytes, tuple[bytes, str]]:
        """The entries of one tree: name to mode and id."""
        try:
            return dict(parse_tree(self.read(tree, "tree")))
        except ValueError as error:
            raise self._corrupt(tree, "tree", "its entries cannot be read") from error

    def lock_file(self, commit: str) -> bytes:
        """The lock file as it was committed."""
        entries = self.entries(self.commit(commit).tree)
        if LOCK_FILE not in entries:
            raise TagMismatch("the commit holds no lock file", path=self.path, hint="gitrun fsck")
        return self.read(entries[LOCK_FILE][1], "blob")

    def blobs(self, commit: str) -> dict[bytes, str]:
        """Every file of a commit: its path in the tree and its blob."""
        found: dict[bytes, str] = {}
        pending = [(b"", self.commit(commit).tree)]
        while pending:
            prefix, tree = pending.pop()
            for name, (mode, oid) in self.entries(tree).items():
                if mode == TREE_MODE:
                    pending.append((prefix + name + b"/", oid))
                else:
                    found[prefix + name] = oid
        return found

    # -- refs --

    def ref(self, name: str) -> str | None:
        """The object that a ref points at; None where there is no such ref.  Raises RecordError for a damaged one."""
        return read_ref(self.path, name)

    def refs(self) -> dict[str, str]:
        """All refs."""
        return read_refs(self.path)

    def set_ref(self, name: str, oid: str) -> None:
        """Points a ref at an object, synced."""
        write_ref(self.path, name, oid)

    def delete_ref(self, name: str) -> None:
        """Removes a ref, packed or loose, synced; nothing there is fine."""
        delete_ref(self.path, name)

    def tag(self, name: str = LOCKED) -> Tag | None:
        """The lock that a tag ref points at; None where there is no such ref.

        Raises TagMismatch when it is not an annotated tag of gitrun's.
        """
        oid = self.ref(name)
        return self.tag_object(oid) if oid else None

    def tag_object(self, oid: str) -> Tag:
        """The lock that a tag object tells."""
        tag = parse_tag(oid, self.read(oid, "tag"))
        if tag is None:
            raise TagMismatch(f"the tag object {oid} is none of gitrun's", path=self.path, hint="gitrun fsck")
        return tag

    def archived(self) -> list[tuple[int, str]]:
        """Number and tag object of the locks that were unlocked since, oldest first."""
        numbered = ((name.removeprefix(ARCHIVE), oid) for name, oid in read_refs(self.path, ARCHIVE).items())
        return sorted((int(number), oid) for number, oid in numbered if number.isdecimal())

    def history(self, start: str | None = None) -> Iterator[Commit]:
        """The run's locks, newest first, along first parents; `start` defaults to the branch."""
        oid = start or self.ref(MAIN)
        while oid:
            commit = self.commit(oid)
            yield commit
            oid = commit.parents[0] if commit.parents else None

    # -- large files --

    def object_path(self, oid: str) -> bytes:
        """Where an LFS object of this repository lies; nothing is touched."""
        return object_path(self.path, oid)


_KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


def parse_tag(oid: str, data: bytes) -> Tag | None:
    """The lock that the tag object `data` tells; None when it is none of gitrun's."""
    found = _TAG.fullmatch(data)
    digest = _DIGEST.search(found[6]) if found else None
    if not found or not digest:
        return None
    text = [part.decode("utf-8", "replace") for part in (found[1], found[2], found[3])]
    return Tag(oid, text[0], text[1], text[2], int(found[4]), digest[1].decode())


def parse_commit(oid: str, data: bytes) -> Commit:
    """The commit object `data`."""
    head, _, message = data.partition(b"\n\n")
    tree, parents, author, when = "", [], "", 0
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key == b"tree":
            tree = value.decode("ascii", "replace")
        elif key == b"parent":
            parents.append(value.decode("ascii", "replace"))
        elif key == b"author" and (found := re.fullmatch(rb"(.*) (-?\d+) [+-]\d{4}", value)):
            author, when = found[1].decode("utf-8", "replace"), int(found[2])
    return Commit(oid, tree, tuple(parents), author, when, message.decode("utf-8", "replace"))


def parse_tree(data: bytes) -> Iterator[tuple[bytes, tuple[bytes, str]]]:
    """Name, mode and id of each entry of the tree object `data`; raises ValueError when it is none."""
    at = 0
    while at < len(data):
        space, zero = data.index(b" ", at), data.index(b"\0", at)
        oid = data[zero + 1 : zero + 21]
        if len(oid) != 20:
            raise ValueError("a tree entry is cut short")
        yield data[space + 1 : zero], (data[at:space], oid.hex())
        at = zero + 21


def encode_commit(
    tree: str, parents: list[str], author: Identity, committer: Identity, when: int, message: str
) -> bytes:
    """A commit object."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {_signature(author, when)}", f"committer {_signature(committer, when)}", "", message]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def encode_tag(commit: str, tagger: Identity, when: int, message: str) -> bytes:
    """The annotated tag `locked` of a commit."""
    lines = [f"object {commit}", "type commit", "tag locked", f"tagger {_signature(tagger, when)}", "", message]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _signature(who: Identity, when: int) -> str:
    import time

    minutes = time.localtime(when).tm_gmtoff // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{who.name} <{who.email}> {when} {sign}{minutes // 60:02d}{minutes % 60:02d}"


def enclosing_work_tree_shows(run: bytes) -> bool:
    """Whether the run lies in the work tree of another repository that does not ignore it."""
    if not _has_git_above(run):
        return False
    import pygit2

    pygit2.settings.owner_validation = False
    found = pygit2.discover_repository(os.fsdecode(os.path.dirname(run)))
    if not found:
        return False
    try:
        repository = pygit2.Repository(found)
        work_tree = repository.workdir
        return work_tree is not None and not repository.path_is_ignored(os.path.relpath(os.fsdecode(run), work_tree))
    except (pygit2.GitError, ValueError):
        return True  # something is there that we cannot judge: better no link than a stray submodule


def _has_git_above(path: bytes) -> bool:
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        if os.path.lexists(os.path.join(path, b".git")):
            return True
    return False
