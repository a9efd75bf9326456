"""What a lock needs on its way to a remote and back: its large files, and proof that it is what it says."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from gitrun.copying import blake3_file
from gitrun.entry import BLOCK_DEVICE, CHARACTER_DEVICE, FILE, LFS, NOT_STORED
from gitrun.errors import ObjectCorrupt, ObjectMissing, RecordError, Unsupported, UsageError, system_failed
from gitrun.fsio import opened
from gitrun.history import record_at
from gitrun.lockfile import LockFile
from gitrun.parallel import cpu_count
from gitrun.remotes import Advance, Transport, transport
from gitrun.remotes.address import Address, parse
from gitrun.repo import Commit, RunRepo
from gitrun.settings import Settings
from gitrun.store import is_run_id, object_path
from gitrun.tree import TREE_MODE
from gitrun.treecheck import Files, compare_tree

_GITLINK = b"160000"
_PRIVILEGES = stat.S_ISUID | stat.S_ISGID
_HARMLESS = (b"user.", b"system.posix_acl_")
_LAYOUT = re.compile(r"^Gitrun-Layout: ([a-z0-9-]{1,40})$", re.MULTILINE)
_COUNTS = re.compile(r"^Gitrun-(Files|Bytes): ([0-9]{1,18})$", re.MULTILINE)


def reach(remote: str | bytes | os.PathLike[str], run_id: str, settings: Settings) -> tuple[Address, Transport]:
    """The remote that somebody means: a URL, a path, or nothing for `gitrun.remote`.  Raises UsageError."""
    told = os.fsdecode(remote) or settings.remote
    if not told:
        raise UsageError("which remote?", hint="name one, or git config --global gitrun.remote URL")
    address = parse(told, run_id)
    return address, transport(address, settings.stall_timeout)


class Large(NamedTuple):
    """The large files of some locks."""

    objects: dict[str, int]
    """LFS objects: oid to size."""
    digests: dict[str, str]
    """And to BLAKE3 digest."""
    absent: int
    """How many files were never stored."""


def large_of(repo: RunRepo, commits: Iterable[Commit]) -> Large:
    """The large files of locks.  Raises RecordError."""
    found = Large({}, {}, 0)
    for commit in commits:
        for entry in record_at(repo, commit.oid).entries:
            if entry.storage == LFS:
                found.objects[entry.sha256] = entry.size
                found.digests[entry.sha256] = entry.blake3
            elif entry.storage == NOT_STORED:
                found = found._replace(absent=found.absent + 1)
    return found


def large_objects(repo: RunRepo, commits: Iterable[Commit]) -> dict[str, int]:
    """The LFS objects of locks: oid to size."""
    return large_of(repo, commits).objects


def refuse_damaged(repository: bytes, large: Large, advance: Advance) -> None:
    """Raises ObjectMissing and ObjectCorrupt for a large file of a repository that is not what was locked.

    A server keeps what it is sent, and takes nothing else in its place.
    """
    for oid, size in large.objects.items():
        path = object_path(repository, oid)
        try:
            with opened(path) as fd:
                whole = os.fstat(fd).st_size == size
                good = whole and blake3_file(fd, threads=cpu_count(), advance=advance) == large.digests[oid]
        except FileNotFoundError as error:
            raise ObjectMissing(f"the LFS object {oid} is missing", path=path, hint="gitrun fsck --repair") from error
        except OSError as error:
            raise system_failed(error, "read an LFS object", path) from error
        if not good:
            raise ObjectCorrupt(f"the LFS object {oid} is damaged", path=path, hint="gitrun fsck --repair")


def received_record(repo: RunRepo, commit: str, run_id: str) -> LockFile:
    """The record of a lock that came from a remote; raises RecordError for another run's, Unsupported for privileges.

    Whoever wrote to the remote shall not decide what runs with the rights of the one who clones.
    """
    record = record_at(repo, commit)
    if not is_run_id(record.run_id):
        raise RecordError(f"this is no run id: {record.run_id!r}")
    if record.run_id != run_id:
        raise RecordError(f"the remote says that this is run {run_id}, its lock file says {record.run_id}")
    for entry in record.entries:
        privileged = entry.kind == FILE and entry.mode & _PRIVILEGES
        attributes = any(not name.startswith(_HARMLESS) for name, _ in entry.xattrs)
        if privileged or attributes or entry.kind in (BLOCK_DEVICE, CHARACTER_DEVICE):
            raise Unsupported(
                "a device, a setuid bit or a capability is not taken from a remote",
                path=entry.path,
                hint="gitrun export --format tar there, and unpack it by hand",
            )
    return record


def check_tree(repo: RunRepo, commit: str, record: LockFile) -> None:
    """Raises RecordError where the tree of a lock is not what its lock file lists, or a blob is not what was locked."""
    files: Files = {}
    pending = [(b"", repo.commit(commit).tree)]
    while pending:
        prefix, tree = pending.pop()
        for name, (mode, oid) in repo.entries(tree).items():
            if mode == TREE_MODE:
                pending.append((prefix + name + b"/", oid))
            else:
                files[prefix + name] = mode, oid
    small = {oid for mode, oid in files.values() if mode != _GITLINK}
    digests = {oid: (sha256(data).hexdigest(), len(data)) for oid in small for data in [repo.read(oid, "blob")]}
    for fault in compare_tree(record, files, (), digests):
        raise RecordError(f"what came from the remote is damaged or forged: {fault.message}", path=fault.path)


def counts(message: str) -> tuple[int, int]:
    """Files and bytes of a lock, from its commit's trailers; 0 where they are not told."""
    told = {key: int(value) for key, value in _COUNTS.findall(message)}
    return told.get("Files", 0), told.get("Bytes", 0)


def layout_of(message: str) -> str:
    """The layout that a commit's trailer tells; empty where it tells none."""
    found = _LAYOUT.search(message)
    return found[1] if found else ""


def base_name(name: str) -> str:
    """The run id in the name of a run on a remote: without what tells two histories apart."""
    return name.partition("+")[0]


def move_objects(source: bytes, repository: bytes) -> None:
    """Moves packs and LFS objects of a fetched repository into another one; each index after its pack."""
    for top in (b"objects/pack", b"lfs/objects"):
        for directory, _, names in os.walk(os.path.join(source, top)):
            for name in sorted(names, key=lambda name: (name.endswith(b".idx"), name)):
                path = os.path.join(directory, name)
                target = os.path.join(repository, os.path.relpath(path, source))
                wanted = top != b"objects/pack" or name.endswith((b".pack", b".idx"))
                if wanted and not os.path.lexists(target):
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.chmod(path, 0o444)
                    # a Guild home may be on another disk than the current directory
                    shutil.move(os.fsdecode(path), os.fsdecode(target))
