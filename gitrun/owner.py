"""root locks a user's run: what it makes belongs to the user, who could not unlock otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from gitrun.entry import GIT_LINK, LOCK_FILE, full_path
from gitrun.store import Place


def owner_to_be(place: Place) -> tuple[int, int] | None:
    """User and group that what root restores must belong to: those of the run or, if it is gone, of its repository."""
    if os.geteuid() != 0:
        return None
    found = os.lstat(place.run if os.path.isdir(place.run) else place.repository or place.store)
    return found.st_uid, found.st_gid


def give_to_owner(place: Place) -> None:
    """Gives store, repository and lock file to the owner of the run; does nothing unless root works for somebody else."""
    if os.geteuid() != 0 or place.repository is None or not os.path.isdir(place.run):
        return
    run = os.lstat(place.run)
    if run.st_uid == 0:
        return
    own = [full_path(place.run, name) for name in (LOCK_FILE, GIT_LINK)]
    for path in (*own, *_store_paths(place.store, place.repository)):
        with suppress(FileNotFoundError):
            found = os.lstat(path)
            if found.st_uid == 0:
                os.chown(path, run.st_uid, run.st_gid, follow_symlinks=False)


def _store_paths(store: bytes, repository: bytes) -> Iterator[bytes]:
    yield store
    for top in (repository, os.path.join(store, b"lfs")):
        yield top
        for directory, names, files in os.walk(top):
            yield from (os.path.join(directory, name) for name in (*names, *files))
