"""Checks the LFS objects of a run repository, and mends them from whatever else holds the same bytes.

An object is one inode under several names: in the repository, in the store's pool, and in the repositories of other
runs that hold the same file.  A fault in it is a fault of all of them, and is mended for all at once.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from gitrun.copying import copy_hashing, hash_file
from gitrun.errors import GitrunError
from gitrun.fsio import TEMPORARY, Beneath, make_directories, opened, sync_directory
from gitrun.inspection import Large
from gitrun.progress import Progress
from gitrun.publish import link_or_copy
from gitrun.results.fsck import Finding
from gitrun.store import Place, object_path, repositories
from gitrun.surroundings import set_aside
from gitrun.threads import Check, run_threads

_Advance = Callable[[int], None]
BAD = b"lfs/bad"
"""Where git-lfs, too, puts objects that are not what their name says."""
IN_POOL = "in the store's pool: "


class _Fault(NamedTuple):
    kind: str
    message: str


@dataclass(slots=True)
class LargeCheck:
    """What a look at the large files came to."""

    findings: list[Finding] = field(default_factory=list)
    good: set[str] = field(default_factory=set)
    """Objects of which every copy that was looked at is whole."""
    checked_bytes: int = 0


def check(place: Place, large: Mapping[str, Large], trusted: set[str], *, jobs: int, progress: Progress) -> LargeCheck:
    """Reads and hashes all objects but `trusted`, several at a time, and their copies in the pool."""
    done, guard = LargeCheck(good=set(trusted & large.keys())), threading.Lock()
    oids = sorted((oid for oid in large if oid not in trusted), key=lambda oid: -large[oid].size)
    progress.stage("checking large files", sum(large[oid].size for oid in oids), "B")

    def look(oid: str, stop: Check) -> None:
        def advance(amount: int) -> None:
            stop()
            with guard:
                progress.advance(amount)

        faults = list(_faults(place, oid, large[oid].size, advance))
        with guard:
            done.checked_bytes += large[oid].size
            paths = tuple(sorted(large[oid].paths))
            done.findings += [Finding(fault.kind, oid, fault.message, paths) for fault in faults]
            if not faults:
                done.good.add(oid)

    run_threads(look, oids, jobs)
    return done


def _faults(place: Place, oid: str, size: int, advance: _Advance) -> Iterator[_Fault]:
    mine, pooled = _copies(place, oid)
    fault = _judge(mine, oid, size, advance)
    if fault:
        yield fault
    if os.path.lexists(pooled) and _identity(pooled) != _identity(mine):
        fault = _judge(pooled, oid, size, lambda _: None)
        if fault:
            yield _Fault(fault.kind, IN_POOL + fault.message)


def _copies(place: Place, oid: str) -> tuple[bytes, bytes]:
    assert place.repository is not None
    return object_path(place.repository, oid), object_path(place.store, oid)


def _judge(path: bytes, oid: str, size: int, advance: _Advance) -> _Fault | None:
    """What is wrong with the object at `path`."""
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return _Fault("corrupt", f"there is a {_KIND.get(stat.S_IFMT(found.st_mode), 'something')} in its place")
        if found.st_size != size:
            return _Fault("corrupt", f"its size is wrong: {size} bytes expected, {found.st_size} seen")
        with opened(path) as fd:
            seen = hash_file(fd, advance=advance)[0]
    except FileNotFoundError:
        return _Fault("missing", "the large file is missing")
    except OSError as error:
        return _Fault("corrupt", f"it cannot be read: {error.strerror}")
    return None if seen == oid else _Fault("corrupt", f"its content is not what it was: its SHA-256 is {seen}")


_KIND = {stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}


def _identity(path: bytes) -> tuple[int, int] | None:
    """The inode of a regular file; None for anything else."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


# -- mending --


def mend(place: Place, large: Mapping[str, Large], findings: Sequence[Finding]) -> list[str]:
    """Puts good copies where there are damaged ones or none; returns notes.

    What is lost everywhere stays as it is.  Raises OSError when the store cannot be written.
    """
    notes = []
    for oid in dict.fromkeys(finding.object for finding in findings if finding.object in large):
        others = _Mender(place, oid, large[oid]).run()
        if others:
            notes.append(f"{oid} was mended in {others} other run repositories too, which shared it")
    return notes


