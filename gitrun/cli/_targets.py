"""What the RUN and DIR arguments of a command line name."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gitrun import store
from gitrun.cli._failures import Failure, failure_of
from gitrun.errors import RunNotFound, UsageError, system_failed
from gitrun.search import orphans, search, search_beside_store
from gitrun.settings import Settings

_MANY = 8


class Target(NamedTuple):
    """One run (or store) to work on, or why an argument names none."""

    path: bytes
    """Absolute."""
    failure: Failure | None = None


def resolve(runs: Sequence[str], below: Sequence[str], settings: Settings, *, gone: bool = True) -> list[Target]:
    """The runs that RUN arguments and `--all` name, each once; the current directory when there are neither.

    An argument that names no run is a target with a failure, so that the others are still worked on; so is a
    directory that cannot be searched.  `gone`: `--all` also finds the runs whose directory is gone.
    """
    targets = [_attempt(run, settings) for run in runs or ([] if below else ["."])]
    for directory in below:
        targets.extend(_runs_below(directory, settings, gone))
    return list(dict.fromkeys(targets))


def resolve_one(run: str, settings: Settings) -> bytes:
    """The absolute path of the run that `run` names: a path, or a Guild run id or its beginning.

    Symlinks are resolved.  The directory may be gone, as long as its repository is there.  Raises RunNotFound, and
    UsageError for a beginning that several runs share.
    """
    path = os.path.join(os.getcwdb(), os.fsencode(run))
    if store.is_passing(path):
        return path  # resolved, it would look like any other place, and not be refused
    found = _stat(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        return os.path.realpath(path)
    if found is not None:
        raise RunNotFound("a run is a directory, and this is none", path=path, hint="name the directory of the run")
    return guild_run(run) or store.locate(path, settings).run


def _stat(path: bytes) -> os.stat_result | None:
    """What is at a path; None for nothing.  An I/O error is not nothing."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES):
            return None
        raise system_failed(error, "look at the run", path) from error


def runs_here(settings: Settings) -> list[Target]:
    """The runs of the store in the current directory; none where it has no store, or is itself a run."""
    here = os.getcwdb()
    found = search_beside_store(here, settings)
    return [Target(path) for path in sorted({*found.runs, *orphans(found, here, settings)})]


def stores(directories: Sequence[str], settings: Settings) -> list[Target]:
    """The stores below the directories; without any, the store of the current directory."""
    if not directories:
        return [_attempt_store(settings)]
    return list(dict.fromkeys(target for directory in directories for target in _stores_below(directory, settings)))


def _attempt(run: str, settings: Settings) -> Target:
    try:
        return Target(resolve_one(run, settings))
    except Exception as error:
        return Target(_absolute(run), failure_of(error, "find the run"))


def guild_run(prefix: str) -> bytes | None:
    """The absolute path of the Guild run whose id begins so; None for none.  Raises UsageError for several."""
    from gitrun.layouts.guild_home import find_home, find_runs

    home = find_home(os.environ, Path.cwd())
    found = find_runs(home, prefix) if home else []
    if len(found) > 1:
        names = ", ".join(run.name for run in found[:_MANY]) + (", and more" if len(found) > _MANY else "")
        raise UsageError(f"several runs begin with {prefix}: {names}", hint="give more of the run's id")
    return os.path.realpath(os.fsencode(found[0])) if found else None


def _runs_below(directory: str, settings: Settings, gone: bool) -> Iterator[Target]:
    try:
        top = _directory(directory)
    except Exception as error:
        yield Target(_absolute(directory), failure_of(error, "look for runs"))
        return
    found = search(top, settings)
    for unreadable in found.unreadable:
        yield Target(unreadable.path or top, failure_of(unreadable, "look for runs"))
    for run in sorted({*found.runs, *(orphans(found, top, settings) if gone else ())}):
        yield Target(run)


def _stores_below(directory: str, settings: Settings) -> list[Target]:
    try:
        top = _directory(directory)
        found = search(top, settings)
    except Exception as error:
        return [Target(_absolute(directory), failure_of(error, "look for stores"))]
    failed = [Target(it.path or top, failure_of(it, "look for stores")) for it in found.unreadable]
    if not found.stores and not failed:
        return [_no_store(top)]
    return failed + [Target(path) for path in found.stores]


def _attempt_store(settings: Settings) -> Target:
    try:
        here = os.getcwdb()
        beside = os.path.join(here, store.STORE_NAME)
        path = settings.store or (beside if os.path.isdir(beside) else store.locate(here, settings).store)
        return Target(path) if os.path.isdir(path) else _no_store(here)
    except Exception as error:
        return Target(_absolute("."), failure_of(error, "find the store"))


def _no_store(directory: bytes) -> Target:
    missing = RunNotFound("there is no store here", path=directory, hint="a store is made by the first `gitrun lock`")
    return Target(directory, failure_of(missing, "find the store"))


def _directory(directory: str) -> bytes:
    path = os.path.realpath(os.fsencode(directory))
    if not os.path.isdir(path):
        raise RunNotFound("there is no such directory", path=path)
    return path


def _absolute(path: str) -> bytes:
    try:
        return os.fsencode(os.path.abspath(path))
    except OSError:
        return os.fsencode(path)  # the current directory is gone
