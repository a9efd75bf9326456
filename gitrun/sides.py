"""The two sides of a comparison: a lock, or a run as it stands on disk.  Each has entries, and gives their content."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple, Protocol

from gitrun.content import Digests, digest_nodes, is_as_recorded, sha256_of
from gitrun.copying import copy_hashing
from gitrun.entry import BLOB, FILE, NOT_STORED, Entry, full_path
from gitrun.errors import ObjectCorrupt, ObjectMissing, SystemFailed
from gitrun.fsio import Beneath, opened, read_exactly, write_all
from gitrun.history import record_at
from gitrun.lockfile import LockFile
from gitrun.progress import Progress
from gitrun.repo import RunRepo
from gitrun.standing import own_files_apart
from gitrun.store import Place
from gitrun.walk import Node, walk


class Side(Protocol):
    """One side of a comparison."""

    @property
    def name(self) -> str:
        """What it is: a commit id; empty for a run on disk."""

    @property
    def entries(self) -> Sequence[Entry]:
        """All entries, with the SHA-256 of every file."""

    def content(self, entry: Entry) -> bytes:
        """The content of a file, checked; raises ObjectMissing, ObjectCorrupt, OSError."""

    def save(self, entry: Entry, fd: int) -> None:
        """Writes the content of a file, however large, to the empty file `fd`; raises as `content` does."""


class LockSide:
    """A lock: what the store has of it."""

    def __init__(self, repo: RunRepo, commit: str) -> None:
        """Raises RecordError."""
        self.name = commit
        self.entries: Sequence[Entry] = record_at(repo, commit).entries
        self._repo = repo
        self._blobs: dict[bytes, str] | None = None

    def content(self, entry: Entry) -> bytes:
        """The stored content; raises ObjectMissing, ObjectCorrupt, OSError."""
        data = self._blob(entry) if entry.storage == BLOB else self._large(entry)
        if sha256(data).hexdigest() != entry.sha256:
            raise self._damaged(entry)
        return data

    def _blob(self, entry: Entry) -> bytes:
        if self._blobs is None:
            self._blobs = self._repo.blobs(self.name)
        oid = self._blobs.get(entry.tree_path or entry.path)
        if oid is None:
            raise ObjectMissing("the commit does not hold this file", path=entry.path, hint="gitrun fsck")
        return self._repo.read(oid, "blob")

    def _large(self, entry: Entry) -> bytes:
        with self._object(entry) as fd:
            return read_exactly(fd, entry.size)

    def save(self, entry: Entry, fd: int) -> None:
        """Writes the stored content; raises ObjectMissing, ObjectCorrupt, OSError."""
        if entry.storage == BLOB:
            write_all(fd, self.content(entry))
            return
        with self._object(entry) as source:
            if copy_hashing(source, fd).sha256 != entry.sha256:
                raise self._damaged(entry)

    @contextmanager
    def _object(self, entry: Entry) -> Iterator[int]:
        if entry.storage == NOT_STORED:
            raise ObjectMissing("its content was never stored (--link none)", path=entry.path)
        try:
            with opened(self._repo.object_path(entry.sha256)) as fd:
                yield fd
        except FileNotFoundError as error:
            raise ObjectMissing(
                f"its LFS object {entry.sha256} is missing", path=entry.path, hint="gitrun fsck --repair"
            ) from error

    def _damaged(self, entry: Entry) -> ObjectCorrupt:
        return ObjectCorrupt("the stored copy is damaged", path=entry.path, hint="gitrun fsck --repair")


class DiskSide:
    """A run as it stands on disk, every byte of it hashed."""

    name = ""

    def __init__(
        self, place: Place, record: LockFile, *, sealed: bool, mutable: frozenset[bytes], jobs: int, progress: Progress
    ) -> None:
        """`record` is the newest lock's: what is unchanged since has its digests.  Raises SystemFailed, ChangedWhileReading."""
        self._run = place.run
        nodes = own_files_apart(place, record, walk(place.run, failure=SystemFailed))
        digests = digest_nodes(place.run, [n for n in nodes if n.kind == FILE], jobs=jobs, progress=progress)
        known = {entry.path: entry for entry in record.entries}
        seen = _Seen(place.run, digests, sealed, mutable)
        self.entries: Sequence[Entry] = [seen.entry(node, known.get(node.path)) for node in nodes]

    def content(self, entry: Entry) -> bytes:
        """What is in the file now; raises OSError, and ObjectCorrupt where it changed since it was hashed."""
        with self._opened(entry) as fd:
            data = read_exactly(fd, entry.size)
        if sha256(data).hexdigest() != entry.sha256:
            raise self._changed(entry)
        return data

    def save(self, entry: Entry, fd: int) -> None:
        """Writes what is in the file now; raises OSError, and ObjectCorrupt where it changed since it was hashed."""
        with self._opened(entry) as source:
            if copy_hashing(source, fd).sha256 != entry.sha256:
                raise self._changed(entry)

    @contextmanager
    def _opened(self, entry: Entry) -> Iterator[int]:
        with Beneath(self._run) as beneath:
            fd = beneath.open(entry.path)
        try:
            yield fd
        finally:
            os.close(fd)

    def _changed(self, entry: Entry) -> ObjectCorrupt:
        path = full_path(self._run, entry.path)
        return ObjectCorrupt("the file changed while it was compared", path=path, hint="try again")


class _Seen(NamedTuple):
    """What makes an entry of a node on disk."""

    run: bytes
    digests: Digests
    sealed: bool
    mutable: frozenset[bytes]

    def entry(self, node: Node, known: Entry | None) -> Entry:
        """The entry that a lock would record now."""
        mode = known.mode if known and self.sealed and node.mode == known.sealed_mode else node.mode
        entry = Entry(node.path, node.kind, mode, node.size, node.mtime_ns, target=node.target, device=node.device)
        if node.kind != FILE:
            return entry
        is_mutable = known.mutable if known else node.path in self.mutable
        return entry._replace(sha256=self._sha256(node, known), mutable=is_mutable)

    def _sha256(self, node: Node, known: Entry | None) -> str:
        if known is not None and is_as_recorded(known, node.size, self.digests[node.path][0]):
            return known.sha256
        return sha256_of(self.run, node)
