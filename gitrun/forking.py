"""Makes a fork: a run built out of a record, and a repository whose history goes on from the origin's.

The fork is built beside its place under a temporary name, then its repository is made, and the rename comes last.  What
a killed fork left, the next one to the same place removes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256

from gitrun import store
from gitrun.copying import reflink
from gitrun.entry import DIRECTORY, FILE, LFS, ROOT, SYMLINK, Entry
from gitrun.errors import SystemFailed
from gitrun.fsio import (
    TEMPORARY,
    Beneath,
    make_directories,
    opened,
    remove_file,
    remove_sealed_tree,
    remove_tree,
    sync_directory,
    write_all,
    write_file,
)
from gitrun.lockfile import LockFile
from gitrun.owner import give_to_owner, owner_to_be
from gitrun.publish import link_or_copy
from gitrun.rebuild import Rebuilder, close_root
from gitrun.refs import read_refs, write_ref
from gitrun.repo import MAIN, RunRepo, create
from gitrun.store import Place, object_path, read_record, repository_path, with_repository

_MARK = b"forking"
"""A file in a repository whose run is not in its place yet."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Forking:
    """One fork; `run` does it, and puts everything back when it fails."""

    def __init__(
        self,
        origin: Place,
        commit: str,
        record: LockFile,
        fork: Place,
        *,
        forgotten: frozenset[bytes],
        fresh: Mapping[bytes, bytes],
        advance: Callable[[int], None],
    ) -> None:
        assert origin.repository is not None
        self._origin, self._repository, self._commit, self._fork = origin, origin.repository, commit, fork
        directories = {entry.path for entry in record.entries if entry.kind == DIRECTORY}
        fresh = {path: data for path, data in fresh.items() if os.path.dirname(path) in directories}
        left = forgotten | fresh.keys()
        self.entries = [entry for entry in record.entries if entry.path not in left and not entry.created]
        self._fresh, self._advance = fresh, advance
        name = TEMPORARY + b"fork-" + sha256(fork.run).hexdigest()[:16].encode()
        self._building = os.path.join(os.path.dirname(fork.run), name)

    def run(self) -> Place:
        """The new run's place; nothing of it is there after a failure.  Raises RecordError, SystemFailed, OSError."""
        remove_sealed_tree(self._building)
        _remove_unfinished(self._fork)
        place: Place | None = None
        try:
            self._build()
            place = with_repository(self._fork)
            create(place, self._fill)
            os.rename(self._building, place.run)
        except BaseException:  # ^C too
            with suppress(OSError):
                remove_sealed_tree(self._building)
                if place is not None and place.repository is not None:
                    remove_tree(place.repository)
                    store.prune(place.store)
            raise
        sync_directory(os.path.dirname(place.run))
        remove_file(place.own(_MARK))
        give_to_owner(place)
        return place

    # -- the run --

    def _build(self) -> None:
        os.mkdir(self._building, 0o700)
        self._check_space()
        owner = owner_to_be(self._origin)
        if owner is not None:
            os.chown(self._building, *owner)
        source = self._origin.run if self._origin.exists else None
        with (
            RunRepo(self._repository) as stored,
            Rebuilder(
                self._building, stored, self._commit, sealed=False, owner=owner, advance=self._advance, source=source
            ) as builder,
        ):
            for entry in self.entries:
                if entry.path != ROOT:
                    builder.put(entry)
            self._write_fresh(owner)
            directories = [entry for entry in self.entries if entry.kind == DIRECTORY and entry.path != ROOT]
            builder.close_directories(directories, frozenset())
        close_root(self._building, self.entries[0], sealed=False, keep_time=False)

    def _write_fresh(self, owner: tuple[int, int] | None) -> None:
        with Beneath(self._building) as beneath:
            for path, data in self._fresh.items():
                fd = beneath.open(path, _NEW_FILE, 0o644)
                try:
                    write_all(fd, data)
                    if owner is not None:
                        os.fchown(fd, *owner)
                finally:
                    os.close(fd)

    def _check_space(self) -> None:
        disk = os.statvfs(self._building)
        available = disk.f_bavail * disk.f_frsize
        needed = sum(entry.size for entry in self.entries if entry.kind == FILE)
        if needed > available and not self._shares_blocks():
            raise SystemFailed(
                f"not enough space for the fork: {needed} bytes needed, {available} available",
                path=self._fork.run,
                hint="free some space, or fork to another disk",
            )

    def _shares_blocks(self) -> bool:
        """Whether the file system makes reflinks from the store to the fork."""
        large = [entry.sha256 for entry in self.entries if entry.storage == LFS]
        probe = os.path.join(self._building, b"probe")
        try:
            with opened(object_path(self._repository, large[0])) as source, opened(probe, _NEW_FILE) as target:
                return reflink(source, target)
        except (OSError, IndexError):
            return False
        finally:
            remove_file(probe)

    # -- the repository --

    def _fill(self, repository: bytes) -> None:
        """Gives the new repository all objects of the origin's, as further names of the same files, and its history."""
        for relative in _objects(self._repository):
            target = os.path.join(repository, relative)
            make_directories(os.path.dirname(target))
            link_or_copy(os.path.join(self._repository, relative), target)
        write_ref(repository, MAIN, self._commit)
        write_file(os.path.join(repository, b"gitrun", _MARK), b"", sync=False)


def _objects(repository: bytes) -> Iterator[bytes]:
    """The paths, in a repository, of all git objects and LFS objects."""
    for top in (b"objects", b"lfs/objects"):
        for directory, _, names in os.walk(os.path.join(repository, top)):
            for name in names:
                path = os.path.join(directory, name)
                if not name.startswith(TEMPORARY) and os.path.relpath(directory, repository) != b"objects/info":
                    yield os.path.relpath(path, repository)


def _remove_unfinished(fork: Place) -> None:
    """Removes the repository of a fork to the same place that was killed before its run was there."""
    repository = repository_path(fork.store, fork.name)
    known = read_record(repository)
    if known is None or not os.path.lexists(os.path.join(repository, b"gitrun", _MARK)):
        return
    meant = os.path.normpath(os.path.join(fork.store, known.path))
    has_locks = any(name.startswith(("refs/tags/", "refs/gitrun/")) for name in read_refs(repository))
    if meant == fork.run and not has_locks:
        remove_tree(repository)


def targets(record: LockFile) -> dict[bytes, bytes]:
    """Every path of a record, and where it leads if it is a symlink."""
    return {entry.path: _target(entry) for entry in record.entries}


def _target(entry: Entry) -> bytes:
    return entry.target if entry.kind == SYMLINK else b""
