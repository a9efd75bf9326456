"""Places: where a run, its store and its repository lie, and how a moved run finds its own again.

<parent>/<run>/                     the run
<parent>/.gitrun/<run>.git/         its repository, bare
<parent>/.gitrun/<run>.git/gitrun/  what only gitrun reads: `run`, `journal`, `verified`
<parent>/.gitrun/lfs/objects/       the pool: one inode for each large file of all runs
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gitrun.entry import GIT_LINK, LOCK_FILE
from gitrun.errors import LockFileInvalid, NewerFormat, Refused, RunNotFound, Unsupported
from gitrun.fsio import read_file
from gitrun.lockfile import decode_headers
from gitrun.settings import Settings

STORE_NAME = b".gitrun"
AUTO_LOCK_FAILED = b"auto-lock-failed"
"""A directory in the store beside runs, with a file for each that could not be locked when it ended (guildhook/finished.py)."""
REPOSITORY_SUFFIX = b".git"
_LONGEST_NAME = 255 - len(REPOSITORY_SUFFIX) - len("-01234567")
_OWN = b"gitrun"
_HEAD_BYTES = 1 << 16
_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NOT_IN_A_REF = re.compile(r"[^A-Za-z0-9._-]+|\.\.+|^[.-]+|\.$|\.lock$")


class RunRecord(NamedTuple):
    """What a run repository knows of its run: the file `gitrun/run` in it."""

    run_id: str
    path: bytes
    """Relative to the store where the store lies beside the run, so that both can move; else absolute."""

    def encode(self) -> bytes:
        """Two lines, `id ID` and `path PERCENT-ENCODED`."""
        return f"id {self.run_id}\npath {quote_from_bytes(self.path)}\n".encode()


def read_record(repository: bytes) -> RunRecord | None:
    """The record of a repository; None where there is none that can be read."""
    data = read_file(os.path.join(repository, _OWN, b"run"), _HEAD_BYTES)
    found = re.fullmatch(rb"id ([\x21-\x7e]+)\npath ([\x21-\x7e]+)\n", data or b"")
    return RunRecord(found[1].decode(), unquote_to_bytes(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run and its record are."""

    run: bytes
    """The absolute real path of the run directory, which may be gone."""
    store: bytes
    repository: bytes | None
    """None when the run has none (never locked, or a copy)."""
    run_id: str
    """Empty while the run has neither repository nor lock file nor an id from its tool."""
    exists: bool
    """The run directory is there."""
    copy_of: bytes = b""
    """The original's path, when this is a copy of a locked run that has its repository elsewhere."""

    @property
    def name(self) -> bytes:
        """The name of the run directory."""
        return os.path.basename(self.run)

    def own(self, name: bytes) -> bytes:
        """The path of one of gitrun's own files in the repository."""
        assert self.repository is not None
        return os.path.join(self.repository, _OWN, name)

    @property
    def lock_file(self) -> bytes:
        """The path of the lock file."""
        return os.path.join(self.run, LOCK_FILE)

    @property
    def beside(self) -> bool:
        """Whether the store lies beside the run, its default place."""
        return self.store == default_store(self.run)

    def record(self) -> RunRecord:
        """The record that the run's repository holds."""
        return RunRecord(self.run_id, os.path.join(b"..", self.name) if self.beside else self.run)


def default_store(run: bytes) -> bytes:
    """Where the store of a run lies unless configured otherwise."""
    return os.path.join(os.path.dirname(run), STORE_NAME)


def locate(path: bytes, settings: Settings, tool_id: str = "") -> Place:
    """Where the run at `path` and its record are; nothing is opened but small files, nothing is written.

    `tool_id` is the id that the run's own tool gave it.  Raises RunNotFound when there is neither a directory nor a
    repository, Refused for a path that is no stable place.
    """
    run = _real(path)
    exists = os.path.isdir(run)
    store = settings.store or default_store(run)
    locked_id, locked_store = _lock_file_says(run) if exists else ("", b"")
    place = Place(run, store, None, locked_id or tool_id, exists)
    for candidate in _candidates(place, locked_id, locked_store):
        record = read_record(candidate)
        if record is None:
            continue
        known = _absolute(record.path, candidate)
        if _belongs(place, locked_id, candidate, record, known):
            return replace(place, store=os.path.dirname(candidate), repository=candidate, run_id=record.run_id)
        if locked_id and record.run_id == locked_id:
            place = replace(place, copy_of=known)
    if not exists:
        raise RunNotFound(
            "there is no such run", path=run, hint="gitrun status --all DIR lists the runs below a directory"
        )
    return place


def _belongs(place: Place, locked_id: str, repository: bytes, record: RunRecord, known: bytes) -> bool:
    """Whether the repository of the run that was last seen at `known` is the one of the run at `place`."""
    if known != place.run:
        return place.run_id == record.run_id != "" and not _is_run(known, record.run_id, repository)
    if locked_id:
        return locked_id == record.run_id  # two runs may have swapped their names
    return not place.exists or _is_run(known, record.run_id, repository) or not _is_beside(known, record.run_id)


def _is_beside(path: bytes, run_id: str) -> bool:
    """Whether the locked run `run_id` lies beside the directory at `path`."""
    parent = os.path.dirname(path)
    try:
        return any(_lock_file_says(os.path.join(parent, name))[0] == run_id for name in os.listdir(parent))
    except OSError:
        return False


def is_passing(path: bytes) -> bool:
    """Whether an absolute path leads through the kernel's own directories, where nothing stays in its place."""
    return bool(re.match(rb"/(proc|dev)(/|\Z)", path)) and not re.match(rb"/dev/shm/.", path)


