"""Finds what should not stay so below a directory: work that was interrupted, leftovers, copies in Guild's trash."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from gitrun.entry import LOCK_FILE
from gitrun.errors import GitrunError
from gitrun.fsio import TEMPORARY, read_file
from gitrun.lockfile import decode_headers
from gitrun.portable import portability
from gitrun.results.doctor import Trouble
from gitrun.search import Found, orphans
from gitrun.settings import Settings
from gitrun.store import AUTO_LOCK_FAILED, default_store, read_head
from gitrun.surroundings import look_around
from gitrun.walk import walk

_OLD = 3600
"""Seconds after which nobody is at work on a leftover any more."""
_SMALL = 4096


def find_troubles(directory: bytes, found: Found, settings: Settings) -> Iterator[Trouble]:
    """All troubles in and below `directory`, of which `found` has the runs and stores."""
    for run, repository in sorted(found.recorded.items()):
        yield from _interrupted(run, repository)
        yield from _configuration(run, repository)
    for run in orphans(found, directory, settings):
        yield Trouble(
            "orphaned", run, "the run directory is gone, its repository is here", f"gitrun restore {_told(run)}"
        )
    parents = {os.path.dirname(run) for run in (*found.runs, *found.recorded)} | {directory}
    for parent in sorted(parents):
        yield from _leftovers(parent)
        yield from _failed(parent)
    for run in found.runs:
        yield from _in_trash(run)


def find_unportable(found: Found) -> Iterator[Trouble]:
    """The names in all runs that another system would not keep.  Raises Unreadable for a run that cannot be listed."""
    for run in found.runs:
        for path, why in portability(node.path for node in walk(run) if node.path):
            yield Trouble("name", os.path.join(run, path), why, "rename it before the run is locked")


def _interrupted(run: bytes, repository: bytes) -> Iterator[Trouble]:
    if os.path.lexists(os.path.join(repository, b"gitrun", b"journal")):
        yield Trouble(
            "interrupted",
            run,
            "a lock, an unlock or a restore did not end",
            f"run it again, or gitrun unlock {_told(run)}; gitrun doctor --fix undoes or ends it",
        )


def _configuration(run: bytes, repository: bytes) -> Iterator[Trouble]:
    for finding in look_around(repository)[0]:
        where = os.path.join(repository, os.fsencode(finding.object))
        yield Trouble("config", where, finding.message, f"gitrun fsck --repair {_told(run)}")


def _leftovers(parent: bytes) -> Iterator[Trouble]:
    for name in _names(parent):
        path = os.path.join(parent, name)
        if name.startswith(TEMPORARY) and os.lstat(path).st_ctime < time.time() - _OLD:
            yield Trouble("leftover", path, "a gitrun that was killed left it", "gitrun doctor --fix removes it")


def _failed(parent: bytes) -> Iterator[Trouble]:
    top = os.path.join(default_store(parent + b"/run"), AUTO_LOCK_FAILED)
    for name in _names(top):
        run = os.path.join(parent, name)
        if os.path.isdir(run) and not os.path.lexists(os.path.join(run, LOCK_FILE)):
            why = (read_file(os.path.join(top, name), _SMALL) or b"").decode("utf-8", "replace").strip()
            yield Trouble(
                "auto-lock-failed", run, f"it was not locked when it ended: {why}", f"gitrun lock {_told(run)}"
            )


def _in_trash(run: bytes) -> Iterator[Trouble]:
    """A locked run in Guild's trash: Guild copied it there, could not remove the original, and cannot purge the copy."""
    trash, runs = os.path.split(os.path.dirname(run))
    if runs != b"runs" or os.path.basename(trash) != b"trash":
        return
    try:
        head = read_head(os.path.join(run, LOCK_FILE))
        run_id = decode_headers(head).get("run-id", "") if head else ""
    except GitrunError:
        return
    original = os.path.join(os.path.dirname(trash), b"runs", os.fsencode(run_id))
    if run_id:
        there = "a copy of a locked run that is still there" if os.path.isdir(original) else "a locked run in the trash"
        yield Trouble(
            "trash-copy", run, there, "gitrun doctor --fix makes it writable, then guild runs purge removes it"
        )


def _names(directory: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _told(path: bytes) -> str:
    return os.fsdecode(path)
