"""`gitrun status`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import all_option, common_options, runs_argument
from gitrun.cli._table import Column, layout
from gitrun.cli._units import counted, human_age, human_size, human_time, short_id
from gitrun.names import display, display_text
from gitrun.results import DETACHED, INTERRUPTED, LOCKED, MODIFIED, ORPHANED
from gitrun.results.status import StatusResult

_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("LOCKED", weight=3),
    Column("FILES", right=True, weight=1),
    Column("SIZE", right=True, weight=2),
    Column("LABEL", weight=4, flexible=8),
)
_MORE_COLUMNS = (Column("PROTECTION"), Column("LOCKS", right=True), Column("PATH"))
_STATE = 1
_COLOURS = {LOCKED: "green", MODIFIED: "red", INTERRUPTED: "red", ORPHANED: "yellow", DETACHED: "yellow"}
_WORTH_A_PROCESS = 200


@click.command("status")
@runs_argument
@all_option
@common_options
def command(runs: tuple[str, ...], below: tuple[str, ...], common: Common) -> int:
    """Show where runs stand, a line each.

    The state is one of unlocked, locked, interrupted (a lock or unlock did not finish), orphaned (the repository is
    there, the run is gone) and detached (a copied run, without its repository). No content is read: whether a locked
    run still is what was locked, `gitrun verify` tells.

    Without RUN, in a directory that holds a store, all runs of that store are shown.

    \b
    Examples:
      gitrun status                  this run, or all runs of this directory
      gitrun status --all ~/work     every run below ~/work
      gitrun status -v runs/7        with protection, exact time and path
      gitrun status --json --all . | jq -r 'select(.state == "locked").path'
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve, runs_here
    from gitrun.ops.status import status
    from gitrun.settings import load

    settings = load()
    found: list[StatusResult] = []

    def work(task: Task) -> StatusResult:
        return status(task.path, settings=settings)

    def collect(result: StatusResult, console: Console) -> None:
        found.append(result)

    targets = ([] if runs or below else runs_here(settings)) or resolve(runs, below, settings)
    code = run_each(Verb("status", work, collect, share=_WORTH_A_PROCESS), targets, common)
    if found:
        show(found, Console(common), time.time())
    return code


def show(results: Sequence[StatusResult], console: Console, now: float) -> None:
    """The table, with titles where a person looks at it, and a line that sums up."""
    columns = _COLUMNS + (_MORE_COLUMNS if console.verbose else ())
    rows = [_row(result, now, verbose=console.verbose) for result in results]
    titles, *lines = layout(columns, rows, 0 if console.verbose else console.width)
    if console.width:
        console.good(Painted("  ".join(titles), "dim"))
    for result, line in zip(results, lines, strict=True):
        before, state, after = line[:_STATE], line[_STATE : _STATE + 1], line[_STATE + 1 :]
        painted = [Painted(cell, _COLOURS.get(result.state, "")) for cell in state]
        console.data(
            "  ".join([*before, ""]) if painted else "".join(before), *painted, "".join(f"  {cell}" for cell in after)
        )
    for result in results:
        console.notes(result.notes)
    console.note(_sum(results))


def _row(result: StatusResult, now: float, *, verbose: bool) -> list[str]:
    locked = human_time(result.locked_at) if verbose else human_age(result.locked_at, now)
    known = bool(result.locked_at or result.files)
    row = [
        short_id(result.run) or "-",
        result.state,
        locked,
        f"{result.files:,}" if known else "-",
        human_size(result.bytes) if known else "-",
        _label(result),
    ]
    return [*row, result.protection or "-", f"{result.locks:,}", display(result.path)] if verbose else row


def _label(result: StatusResult) -> str:
    """The label, and how the run ended unless it ended well."""
    label = display_text(result.label) or display(os.path.basename(result.path))
    return f"{label} [{result.outcome}]" if result.outcome not in ("", "completed") else label


def _sum(results: Sequence[StatusResult]) -> str:
    """`3 runs: 2 locked, read-only; 1 unlocked; 14 MiB`."""
    counts: dict[str, int] = {}
    for result in results:
        kind = f"{result.state}, {result.protection}" if result.protection else result.state
        counts[kind] = counts.get(kind, 0) + 1
    told = "; ".join(f"{number:,} {kind}" for kind, number in counts.items())
    return f"{counted(len(results), 'run')}: {told}; {human_size(sum(result.bytes for result in results))}"