def _real(path: bytes) -> bytes:
    if is_passing(os.path.abspath(path)):
        raise Refused("a run cannot be named through /proc or /dev", path=path, hint="give its real path")
    return os.path.realpath(path)


def _lock_file_says(run: bytes) -> tuple[str, bytes]:
    """Run id and store in the lock file of a run; empty where there is none of ours."""
    data = read_head(os.path.join(run, LOCK_FILE))
    try:
        headers = decode_headers(data) if data else {}
    except (LockFileInvalid, NewerFormat):
        return "", b""
    return headers.get("run-id", ""), unquote_to_bytes(headers.get("store", ""))


def read_head(lock_file: bytes) -> bytes | None:
    """The beginning of a lock file, up to the end of its headers; None where there is no such regular file."""
    try:
        fd = os.open(lock_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(fd, _HEAD_BYTES)
    except OSError:
        return None  # a directory
    finally:
        os.close(fd)
    return data


def _candidates(place: Place, locked_id: str, locked_store: bytes) -> Iterator[bytes]:
    """Repositories that may be the run's, the likeliest first."""
    stores = [place.store]
    if locked_store and locked_store != place.store:
        stores.append(locked_store)
    for store in stores:
        by_name = repository_path(store, place.name)
        yield by_name
        if locked_id:
            yield from (repository for repository in repositories(store) if repository != by_name)
        elif not place.beside or os.path.lexists(by_name):
            # Runs of one name, from several places or one after the other: without a lock file there is only the name.
            alike = by_name.removesuffix(REPOSITORY_SUFFIX) + b"-"
            yield from (repository for repository in repositories(store) if repository.startswith(alike))


def repository_path(store: bytes, name: bytes) -> bytes:
    """Where the repository of a run of that name lies; a name too long for a suffix is cut, and told apart by its hash."""
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 17] + b"-" + sha256(name).hexdigest()[:16].encode()
    return os.path.join(store, name + REPOSITORY_SUFFIX)


def repositories(store: bytes) -> list[bytes]:
    """All run repositories of a store, sorted by name."""
    try:
        names = os.listdir(store)
    except OSError:
        return []
    paths = (os.path.join(store, name) for name in sorted(names) if name.endswith(REPOSITORY_SUFFIX))
    return [path for path in paths if os.path.isfile(os.path.join(path, _OWN, b"run"))]


def run_path(repository: bytes) -> bytes | None:
    """Where the run of a repository was when it was last locked, absolute."""
    record = read_record(repository)
    return _absolute(record.path, repository) if record else None


def _absolute(path: bytes, repository: bytes) -> bytes:
    return os.path.normpath(os.path.join(os.path.dirname(repository), path))


def _is_run(path: bytes, run_id: str, repository: bytes) -> bool:
    """Whether the directory at `path` still is the run `run_id`, and not another one that came there later."""
    if not os.path.isdir(path):
        return False
    says = _lock_file_says(path)[0]
    if says:
        return says == run_id
    # A run whose lock file somebody deleted still has its `.git`; one that was renamed left nothing behind.
    locked = os.path.lexists(os.path.join(repository, b"refs", b"tags", b"locked"))
    return not locked or os.path.lexists(os.path.join(path, GIT_LINK))


def with_repository(place: Place) -> Place:
    """The place with an id and the path of a repository that is still to be made."""
    run_id = place.run_id or new_run_id(place.name)
    repository = repository_path(place.store, place.name)
    if os.path.lexists(repository):
        suffix = b"-" + run_id[-8:].encode() + REPOSITORY_SUFFIX
        repository = repository.removesuffix(REPOSITORY_SUFFIX) + suffix
    if os.path.lexists(repository):
        raise Refused("another run has this repository", path=repository, hint="move it away, or set GITRUN_STORE")
    return replace(place, run_id=run_id, repository=repository)


def new_run_id(name: bytes) -> str:
    """The directory's name reduced to what a ref may hold, a dash and 8 random hex digits."""
    text = name.decode("ascii", "replace").replace("\ufffd", "-")
    before = None
    while before != text:
        before, text = text, _NOT_IN_A_REF.sub("-", text).strip("-")
    return f"{text[:100] or 'run'}-{os.urandom(4).hex()}"


def is_run_id(text: str) -> bool:
    """Whether gitrun, or Guild, could have made this id: it is part of refs and of paths."""
    return bool(_RUN_ID.fullmatch(text)) and ".." not in text


def is_harmless_name(name: bytes) -> bool:
    """Whether a directory may get this name without being asked: none that a program would take for its own."""
    return bool(name) and not name.startswith((b".", b"-")) and b"/" not in name and b"\0" not in name


def refuse_bad_place(place: Place) -> None:
    """Raises Unsupported where a lock would swallow its own store or another one."""
    run = place.run + b"/"
    if (place.store + b"/").startswith(run):
        raise Unsupported(
            "the store would lie inside the run", path=place.store, hint="set GITRUN_STORE to another place"
        )
    parts = place.run.split(b"/")
    if STORE_NAME in parts or (place.run + b"/").startswith(place.store + b"/"):
        raise Unsupported("this is part of a store, not a run", path=place.run, hint="lock the run that it belongs to")


def prune(store: bytes) -> None:
    """Removes a store in which nothing is left."""
    for name in (b"lfs/objects", b"lfs", b""):
        with suppress(OSError):
            os.rmdir(os.path.join(store, name))


def object_path(top: bytes, oid: str) -> bytes:
    """Where the LFS object `oid` lies below a repository or a store; nothing is touched."""
    return os.path.join(top, b"lfs", b"objects", oid[:2].encode(), oid[2:4].encode(), oid.encode())
