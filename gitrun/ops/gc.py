"""gc: drop what nothing uses from a store - large files that no run links to, and what interrupted commands left.

No lock, past or present, loses anything, and no repository is removed: not even one whose run is gone.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gitrun import store
from gitrun.entry import LFS
from gitrun.errors import GitrunError, RunBusy, RunNotFound, system_failed
from gitrun.fsio import TEMPORARY, remove_tree
from gitrun.guard import guarded, pool_guarded
from gitrun.largefiles import BAD as LARGE_BAD
from gitrun.lockfile import LockFile
from gitrun.names import display
from gitrun.ops._context import RunArgument
from gitrun.recover import SPOOL
from gitrun.repo import RunRepo
from gitrun.results.gc import GcResult
from gitrun.settings import Settings, load
from gitrun.store import Place
from gitrun.surroundings import BAD

_HOUR = 3600.0
STALE_AFTER = _HOUR
"""Seconds after which an unfinished file in a place that no guard covers is nobody's any more."""
BAD_KEPT = 14 * 24 * _HOUR
"""Seconds for which damaged files that `fsck --repair` set aside are kept."""


def gc(store_or_dir: RunArgument, *, dry_run: bool = False, settings: Settings | None = None) -> GcResult:
    """Cleans one store: a store itself, the one in a directory, or the one of a run.

    `freed_bytes` counts a file once, when its last name goes.  What another gitrun works on is left alone and named in
    `notes`.  Raises RunNotFound where there is no store, SystemFailed when something cannot be removed.
    """
    path = _store_of(os.path.realpath(os.fsencode(store_or_dir)), settings or load())
    cleaning = _Cleaning(path)
    try:
        return cleaning.run(dry_run=dry_run)
    except OSError as error:
        raise system_failed(error, "clean the store") from error


def _store_of(path: bytes, settings: Settings) -> bytes:
    beside = os.path.join(path, store.STORE_NAME)
    if path == settings.store or os.path.basename(path) == store.STORE_NAME or store.repositories(path):
        found = path
    elif os.path.isdir(beside):
        found = beside
    else:
        found = store.locate(path, settings).store
    if not os.path.isdir(found):
        raise RunNotFound("there is no store here", path=path, hint="gitrun gc DIR cleans all stores below DIR")
    return found


@dataclass(slots=True)
class _Cleaning:
    """What is found to drop."""

    path: bytes
    removed: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    freed: int = 0
    busy: bool = False
    links_left: dict[tuple[int, int], int] = field(default_factory=dict)
    """Of files that lost a name, or would: how many names they have left."""

    def run(self, *, dry_run: bool) -> GcResult:
        repositories = store.repositories(self.path)
        for repository in repositories:
            self._guarded_repository(repository, dry_run)
        self._guarded_pool(repositories, dry_run)
        return GcResult(
            path=self.path,
            removed=tuple(self.removed),
            freed_bytes=self.freed,
            dry_run=dry_run,
            notes=tuple(self.notes),
        )

    # -- run repositories --

    def _guarded_repository(self, repository: bytes, dry_run: bool) -> None:
        name = display(os.path.basename(repository))
        place = self._place(repository)
        try:
            with guarded(place, patience=0):
                self._drop(_of_repository(place), dry_run)
                if not dry_run:
                    _prune(os.path.join(repository, b"lfs", b"objects"))
        except RunBusy:
            self.busy = True
            self.notes.append(f"{name} was left alone: another gitrun process works on it")
        except GitrunError as error:
            self.notes.append(f"{name} was left alone: {error.message}; gitrun fsck tells more")

    def _place(self, repository: bytes) -> Place:
        run = store.run_path(repository) or repository
        return Place(run, self.path, repository, "", os.path.isdir(run))

    # -- the pool --

    def _guarded_pool(self, repositories: Sequence[bytes], dry_run: bool) -> None:
        place = Place(self.path, self.path, None, "", False)
        try:
            with pool_guarded(place, shared=False, patience=0):
                self._drop(list(_stale(self.path)), dry_run)
                if self.busy:
                    self.notes.append("the pool was left alone: another gitrun process may be about to use it")
                    return
                self._drop(self._unused(repositories), dry_run)
                if not dry_run:
                    _prune(os.path.join(self.path, b"lfs", b"objects"))
        except RunBusy:
            self.notes.append("the pool was left alone: another gitrun process uses it")

    def _unused(self, repositories: Sequence[bytes]) -> list[bytes]:
        """Pool entries that have no other name; where hard links are unknown, those of which no repository has a copy."""
        pool = os.path.join(self.path, b"lfs", b"objects")
        entries = [(path, os.lstat(path)) for path in _files(pool)]
        has_links = any(found.st_nlink > 1 for _, found in entries)
        unused = [path for path in _files(os.path.join(self.path, b"lfs")) if _is_stale_temporary(path)]
        for path, found in entries:
            alone = self.links_left.get((found.st_dev, found.st_ino), found.st_nlink) <= 1
            held = not has_links and any(
                os.path.lexists(os.path.join(repository, os.path.relpath(path, self.path)))
                for repository in repositories
            )
            if alone and not held and not os.path.basename(path).startswith(TEMPORARY):
                unused.append(path)
        return unused

    # -- removing --

    def _drop(self, paths: Sequence[bytes], dry_run: bool) -> None:
        for path in paths:
            for file in _files(path) if _is_directory(path) else [path]:
                self._count(os.lstat(file))
            if not dry_run:
                remove_tree(path) if _is_directory(path) else os.unlink(path)
            self.removed.append(path)

    def _count(self, found: os.stat_result) -> None:
        """What a file takes is free when its last name goes."""
        identity = (found.st_dev, found.st_ino)
        left = self.links_left.get(identity, found.st_nlink) - 1
        self.links_left[identity] = left
        if not left and stat.S_ISREG(found.st_mode):
            self.freed += found.st_size


