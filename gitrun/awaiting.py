"""Which runs await a lock: those that have ended and were never locked, or have run again since."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from gitrun import journal
from gitrun.errors import NotLocked
from gitrun.fsio import Beneath, read_exactly
from gitrun.layouts.base import Layout
from gitrun.standing import read_newest
from gitrun.store import Place

_SMALL = 4096


def awaits_lock(place: Place, layout: Layout, directory: Path) -> bool:
    """Whether a run that its tool is done with is to be locked without being asked for.

    One that somebody unlocked stays so until its tool has run it again.  A lock that was interrupted is to be finished.
    Raises RecordError for a history that is damaged.
    """
    if not place.exists or layout.activity(directory):
        return False
    if journal.is_begun(place):
        return True
    if os.path.lexists(place.lock_file):
        return False
    if place.repository is None:
        return True
    try:
        record = read_newest(place).record
    except NotLocked:  # a fork, which waits to be run
        return any(os.path.lexists(os.path.join(place.run, path)) for path in layout.attempt())
    known = {entry.path: entry.sha256 for entry in record.entries}
    return any(_digest(place.run, path) != known.get(path, "") for path in layout.attempt())


def _digest(run: bytes, path: bytes) -> str:
    """The SHA-256 of a small file; empty where there is none."""
    try:
        with Beneath(run) as beneath:
            fd = beneath.open(path)
    except OSError:
        return ""
    try:
        return sha256(read_exactly(fd, _SMALL)).hexdigest()
    finally:
        os.close(fd)
