"""Makes a run directory out of what was unpacked: by its lock file where it has one, else as the archive tells.

The run is built beside its place under a temporary name, and the rename comes last.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from gitrun.entry import BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, FILE, GIT_LINK, ROOT, SOCKET, SYMLINK, Entry
from gitrun.errors import RecordError, Unsupported
from gitrun.fsio import sync_directory
from gitrun.lockfile import LockFile
from gitrun.rebuild import ITEM, Builder, close_root
from gitrun.unpacking import Unpacked, with_directories

_HARMLESS_XATTRS = (b"user.", b"system.posix_acl_")
_PRIVILEGES = stat.S_ISUID | stat.S_ISGID


class Importer(Builder):
    """Builds out of spooled files, which it takes: each can be had once."""

    def __init__(self, run: bytes, contents: Mapping[bytes, bytes]) -> None:
        super().__init__(run, sealed=False, owner=None)
        self._contents = contents

    def _stage_content(self, entry: Entry) -> None:
        os.rename(self._contents[entry.path], ITEM, dst_dir_fd=self._staging)


def build(run: bytes, entries: Sequence[Entry], contents: Mapping[bytes, bytes]) -> None:
    """Makes the directory `run` and everything in it, synced.  Raises SystemFailed."""
    os.mkdir(run, 0o700)
    with Importer(run, contents) as builder:
        for entry in entries:
            if entry.path != ROOT:
                builder.put(entry)
        directories = [entry for entry in entries if entry.kind == DIRECTORY and entry.path != ROOT]
        for entry in directories:
            sync_directory(os.path.join(run, entry.path))
        builder.close_directories(directories, frozenset())
    close_root(run, entries[0], sealed=False, keep_time=False)


def planned(unpacked: Unpacked, record: LockFile | None) -> tuple[list[Entry], list[str]]:
    """What is to be made, sorted by path, and notes on what is not.

    With a record: what it lists, each file checked against the archive.  Raises RecordError where the two differ,
    Unsupported for devices, which nobody should get from an archive.
    """
    entries = list(_recorded(unpacked, record)) if record else list(with_directories(unpacked.entries).values())
    for entry in entries:
        if entry.kind in (CHARACTER_DEVICE, BLOCK_DEVICE):
            raise Unsupported(
                "a device is not made out of an archive", path=entry.path, hint="leave it out of the archive"
            )
    bare = [_without_privileges(entry) for entry in entries]
    lost = sum(1 for was, now in zip(entries, bare, strict=True) if was != now)
    notes = [f"{lost} entries lost setuid or setgid bits, or attributes that give privileges"] if lost else []
    return sorted(bare), notes


def _without_privileges(entry: Entry) -> Entry:
    """Whoever made the archive shall not decide what runs as the user who imports it."""
    mode = entry.mode & ~_PRIVILEGES if entry.kind == FILE else entry.mode
    xattrs = tuple((name, value) for name, value in entry.xattrs if name.startswith(_HARMLESS_XATTRS))
    return entry._replace(mode=mode, xattrs=xattrs) if (mode, xattrs) != (entry.mode, entry.xattrs) else entry


def _recorded(unpacked: Unpacked, record: LockFile) -> Iterator[Entry]:
    left = dict(unpacked.entries)
    for entry in record.entries:
        there = left.pop(entry.path, None)
        if entry.kind == FILE:
            yield from _file(entry, there)
        else:
            _check_other(entry, there, complete=unpacked.complete)
            yield entry
    for path in sorted(left):
        if not (path == GIT_LINK and "git-link" in dict(record.headers)):
            raise RecordError("the archive holds something that its lock file does not list", path=path)


def _file(entry: Entry, there: Entry | None) -> Iterator[Entry]:
    if there is None and (entry.created or entry.mutable):
        return  # it came and went as it liked
    if there is None or there.kind != FILE:
        raise RecordError("the archive has no such file, which its lock file lists", path=entry.path)
    if entry.created and not there.size:
        return
    if there.sha256 != entry.sha256 and not entry.mutable:
        raise RecordError(
            f"it is not what was locked: sha256 {entry.sha256} expected, {there.sha256} seen", path=entry.path
        )
    yield entry._replace(size=there.size, sha256=there.sha256, created=False)


def _check_other(entry: Entry, there: Entry | None, *, complete: bool) -> None:
    """Something that is no file: it must be what was locked, or nothing where the archive has no word for it."""
    if there is None:
        if complete and entry.kind not in (SOCKET, DIRECTORY):
            raise RecordError("the archive lacks something that its lock file lists", path=entry.path)
    elif there.kind != entry.kind:
        raise RecordError("it is of another type than what was locked", path=entry.path)
    elif entry.kind == SYMLINK and there.target != entry.target:
        seen = os.fsdecode(there.target)
        raise RecordError(f"the symlink leads elsewhere than when it was locked: to {seen}", path=entry.path)
