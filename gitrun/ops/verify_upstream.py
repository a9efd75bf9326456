"""verify --upstream: the runs that a run was made from, and those that they were made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gitrun.errors import DifferencesFound, GitrunError
from gitrun.guard import guarded
from gitrun.lockfile import LockFile
from gitrun.ops._context import Context, context
from gitrun.ops.verify import verify_here
from gitrun.progress import Progress
from gitrun.results.verify import UpstreamVerdict, VerifyResult
from gitrun.standing import read_standing
from gitrun.upstream import Upstream, locate, lock_of, recorded, where


def with_upstream(
    here: Context, result: VerifyResult, *, quick: bool, strict: bool, jobs: int, progress: Progress
) -> VerifyResult:
    """The verdict, with that on each upstream run that a lock in the chain names."""

    def judged(path: bytes, expected: str) -> tuple[str, str]:
        """What became of the run at `path`, and its lock now."""
        place = locate(path, here.settings)
        if place is None or not place.exists:
            return "gone", lock_of(place)
        actual = lock_of(place)
        if not actual or not expected:
            return ("unlocked" if expected else "unrecorded"), actual
        if actual != expected:
            return "relocked", actual
        with guarded(place, shared=True):
            verdict = verify_here(
                context(path, here.settings), quick=quick, strict=strict, jobs=jobs, progress=progress
            )
        return ("ok" if verdict.ok else "modified"), actual

    found = []
    for of, path, upstream in _chain(here, {here.place.run}):
        kind, actual = judged(path, upstream.commit)
        found.append(
            UpstreamVerdict(run=upstream.run, path=path, of=of, kind=kind, expected=upstream.commit, actual=actual)
        )
    bad = any(not it.ok for it in found)
    return replace(
        result,
        upstream=tuple(found),
        ok=result.ok and not bad,
        exit=max(result.exit, DifferencesFound.exit_code if bad else 0),
    )


def _chain(here: Context, seen: set[bytes]) -> Iterator[tuple[str, bytes, Upstream]]:
    """Every upstream run that a standing lock names, nearest first: whose it is, where it lies, what was recorded."""
    record = _record(here)
    nearest = [(record.run_id, where(here.place.run, it), it) for it in recorded(record)] if record else []
    for told in nearest:
        if told[1] not in seen:
            seen.add(told[1])
            yield told
            yield from _chain(_context(told[1], here), seen)


def _context(path: bytes, here: Context) -> Context:
    place = locate(path, here.settings)
    return replace(here, place=place) if place else replace(here, place=replace(here.place, run=path, repository=None))


def _record(here: Context) -> LockFile | None:
    try:
        return read_standing(here.place).record
    except (GitrunError, OSError):
        return None  # it is told of as unlocked or gone
