"""Puts entries of a run back as a lock recorded them: made complete in a staging directory, checked, then renamed into place.

Everything goes by descriptors beneath the run, nothing through a symlink.  Directories are opened for writing while the
work lasts and get their recorded bits and times at the end.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Self

from gitrun.compare import sealed_xattrs
from gitrun.copying import copy_checking, hash_file
from gitrun.entry import BLOB, DIRECTORY, FIFO, FILE, NOT_STORED, ROOT, SOCKET, SYMLINK, Entry, full_path
from gitrun.errors import ObjectCorrupt, ObjectMissing, SystemFailed, system_failed
from gitrun.fsio import Beneath, opened, remove_tree, write_all
from gitrun.marks import RESTORING, remove_leftovers
from gitrun.repo import RunRepo
from gitrun.walk import read_xattrs

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_KIND_BITS = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, "c": stat.S_IFCHR, "b": stat.S_IFBLK}
ITEM = b"item"
"""What an entry is called while it is made."""


class Builder(ABC):
    """Writes entries into one run while it is open; use it in a `with` block.  Where content comes from, others know.

    `sealed` says whether entries get the permission bits of a locked run or their own.  `owner` is the user and group
    that root works for: everything restored is theirs before it gets any permission bit, setuid above all.
    """

    def __init__(self, run: bytes, *, sealed: bool, owner: tuple[int, int] | None) -> None:
        self._run = run
        self._owner = owner
        self._sealed = sealed
        self._links: dict[int, bytes] = {}
        """For each group of hard links a path that is whole."""

    def __enter__(self) -> Self:
        self._beneath = Beneath(self._run)
        root = self._beneath.directory(ROOT)
        remove_leftovers(self._run, root)
        os.mkdir(RESTORING, 0o700, dir_fd=root)
        self._staging = os.open(RESTORING, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        return self

    def __exit__(self, *_: object) -> None:
        self._beneath.close()
        os.close(self._staging)
        remove_tree(os.path.join(self._run, RESTORING))

    # -- one entry --

    def put(self, entry: Entry) -> None:
        """Puts one entry into place, whatever but a directory stands there; of a directory only the name.

        Raises ObjectMissing or ObjectCorrupt when the store cannot give its content back, SystemFailed when the system
        cannot take it; then nothing of the entry was changed.
        """
        try:
            if entry.kind == DIRECTORY:
                self._make_directory(entry)
                return
            self._stage(entry)
            parent, name = self._beneath.parent(entry.path)
            os.rename(ITEM, name, src_dir_fd=self._staging, dst_dir_fd=parent)
        except OSError as error:
            raise system_failed(error, "restore it", full_path(self._run, entry.path)) from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(ITEM, dir_fd=self._staging)

    def _make_directory(self, entry: Entry) -> None:
        parent, name = self._beneath.parent(entry.path)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
            self._give_away(name, parent)

    def _give_away(self, name: bytes, dir_fd: int) -> None:
        if self._owner is not None:
            os.chown(name, *self._owner, dir_fd=dir_fd, follow_symlinks=False)

    def _stage(self, entry: Entry) -> None:
        if entry.hardlink in self._links and entry.hardlink:
            parent, name = self._beneath.parent(self._links[entry.hardlink])
            os.link(name, ITEM, src_dir_fd=parent, dst_dir_fd=self._staging, follow_symlinks=False)
            return
        if entry.kind == SYMLINK:
            os.symlink(entry.target, ITEM, dir_fd=self._staging)
            self._give_away(ITEM, self._staging)
            os.utime(ITEM, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=self._staging, follow_symlinks=False)
        elif entry.kind == FILE:
            self._stage_file(entry)
        else:
            os.mknod(ITEM, _KIND_BITS[entry.kind] | 0o600, os.makedev(*(entry.device or (0, 0))), dir_fd=self._staging)
            self._give_away(ITEM, self._staging)
            os.chmod(ITEM, entry.mode, dir_fd=self._staging)
            os.utime(ITEM, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=self._staging)

    def _stage_file(self, entry: Entry) -> None:
        self._stage_content(entry)
        with opened(ITEM, os.O_RDWR, dir_fd=self._staging) as fd:
            if self._owner is not None:
                os.fchown(fd, *self._owner)
            self._dress(fd, entry)
            os.fsync(fd)
        if entry.hardlink:
            self._links[entry.hardlink] = entry.path

    @abstractmethod
    def _stage_content(self, entry: Entry) -> None:
        """Makes the file ITEM in the staging directory with the content of `entry`."""

    def _dress(self, fd: int, entry: Entry) -> None:
        """Attributes, permission bits and times, in the order in which the one does not undo the other."""
        wanted = dict(self._xattrs(entry))
        for name, value in read_xattrs(fd):
            if wanted.get(name) != value and name not in wanted:
                os.removexattr(fd, name)
        os.fchmod(fd, 0o600)
        for name, value in wanted.items():
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno != errno.EPERM:
                    raise
                # security.capability is root's to give
        os.fchmod(fd, self._mode(entry))
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _xattrs(self, entry: Entry) -> tuple[tuple[bytes, bytes], ...]:
        return sealed_xattrs(entry.xattrs) if self._sealed and not entry.mutable else entry.xattrs

    def _mode(self, entry: Entry) -> int:
        return entry.sealed_mode if self._sealed else entry.mode

    def mend(self, entry: Entry) -> None:
        """Gives a file or symlink that has the right content its recorded attributes, bits and times."""
        try:
            if entry.kind == SYMLINK:
                parent, name = self._beneath.parent(entry.path)
                os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
                return
            fd = self._beneath.open(entry.path)
            try:
                self._dress(fd, entry)
            finally:
                os.close(fd)
        except OSError as error:
            raise system_failed(error, "restore its permissions and times", self._full(entry)) from error

    def whole(self, entry: Entry) -> None:
        """Tells that this member of a group of hard links has the right content: others are linked to it."""
        self._links.setdefault(entry.hardlink, entry.path)

    # -- directories --

    def remove(self, paths: Iterable[bytes]) -> None:
        """Removes entries, children first; a directory that is not empty is left."""
        for path in sorted(paths, reverse=True):
            try:
                parent, name = self._beneath.parent(path)
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    os.rmdir(name, dir_fd=parent)
                else:
                    os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise system_failed(error, "remove it", full_path(self._run, path)) from error
            finally:
                self._beneath.directory(ROOT)  # a removed directory must not stay open

    def close_directories(self, entries: Iterable[Entry], keep_times: frozenset[bytes]) -> None:
        """Gives directories their recorded attributes, bits and times, children first; `keep_times` keep theirs."""
        for entry in sorted(entries, reverse=True):
            try:
                fd = self._beneath.directory(entry.path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            before = os.fstat(fd).st_mtime_ns
            self._dress_directory(fd, entry)
            if entry.path in keep_times:
                os.utime(fd, ns=(before, before))

    def _dress_directory(self, fd: int, entry: Entry) -> None:
        try:
            self._dress(fd, entry)
        except OSError as error:
            raise system_failed(error, "restore its permissions and times", self._full(entry)) from error

    def _full(self, entry: Entry) -> bytes:
        return full_path(self._run, entry.path) if entry.path else self._run


class Rebuilder(Builder):
    """Builds out of a run's repository.

    `source` is a run whose own files serve where the store has none or a damaged one; `advance` hears of bytes.
    """

    def __init__(
        self,
        run: bytes,
        repo: RunRepo,
        commit: str,
        *,
        sealed: bool,
        owner: tuple[int, int] | None,
        advance: Callable[[int], None],
        source: bytes | None = None,
    ) -> None:
        super().__init__(run, sealed=sealed, owner=owner)
        self._source = source
        self._repo = repo
        self._commit = commit
        self._advance = advance
        self._blobs: dict[bytes, str] | None = None

    def _stage_content(self, entry: Entry) -> None:
        with opened(ITEM, os.O_RDWR | os.O_CREAT | os.O_EXCL, dir_fd=self._staging) as fd:
            self._fill(fd, entry)

    def _fill(self, fd: int, entry: Entry) -> None:
        try:
            if entry.storage == BLOB:
                self._write_blob(fd, entry)
            else:
                self._copy_object(fd, entry)
        except (ObjectMissing, ObjectCorrupt):
            if self._source is None or not self._copy_from(self._source, fd, entry):
                raise

    def _copy_from(self, run: bytes, fd: int, entry: Entry) -> bool:
        """Whether the file of that run still has the bytes that were locked; then `fd` has them too."""
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        with suppress(FileNotFoundError, NotADirectoryError), Beneath(run) as beneath:
            source = beneath.open(entry.path)
            try:
                is_file = stat.S_ISREG(os.fstat(source).st_mode)
                return is_file and copy_checking(source, fd, advance=self._advance) == entry.blake3
            finally:
                os.close(source)
        return False

    def _write_blob(self, fd: int, entry: Entry) -> None:
        data = self._repo.read(self._blob_of(entry), "blob")
        if sha256(data).hexdigest() != entry.sha256:
            raise self._corrupt(entry, sha256(data).hexdigest())
        write_all(fd, data)
        self._advance(len(data))

    def _blob_of(self, entry: Entry) -> str:
        if self._blobs is None:
            self._blobs = self._repo.blobs(self._commit)
        oid = self._blobs.get(entry.tree_path or entry.path)
        if oid is None:
            raise ObjectMissing("the commit does not hold this file", path=self._full(entry), hint="gitrun fsck")
        return oid

    def _copy_object(self, fd: int, entry: Entry) -> None:
        if entry.storage == NOT_STORED:
            raise ObjectMissing(
                "its content was never stored (it was locked with --link none)",
                path=self._full(entry),
                hint=f"bring a copy with sha256 {entry.sha256}",
            )
        try:
            with opened(self._repo.object_path(entry.sha256)) as stored:
                if not stat.S_ISREG(os.fstat(stored).st_mode):
                    raise self._corrupt(entry, "something that is not a file")
                digest = copy_checking(stored, fd, advance=self._advance)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectMissing(
                f"its LFS object {entry.sha256} is missing", path=self._full(entry), hint="gitrun fsck --repair"
            ) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise self._corrupt(entry, "something that is not a file") from error
            raise
        if digest != entry.blake3:
            raise self._corrupt(entry, hash_file(fd)[0])

    def _corrupt(self, entry: Entry, seen: str) -> ObjectCorrupt:
        return ObjectCorrupt(
            f"the stored copy is damaged: sha256 {entry.sha256} expected, {seen} seen",
            path=self._full(entry),
            hint="gitrun fsck --repair",
        )


def open_directories(run: bytes, paths: Iterable[bytes]) -> list[bytes]:
    """Makes directories writable for their owner, parents first; returns those that are there."""
    there = []
    with Beneath(run) as beneath:
        for path in sorted(paths):
            try:
                fd = beneath.directory(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno == errno.ELOOP:
                    continue
                raise
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            if mode & 0o700 != 0o700:
                os.fchmod(fd, mode | 0o700)
            there.append(path)
    return there


def shut_directories(run: bytes, entries: Iterable[Entry], *, sealed: bool) -> None:
    """Gives directories their permission bits again, children first, after a restore that failed half-way."""
    with Beneath(run) as beneath:
        for entry in sorted((entry for entry in entries if entry.kind == DIRECTORY), reverse=True):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.fchmod(beneath.directory(entry.path), entry.sealed_mode if sealed else entry.mode)


def close_root(run: bytes, root: Entry, *, sealed: bool, keep_time: bool) -> None:
    """The run directory comes last: the staging directory was in it."""
    with opened(run, _DIRECTORY) as fd:
        for name, value in sealed_xattrs(root.xattrs) if sealed else root.xattrs:
            os.setxattr(fd, name, value)
        os.fchmod(fd, root.sealed_mode if sealed else root.mode)
        if not keep_time:
            os.utime(fd, ns=(root.mtime_ns, root.mtime_ns))
        os.fsync(fd)


def refuse_folding(run: bytes, missing: list[bytes]) -> None:
    """Raises SystemFailed when entries are missing after all were restored: the file system takes two names for one."""
    if missing:
        raise SystemFailed(
            "restored, and gone again: the file system takes two of the run's names for one",
            path=full_path(run, missing[0]),
            hint="restore onto a file system that tells upper from lower case",
        )