def _of_repository(place: Place) -> list[bytes]:
    """What can go from a repository whose guard is held; raises GitrunError when it cannot be judged."""
    repository = place.repository
    assert repository is not None
    if os.path.lexists(place.own(b"journal")):
        raise GitrunError("a command on its run did not finish")
    unlisted = _unlisted(repository)
    leftovers = [path for path in _everything(repository) if os.path.basename(path).startswith(TEMPORARY)]
    spools = [path for path in _entries(place.own(b"")) if os.path.basename(path).startswith(SPOOL)]
    return [*leftovers, *spools, *unlisted, *_old_bad(repository)]


def _unlisted(repository: bytes) -> list[bytes]:
    """Large files that no lock lists."""
    stored = list(_files(os.path.join(repository, b"lfs", b"objects")))
    stored = [path for path in stored if not os.path.basename(path).startswith(TEMPORARY)]
    if not stored:
        return []
    listed = _listed(repository)
    return [path for path in stored if os.path.basename(path) not in listed]


def _listed(repository: bytes) -> set[bytes]:
    """The oids that the locks of a repository list, all that any ref leads to."""
    listed: set[bytes] = set()
    with RunRepo(repository) as repo:
        waiting = [_commit_of(repo, name, oid) for name, oid in repo.refs().items()]
        seen: set[str] = set()
        while waiting:
            oid = waiting.pop()
            if oid not in seen:
                seen.add(oid)
                waiting.extend(repo.commit(oid).parents)
                entries = LockFile.decode(repo.lock_file(oid)).entries
                listed |= {entry.sha256.encode() for entry in entries if entry.storage == LFS}
    return listed


def _commit_of(repo: RunRepo, name: str, oid: str) -> str:
    is_tag = name.startswith(("refs/tags/", "refs/gitrun/"))
    return repo.tag_object(oid).commit if is_tag else oid


def _old_bad(repository: bytes) -> Iterator[bytes]:
    """Damaged files that were set aside long ago; their ctime tells when."""
    for directory in (BAD, LARGE_BAD):
        for path in _entries(os.path.join(repository, directory)):
            if os.lstat(path).st_ctime < time.time() - BAD_KEPT:
                yield path


def _stale(directory: bytes) -> Iterator[bytes]:
    return (path for path in _entries(directory) if _is_stale_temporary(path))


def _is_stale_temporary(path: bytes) -> bool:
    if not os.path.basename(path).startswith(TEMPORARY):
        return False
    with suppress(FileNotFoundError):
        return os.lstat(path).st_mtime < time.time() - STALE_AFTER
    return False


# -- looking --


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _entries(directory: bytes) -> list[bytes]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
    return []


def _everything(top: bytes) -> Iterator[bytes]:
    """All files and directories below; no symlink is followed, and no unfinished directory looked into."""
    for directory, names, files in os.walk(top, onerror=_fail):
        for name in sorted((*names, *files)):
            yield os.path.join(directory, name)
        names[:] = [name for name in names if not name.startswith(TEMPORARY)]


def _files(top: bytes) -> Iterator[bytes]:
    """All that is no directory below `top`; nothing there is fine."""
    for directory, names, files in os.walk(top, onerror=_fail):
        names.sort()
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        yield from (os.path.join(directory, name) for name in sorted((*files, *links)))


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _prune(objects: bytes) -> None:
    """Removes the directories of large files in which nothing is left."""
    for directory, _, _ in os.walk(objects, topdown=False):
        if directory != objects:
            with suppress(OSError):
                os.rmdir(directory)
