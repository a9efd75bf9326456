"""Runs a verb over its targets: all of them, several at a time where that pays, each outcome told in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from gitrun.cli._console import Common, Console
from gitrun.cli._failures import Failure, failure_of
from gitrun.cli._targets import Target
from gitrun.errors import Interrupted, RunNotFound, SystemFailed
from gitrun.progress import SILENT, Progress
from gitrun.results import path_json

if TYPE_CHECKING:
    from gitrun.cli._progress import TerminalProgress

_NONE_FOUND = "plain directories are never guessed: name them, as in `gitrun lock DIR/*`"


class Outcome(Protocol):
    """What every verb returns for one run."""

    @property
    def exit(self) -> int:
        """The exit code that it asks for."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""


Result = TypeVar("Result", bound=Outcome)
_Outcomes: TypeAlias = Generator["Result | Failure", None, None]


class Task(NamedTuple):
    """What a verb gets to work on one run."""

    path: bytes
    jobs: int
    """Processes it may use; 0: as it likes."""
    progress: Progress


@dataclass(frozen=True)
class Verb(Generic[Result]):
    """A verb as the runner sees it."""

    name: str
    work: Callable[[Task], Result]
    show: Callable[[Result, Console], None]
    share: int = 1
    """So many runs at least are worth a process."""
    paged: bool = False
    """What it shows may be long, and goes through the user's pager."""


def run_each(verb: Verb[Result], targets: Sequence[Target], common: Common) -> int:
    """Does the work of `verb` on all targets and tells each outcome; the highest exit code.

    Interrupted, it tells which run it was at, and returns 130, 143 or 129.
    """
    console = Console(common)
    worst = done = 0
    if not targets:
        return _tell(failure_of(RunNotFound("no runs found", hint=_NONE_FOUND), verb.name), b"", console)
    with closing(_outcomes(verb, targets, console)) as outcomes, console.paged() if verb.paged else nullcontext():
        try:
            for outcome in outcomes:
                worst = max(worst, outcome.exit)  # before it is shown, which a reader may cut short
                _show(verb, outcome, targets[done].path, console)
                done += 1
        except (KeyboardInterrupt, Interrupted) as stop:
            failure = failure_of(stop, verb.name, debug=common.debug)
            return _tell(failure, targets[min(done, len(targets) - 1)].path, console)
    return worst


def _outcomes(verb: Verb[Result], targets: Sequence[Target], console: Console) -> _Outcomes[Result]:
    shares = len(targets) // verb.share
    if shares <= 1 or console.common.jobs == 1:
        return _one_by_one(verb, targets, console)
    from gitrun.parallel import cpu_count

    jobs = console.common.jobs or cpu_count()
    workers = min(jobs, shares)
    if workers == 1:
        return _one_by_one(verb, targets, console)
    return _several_at_once(verb, targets, console, workers, max(1, jobs // workers))


def _one_by_one(verb: Verb[Result], targets: Sequence[Target], console: Console) -> _Outcomes[Result]:
    for target in targets:
        with shown_progress(console) as progress:
            outcome = _attempt(verb, target, progress or SILENT, console.common)
        yield outcome


def _several_at_once(
    verb: Verb[Result], targets: Sequence[Target], console: Console, workers: int, jobs: int
) -> _Outcomes[Result]:
    from gitrun.cli._pool import fork_each

    common = console.common._replace(jobs=jobs)

    def work(index: int) -> Result | Failure:
        return _attempt(verb, targets[index], SILENT, common)

    with (
        closing(fork_each(work, len(targets), workers=workers, lost=_lost)) as outcomes,
        shown_progress(console) as bar,
    ):
        if bar:
            bar.stage(verb.name, len(targets), "runs")
        for outcome in outcomes:
            if bar:
                bar.clear()
            yield outcome
            if bar:
                bar.advance(1)


def shown_progress(console: Console) -> AbstractContextManager[TerminalProgress | None]:
    """A bar, where one is wanted."""
    if not console.shows_progress:
        return nullcontext()
    from gitrun.cli._progress import TerminalProgress

    return TerminalProgress()


def _attempt(verb: Verb[Result], target: Target, progress: Progress, common: Common) -> Result | Failure:
    if target.failure is not None:
        return target.failure
    try:
        return verb.work(Task(target.path, common.jobs, progress))
    except Interrupted:
        raise
    except Exception as error:
        return failure_of(error, verb.name, debug=common.debug)


def _lost(status: int) -> Failure:
    how = f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended"
    return failure_of(SystemFailed(f"the process that worked on it was {how}", hint="out of memory? try -j 1"), "work")


def _show(verb: Verb[Result], outcome: Result | Failure, path: bytes, console: Console) -> None:
    if isinstance(outcome, Failure):
        _tell(outcome, path, console)
    elif console.common.json:
        console.json(outcome.to_dict())
    else:
        verb.show(outcome, console)


def _tell(failure: Failure, path: bytes, console: Console) -> int:
    if console.common.json:
        console.json(failure_json(failure, path))
        console.traceback(failure)
    else:
        console.failure(failure, path or None)
    return failure.exit


def failure_json(failure: Failure, path: bytes) -> dict[str, Any]:
    """The JSON object of a run that something went wrong with."""
    from gitrun.names import display_text

    run, state = _identity(path) if path else ("", "unknown")
    where = {} if failure.path is None else path_json(failure.path)
    error = {"code": failure.code, "message": display_text(failure.message), "path": "", **where}
    error["hint"] = display_text(failure.hint)
    return {"run": run, **path_json(path), "state": state, "exit": failure.exit, "error": error}


def _identity(path: bytes) -> tuple[str, str]:
    """Run id and state, as far as they can be told: a failure is told in any case."""
    try:
        from gitrun.ops.status import status

        found = status(path)
    except Exception:  # whatever is wrong with the run: another failure is being told already
        return "", "unknown"
    return found.run, found.state