class _Mender:
    """Mends one object."""

    def __init__(self, place: Place, oid: str, large: Large) -> None:
        assert place.repository is not None
        self._place, self._oid, self._large, self._repository = place, oid, large, place.repository
        self._mine, self._pooled = _copies(place, oid)
        self._siblings = [it for it in repositories(place.store) if it != place.repository]
        self._bad: set[tuple[int, int]] = set()

    def run(self) -> int:
        """Mends all that shares the fault; returns in how many other repositories."""
        for path in (self._mine, self._pooled):
            _make_readable(path)
            if not self._is_good(path):
                self._bad |= {identity for identity in [_identity(path)] if identity}
        if self._is_good(self._mine):
            self._replace(self._pooled)
        elif self._bring():
            self._replace_in_pool()
        else:
            return 0
        return sum(self._mend_sibling(repository) for repository in self._siblings)

    def _is_good(self, path: bytes) -> bool:
        return _judge(path, self._oid, self._large.size, lambda _: None) is None

    def _bring(self) -> bool:
        """Makes a good object of this repository, from the pool, another repository, or the run."""
        make_directories(os.path.dirname(self._mine))
        temporary = _temporary(self._mine)
        try:
            if not (self._from_stores(temporary) or self._from_run(temporary)):
                return False
            self._keep_bad()
            os.rename(temporary, self._mine)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_directory(os.path.dirname(self._mine))
        return True

    def _from_stores(self, target: bytes) -> bool:
        for path in (self._pooled, *(object_path(repository, self._oid) for repository in self._siblings)):
            if _identity(path) and _identity(path) not in self._bad and self._is_good(path):
                link_or_copy(path, target)
                return True
        return False

    def _from_run(self, target: bytes) -> bool:
        if not self._place.exists:
            return False
        with Beneath(self._place.run) as beneath:
            return any(self._copy(beneath, path, target) for path in sorted(self._large.paths))

    def _copy(self, beneath: Beneath, path: bytes, target: bytes) -> bool:
        try:
            source = beneath.open(path)
        except OSError:
            return False
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode) or found.st_size != self._large.size:
                return False
            with opened(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as copy:
                same = copy_hashing(source, copy).sha256 == self._oid
                os.fchmod(copy, 0o444)
                os.fsync(copy)
            return same
        finally:
            os.close(source)

    def _keep_bad(self) -> None:
        """Keeps the damaged object where git-lfs would: there may be something to learn from it."""
        if _identity(self._mine) is None:
            return set_aside(self._repository, self._mine, BAD) if os.path.lexists(self._mine) else None
        kept = os.path.join(self._repository, BAD, self._oid.encode())
        make_directories(os.path.dirname(kept))
        with suppress(OSError):  # kept already, or no hard links: the name goes to the good object in any case
            os.link(self._mine, kept, follow_symlinks=False)
        return None

    def _replace_in_pool(self) -> None:
        if not os.path.lexists(self._pooled) or not self._is_good(self._pooled):
            self._replace(self._pooled)

    def _replace(self, path: bytes) -> None:
        """Puts another name of this repository's object at `path`, whatever is there."""
        make_directories(os.path.dirname(path))
        temporary = _temporary(path)
        try:
            link_or_copy(self._mine, temporary)
            if os.path.isdir(path) and not os.path.islink(path):
                set_aside(self._repository, path, BAD)
            os.rename(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_directory(os.path.dirname(path))

    def _mend_sibling(self, repository: bytes) -> bool:
        """Other runs' names of the damaged inode; what their repositories hold else is theirs to check."""
        path = object_path(repository, self._oid)
        if _identity(path) not in self._bad:
            return False
        try:
            self._replace(path)
        except (OSError, GitrunError):
            return False  # somebody else's: their own fsck tells
        return True


def _make_readable(path: bytes) -> None:
    if _identity(path):
        with suppress(OSError):
            if not os.lstat(path).st_mode & 0o400:
                os.chmod(path, 0o444)


def _temporary(path: bytes) -> bytes:
    return os.path.join(os.path.dirname(path), TEMPORARY + os.urandom(8).hex().encode())
