"""Moves what a lock gathered from the spool into the repository and the store's pool, durably."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress

from gitrun.fsio import make_directories, sync_directory, try_chmod
from gitrun.pack import FinishedPack
from gitrun.store import Place, object_path

_NO_LINKS = {errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV}


def publish_packs(place: Place, spool: bytes, finished: Iterable[FinishedPack]) -> None:
    """Moves finished packs into place; each index goes last, since git finds a pack by it."""
    assert place.repository is not None
    packs = os.path.join(place.repository, b"objects", b"pack")
    for pack in finished:
        for suffix in (b".pack", b".idx"):
            name = pack.name.encode() + suffix
            os.rename(os.path.join(spool, name), os.path.join(packs, name))
    sync_directory(packs)


def publish_objects(place: Place, spool: bytes, oids: Iterable[str]) -> int:
    """Moves LFS objects into the repository and hard-links them with the pool; what the pool has already is taken from it.

    Returns the bytes that this added to the store.
    """
    assert place.repository is not None
    added = 0
    touched: set[bytes] = set()
    for oid in oids:
        mine, pooled = object_path(place.repository, oid), object_path(place.store, oid)
        for path in (mine, pooled):
            make_directories(os.path.dirname(path))
        if _place(os.path.join(spool, oid.encode()), mine, pooled):
            added += os.path.getsize(mine)
        touched |= {os.path.dirname(mine), os.path.dirname(pooled)}
    for directory in touched:
        sync_directory(directory)
    return added


def share_objects(place: Place, oids: Iterable[str]) -> None:
    """Makes LFS objects that came into the repository by another way one file with those of the store's pool."""
    assert place.repository is not None
    for oid in oids:
        mine, pooled = object_path(place.repository, oid), object_path(place.store, oid)
        make_directories(os.path.dirname(pooled))
        if _is_copy(pooled, mine) and not os.path.samefile(pooled, mine):
            with suppress(FileNotFoundError):  # the lock of another run is replacing it just now
                os.link(pooled, mine + b"~", follow_symlinks=False)
                os.rename(mine + b"~", mine)
        _share(mine, pooled)
        sync_directory(os.path.dirname(pooled))


def _place(spooled: bytes, mine: bytes, pooled: bytes) -> bool:
    """Whether the object is new in the store.  What lies in the spool is whole; what lay in the store is looked at first."""
    if not os.path.lexists(spooled):
        return not (os.path.lexists(mine) or link_or_copy(pooled, mine))
    if _is_copy(pooled, spooled):
        with suppress(FileNotFoundError):
            os.unlink(mine)
        with suppress(FileNotFoundError):  # the lock of another run is replacing it just now
            return not link_or_copy(pooled, mine)
    os.rename(spooled, mine)
    _share(mine, pooled)
    return True


def _share(mine: bytes, pooled: bytes) -> None:
    """Gives the pool a name of an object that is whole, in the place of a damaged one, or leaves another whole one there.

    Locks of other runs do the same at the same time: no name stays as it was just seen.
    """
    while True:
        try:
            _link(mine, pooled)
            return
        except FileExistsError:
            if _is_copy(pooled, mine):
                return
        with suppress(FileNotFoundError):
            os.unlink(pooled)


def _is_copy(path: bytes, whole: bytes) -> bool:
    """Whether there is a file at `path` with the same bytes."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode) and filecmp.cmp(whole, path, shallow=False)
    except FileNotFoundError:
        return False


def _link(source: bytes, target: bytes) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def link_or_copy(source: bytes, target: bytes) -> bool:
    """Gives an object a second name; where the file system has no hard links, a copy, synced, read-only, and False."""
    if _link(source, target):
        return True
    with open(source, "rb") as reading, open(target, "xb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        try_chmod(writing.fileno(), 0o444)
        os.fsync(writing.fileno())
    return False
