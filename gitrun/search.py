"""Finds the runs and stores below a directory.

A run is a directory that the layout of some tool recognises, or one that has a record: a repository, or a lock file.
Plain directories are never guessed.  Neither runs nor stores are searched, and no symlink is followed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from gitrun import store
from gitrun.entry import LOCK_FILE
from gitrun.errors import SystemFailed, system_failed
from gitrun.layouts import detect, plain
from gitrun.settings import Settings


@dataclass(slots=True)
class Found:
    """What a search has found so far."""

    runs: list[bytes] = field(default_factory=list)
    stores: list[bytes] = field(default_factory=list)
    unreadable: list[SystemFailed] = field(default_factory=list)
    """Directories that could not be listed, below which runs may have been missed."""
    recorded: dict[bytes, bytes] = field(default_factory=dict)
    """The repositories met, by the path of the run that each was made for, which may be gone."""


def search(directory: bytes, settings: Settings) -> Found:
    """All runs and stores in and below `directory` (absolute, real), sorted."""
    found = Found()
    _record(found, settings.store or store.default_store(directory))
    waiting = [directory]
    while waiting:
        waiting.extend(_look_into(waiting.pop(), found, settings))
    return Found(sorted(found.runs), sorted(found.stores), found.unreadable, found.recorded)


def search_beside_store(directory: bytes, settings: Settings) -> Found:
    """The runs directly in `directory`, if it holds a store and is no run; else nothing."""
    found = Found()
    for place in (store.default_store(directory), settings.store or os.path.join(directory, store.STORE_NAME)):
        _record(found, place)
    if _is_run(directory, found) or not any(os.path.dirname(run) == directory for run in found.recorded):
        return Found()
    found.runs = sorted(path for path in _subdirectories(directory, found) if _is_run(path, found))
    found.recorded = {run: it for run, it in found.recorded.items() if os.path.dirname(run) == directory}
    return found


def orphans(found: Found, directory: bytes, settings: Settings) -> list[bytes]:
    """Where the runs in and below `directory` were whose repositories are there, and they themselves are gone."""
    below = os.path.join(directory, b"")
    gone = {run: it for run, it in found.recorded.items() if (run + b"/").startswith(below) and not os.path.isdir(run)}
    if gone:
        # A run that was renamed still has its repository, which tells its old place.
        moved = [run for run in found.runs if run not in found.recorded]
        claimed = {store.locate(run, settings).repository for run in moved}
        gone = {run: repository for run, repository in gone.items() if repository not in claimed}
    return sorted(gone)


def _look_into(path: bytes, found: Found, settings: Settings) -> list[bytes]:
    """Sorts `path` in; the directories in it that remain to be looked into."""
    if os.path.basename(path) == store.STORE_NAME or path == settings.store:
        found.stores.append(path)
        return []
    if _is_run(path, found):
        found.runs.append(path)
        return []
    children = _subdirectories(path, found)
    beside = os.path.join(path, store.STORE_NAME)
    if beside in children:
        _record(found, beside)
    return children


def _is_run(path: bytes, found: Found) -> bool:
    if path in found.recorded or os.path.lexists(os.path.join(path, LOCK_FILE)):
        return True
    return detect(Path(os.fsdecode(path))).NAME != plain.NAME


def _subdirectories(path: bytes, found: Found) -> list[bytes]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        found.unreadable.append(system_failed(error, "look for runs", path))
        return []


def _record(found: Found, path: bytes) -> None:
    for repository in store.repositories(path):
        run = store.run_path(repository)
        if run is not None:
            found.recorded.setdefault(run, repository)
