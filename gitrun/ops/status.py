"""status: where a run stands, from a few small files; no content is read."""

from __future__ import annotations

import os

from gitrun import statrecord
from gitrun.entry import WRITE_BITS
from gitrun.errors import RecordError
from gitrun.lockfile import decode_headers
from gitrun.ops._context import Context, RunArgument, context
from gitrun.protection import protection
from gitrun.repo import RunRepo, Tag
from gitrun.results import DETACHED, INTERRUPTED, LOCKED, MODIFIED, ORPHANED, UNLOCKED
from gitrun.results.status import StatusResult
from gitrun.settings import Settings
from gitrun.store import read_head


def status(run: RunArgument, *, settings: Settings | None = None) -> StatusResult:
    """The state of a run: unlocked, locked, locked+modified (as the last verify found), interrupted, orphaned, detached.

    Cheap for thousands of runs.  Raises RunNotFound, and RecordError when the repository cannot be read at all.
    """
    return status_here(context(run, settings))


def status_here(here: Context) -> StatusResult:
    """The state of a run whose context is known."""
    place = here.place
    if place.repository is None:
        return _without_repository(here)
    with RunRepo(place.repository) as repo:
        tag = repo.tag()
        locks = len(repo.archived()) + (tag is not None)
        headers = _headers(here) if place.exists else _stored_headers(repo, tag)
    return StatusResult(
        run=place.run_id,
        path=place.run,
        state=_state(here, tag),
        label=here.label,
        layout=here.layout.NAME if place.exists else headers.get("layout", ""),
        outcome=here.layout.outcome(here.directory) if place.exists else "",
        commit=tag.commit if tag else "",
        files=_number(headers, "files"),
        bytes=_number(headers, "bytes"),
        locked_at=tag.when if tag else 0,
        protection=_protection(here) if tag and place.exists else "",
        locks=locks,
    )


def _without_repository(here: Context) -> StatusResult:
    headers = _headers(here)
    return StatusResult(
        run=headers.get("run-id", here.place.run_id),
        path=here.place.run,
        state=DETACHED if headers else UNLOCKED,
        label=here.label,
        layout=here.layout.NAME,
        outcome=here.layout.outcome(here.directory),
        files=_number(headers, "files"),
        bytes=_number(headers, "bytes"),
        protection=_protection(here) if headers else "",
    )


def _stored_headers(repo: RunRepo, tag: Tag | None) -> dict[str, str]:
    """The headers of an orphan's lock file, which only the repository has."""
    try:
        return decode_headers(repo.lock_file(tag.commit)) if tag else {}
    except RecordError:
        return {}


def _headers(here: Context) -> dict[str, str]:
    """The lock file's headers; empty where there is none that can be read: `verify` is there to complain."""
    data = read_head(here.place.lock_file)
    try:
        return decode_headers(data) if data else {}
    except RecordError:
        return {}


def _number(headers: dict[str, str], key: str) -> int:
    value = headers.get(key, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0


def _state(here: Context, tag: Tag | None) -> str:
    if os.path.lexists(here.place.own(b"journal")):
        return INTERRUPTED
    if not here.place.exists:
        return ORPHANED
    if tag is None:
        return UNLOCKED
    known = statrecord.load(here.place, stats=False)
    return MODIFIED if known and known.digest == tag.digest and not known.ok else LOCKED


def _protection(here: Context) -> str:
    """Judged by the run directory alone; `verify` looks at every entry."""
    return protection(here.place.run, lambda: bool(os.lstat(here.place.run).st_mode & WRITE_BITS))
