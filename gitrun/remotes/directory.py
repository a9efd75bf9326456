"""A remote that is a bare git repository on a disk: gitrun copies objects there itself, checked and synced.

Neither its hooks nor its configuration are obeyed.  git-lfs would hard-link large files there, so that one flipped bit
damages both ends, and never mend a damaged one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import quote_from_bytes

from gitrun.copying import copy_hashing
from gitrun.errors import GitrunError, ObjectCorrupt, ObjectMissing, Refused, ToolFailed, Unsupported, system_failed
from gitrun.fsio import (
    TEMPORARY,
    make_directories,
    opened,
    read_file,
    remove_file,
    sync_directory,
    sync_tree,
    write_file,
)
from gitrun.reffiles import read_refs
from gitrun.refs import read_ref, write_ref
from gitrun.remotes import Advance, Cargo, Update
from gitrun.store import object_path

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
_CONFIG_LIMIT = 1 << 20
_DIRECTORIES = (b"objects/info", b"objects/pack", b"refs/heads", b"refs/tags", b"info", b"lfs/objects")
_SKELETON = {
    b"HEAD": b"ref: refs/heads/main\n",
    b"config": b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
}
_LOOSE = re.compile(rb"objects/[0-9a-f]{2}/[0-9a-f]{38}")
_PACK = re.compile(rb"objects/pack/pack-[0-9a-f]{40}\.(pack|idx)")


class Directory:
    """The bare repository at a path; it is made by the first push."""

    def __init__(self, path: bytes) -> None:
        self._path = path

    def refs(self) -> dict[str, str]:
        """All branches and tags; none where there is no repository yet."""
        if not os.path.lexists(self._path):
            return {}
        self._check()
        try:
            return read_refs(self._path).good
        except OSError as error:
            raise self._failed(error, "read the remote") from error

    def send_large(self, cargoes: Sequence[Cargo], advance: Advance) -> list[int | GitrunError]:
        """Copies the LFS objects that are not there, or not of their size; each is read once, hashed, and synced."""
        return [self._send_cargo(cargo, advance) for cargo in cargoes]

    def _send_cargo(self, cargo: Cargo, advance: Advance) -> int | GitrunError:
        try:
            return self._copy_cargo(cargo, advance)
        except GitrunError as error:
            return error

    def _copy_cargo(self, cargo: Cargo, advance: Advance) -> int:
        repository, objects = cargo
        self._make(repository)
        sent = 0
        for oid, size in objects.items():
            target = object_path(self._path, oid)
            if _size(target) == size:
                continue
            try:
                self._copy_large(object_path(repository, oid), target, oid)
            except OSError as error:
                raise self._failed(error, "write to the remote") from error
            advance(size)
            sent += size
        return sent

    def _copy_large(self, source: bytes, target: bytes, oid: str) -> None:
        make_directories(os.path.dirname(target))
        building = os.path.join(os.path.dirname(target), TEMPORARY + oid.encode())
        remove_file(building)
        try:
            with _object(source, oid) as reading, opened(building, _NEW) as writing:
                copied = copy_hashing(reading, writing)
                os.fchmod(writing, 0o444)
            if copied.sha256 != oid:
                raise ObjectCorrupt(f"the LFS object {oid} is damaged", path=source, hint="gitrun fsck --repair")
            os.rename(building, target)
            sync_directory(os.path.dirname(target))
        finally:
            remove_file(building)

    def send(self, repositories: Sequence[bytes], updates: Sequence[Update]) -> None:
        """Copies packs and loose objects, then moves the refs."""
        try:
            touched = set()
            for repository in repositories:
                self._make(repository)
                for relative in _git_objects(repository):
                    if self._copy_object(repository, relative):
                        touched.add(os.path.dirname(relative))
            for directory in touched:
                sync_directory(os.path.join(self._path, directory))
            for update in updates:
                self._move_ref(update)
        except OSError as error:
            raise self._failed(error, "write to the remote") from error

    def _copy_object(self, repository: bytes, relative: bytes) -> bool:
        """Whether it was not there; its directory is still to be synced then."""
        target = os.path.join(self._path, relative)
        if os.path.lexists(target):
            return False
        make_directories(os.path.dirname(target))
        building = os.path.join(os.path.dirname(target), TEMPORARY + os.path.basename(relative))
        remove_file(building)
        try:
            with opened(os.path.join(repository, relative)) as reading, opened(building, _NEW) as writing:
                copy_hashing(reading, writing)
                os.fchmod(writing, 0o444)
            os.rename(building, target)
        finally:
            remove_file(building)
        return True

    def _move_ref(self, update: Update) -> None:
        """By git's own protocol: whoever has made `<ref>.lock` may write the ref."""
        path = os.path.join(self._path, os.fsencode(update.ref))
        make_directories(os.path.dirname(path))
        try:
            os.close(os.open(path + b".lock", _NEW, 0o644))
        except FileExistsError as error:
            raise Refused(
                "somebody else is moving this ref, or was killed while doing so", path=path + b".lock", hint="try again"
            ) from error
        try:
            if (read_ref(self._path, update.ref) or "") != update.old:
                raise Refused("somebody has pushed this run meanwhile", path=path, hint="push again")
            write_ref(self._path, update.ref, update.new)
        finally:
            remove_file(path + b".lock")

    def receive(self, refs: Sequence[str], into: bytes, *, shallow: bool = False) -> None:
        """By stock git, over its own protocol, so that nothing of the remote but objects comes here."""
        from gitrun.remotes.network import fetch_refs

        self._check()
        fetch_refs("file://" + quote_from_bytes(self._path), refs, into, shallow=shallow)

    def receive_large(self, objects: Mapping[str, int], into: bytes, advance: Advance) -> None:
        """Copies LFS objects, each checked."""
        for oid, size in objects.items():
            source, target = object_path(self._path, oid), object_path(into, oid)
            if _size(source) != size:
                raise ObjectMissing(f"the remote has no LFS object {oid} of {size} bytes", path=source)
            make_directories(os.path.dirname(target))
            with _object(source, oid) as reading, opened(target, _NEW) as writing:
                copied = copy_hashing(reading, writing)
                os.fchmod(writing, 0o444)
            if (copied.sha256, copied.size) != (oid, size):
                raise ObjectCorrupt(f"the remote's LFS object {oid} is damaged", path=source, hint="push it again")
            advance(size)

    def missing(self, objects: Mapping[str, int]) -> list[str]:
        """Those that are not there, or of another size."""
        return [oid for oid, size in objects.items() if _size(object_path(self._path, oid)) != size]

    def mend(self, repository: bytes, objects: Mapping[str, int]) -> list[str]:
        """Copies them anew; one that is damaged here, too, is left out."""
        mended = []
        for oid in objects:
            with suppress(ObjectMissing, ObjectCorrupt, OSError):
                self._copy_large(object_path(repository, oid), object_path(self._path, oid), oid)
                mended.append(oid)
        return mended

    # -- the repository --

    def _check(self) -> None:
        """Raises Refused for what is no bare repository of the plain kind."""
        if not os.path.isdir(os.path.join(self._path, b"objects")):
            message = (
                "the work tree of a repository is no remote" if self._is_work_tree() else "there is no bare repository"
            )
            raise Refused(message, path=self._path, hint="name a bare repository, or a path where nothing is yet")
        config = read_file(os.path.join(self._path, b"config"), _CONFIG_LIMIT) or b""
        if re.search(rb"^\s*\[extensions\]", config, re.MULTILINE | re.IGNORECASE):
            raise Unsupported(
                "the remote is a repository with extensions", path=self._path, hint="make one by git init --bare"
            )

    def _is_work_tree(self) -> bool:
        return os.path.lexists(os.path.join(self._path, b".git"))

    def _make(self, repository: bytes) -> None:
        """Makes the repository where there is none; refuses the run's own, and whatever else is there."""
        real = os.path.realpath(self._path)
        if (real + b"/").startswith(os.path.dirname(os.path.realpath(repository)) + b"/"):
            raise Refused("the remote is in the run's own store", path=self._path, hint="name another place")
        if os.path.lexists(self._path) and os.listdir(self._path):
            self._check()
            return
        if not os.path.isdir(os.path.dirname(self._path)):
            raise ToolFailed(
                "there is no such directory for a remote", path=os.path.dirname(self._path), hint="mkdir it"
            )
        try:
            for name in _DIRECTORIES:
                make_directories(os.path.join(self._path, name))
            for name, data in _SKELETON.items():
                write_file(os.path.join(self._path, name), data)
            sync_tree(self._path)
        except OSError as error:
            raise self._failed(error, "make the remote") from error

    def _failed(self, error: OSError, what: str) -> ToolFailed:
        failed = system_failed(error, what, near=self._path)
        return ToolFailed(failed.message, path=failed.path, hint=failed.hint)


def _size(path: bytes) -> int:
    with suppress(OSError):
        return os.stat(path, follow_symlinks=False).st_size
    return -1


@contextmanager
def _object(path: bytes, oid: str) -> Iterator[int]:
    try:
        with opened(path) as fd:
            yield fd
    except FileNotFoundError as error:
        raise ObjectMissing(f"the LFS object {oid} is missing", path=path, hint="gitrun fsck --repair") from error


def _git_objects(repository: bytes) -> Iterator[bytes]:
    """Loose objects and packs below a repository; each index after its pack, since git finds a pack by it."""
    top = os.path.join(repository, b"objects")
    found = [
        os.path.relpath(os.path.join(directory, name), repository)
        for directory, _, names in os.walk(top)
        for name in names
    ]
    good = [path for path in found if _LOOSE.fullmatch(path) or _PACK.fullmatch(path)]
    return iter(sorted(good, key=lambda path: (path.endswith(b".idx"), path)))
