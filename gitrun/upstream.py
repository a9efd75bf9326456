"""Upstream runs: those that the symlinks of a run lead into, and the locks that they had when the run was locked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gitrun import layouts, store
from gitrun.entry import LOCK_FILE, SYMLINK
from gitrun.errors import GitrunError
from gitrun.layouts import plain
from gitrun.lockfile import LockFile
from gitrun.settings import Settings
from gitrun.standing import read_standing
from gitrun.store import Place
from gitrun.walk import Node

HEADER = "upstream"
_NONE = "-"


class Upstream(NamedTuple):
    """What a lock file says of one upstream run."""

    run: str
    """Its run id; empty where it had none yet."""
    commit: str
    """The lock that it had; empty where it was not locked."""
    path: bytes
    """Where it lay, seen from the run: relative where both had one parent, else absolute."""

    def encode(self) -> str:
        """The value of the header."""
        return f"{self.run or _NONE} {self.commit or _NONE} {quote_from_bytes(self.path)}"


def recorded(record: LockFile) -> list[Upstream]:
    """What a lock file says of all upstream runs; what does not follow the format is left out."""
    parts = [value.split(" ") for key, value in record.headers if key == HEADER]
    return [
        Upstream(run.removeprefix(_NONE), commit.removeprefix(_NONE), unquote_to_bytes(path))
        for run, commit, path in (part for part in parts if len(part) == 3)
    ]


def where(run: bytes, upstream: Upstream) -> bytes:
    """The absolute path of an upstream run."""
    return os.path.normpath(os.path.join(run, upstream.path))


def upstream_headers(run: bytes, nodes: Iterable[Node], settings: Settings) -> list[tuple[str, str]]:
    """What a lock file has to say of the upstream runs now."""
    return [(HEADER, _of(run, path, settings).encode()) for path in upstream_runs(run, nodes)]


def upstream_runs(run: bytes, nodes: Iterable[Node]) -> list[bytes]:
    """The directories of the runs that the symlinks among `nodes` lead into, sorted."""
    found: dict[bytes, bytes | None] = {}
    for node in nodes:
        if node.kind == SYMLINK:
            target = os.path.realpath(os.path.join(run, os.path.dirname(node.path), node.target))
            if not (target + b"/").startswith(run + b"/") and target not in found and os.path.lexists(target):
                found[target] = _run_around(target, run)
    return sorted({path for path in found.values() if path is not None})


def _run_around(path: bytes, run: bytes) -> bytes | None:
    """The nearest directory around `path` that is a run, and not one around `run` as well."""
    while path != os.path.dirname(path) and not (run + b"/").startswith(path + b"/"):
        if os.path.isdir(path) and _is_run(path):
            return path
        path = os.path.dirname(path)
    return None


def _is_run(path: bytes) -> bool:
    return (
        os.path.lexists(os.path.join(path, LOCK_FILE))
        or layouts.detect(Path(os.fsdecode(path))).NAME != plain.NAME
        or store.read_record(store.repository_path(store.default_store(path), os.path.basename(path))) is not None
    )


def _of(run: bytes, path: bytes, settings: Settings) -> Upstream:
    place = locate(path, settings)
    beside = os.path.dirname(path) == os.path.dirname(run)
    told = os.path.join(b"..", os.path.basename(path)) if beside else path
    return Upstream(place.run_id if place else "", lock_of(place), told)


def locate(path: bytes, settings: Settings) -> Place | None:
    """The place of an upstream run; None where it is gone, or no run can be there."""
    directory = Path(os.fsdecode(path))
    try:
        return store.locate(path, settings, layouts.detect(directory).run_id(directory) or "")
    except GitrunError:
        return None


def lock_of(place: Place | None) -> str:
    """The commit of the lock that stands; empty for none, or for one whose record is damaged."""
    if place is None or place.repository is None:
        return ""
    try:
        tag = read_standing(place).tag
    except GitrunError:
        return ""
    return tag.commit if tag else ""
