"""`gitrun log`."""

from __future__ import annotations

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, runs_argument
from gitrun.cli._report import differences, kinds, size, title
from gitrun.cli._units import counted, human_time
from gitrun.results import LOCKED
from gitrun.results.log import LockedAt, LogResult

_SHORT = 7
_LISTED = 40
"""So many changed paths of one lock are listed without -v."""


@click.command("log")
@runs_argument
@click.option("--stat", is_flag=True, help="List what each lock changed.")
@click.option(
    "-n",
    "--max-count",
    metavar="N",
    type=click.IntRange(min=1),
    default=None,
    help="At most so many locks (default: all).",
)
@common_options
def command(runs: tuple[str, ...], stat: bool, max_count: int | None, common: Common) -> int:
    """Show the locks of runs, newest first.

    Each with its commit, when, by whom, and what it changed against the lock before. A run that is unlocked, or whose
    directory is gone, has its history still. Plain `git log` inside a locked run shows the same commits.

    \b
    Examples:
      gitrun log runs/7              when was it locked, and what changed?
      gitrun log --stat -n 1         what did the last lock change?
      gitrun log --json runs/7 | jq '.locks[0].commit'
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.log import log
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> LogResult:
        return log(task.path, max_count=max_count or 0, settings=settings)

    def tell(result: LogResult, console: Console) -> None:
        show(result, console, stat=stat)

    return run_each(Verb("log", work, tell, paged=True), resolve(runs, (), settings), common)


def show(result: LogResult, console: Console, *, stat: bool) -> None:
    """The run and where it stands, then a paragraph for each lock."""
    colour = "green" if result.state == LOCKED else "yellow"
    console.data(f"{title(result.path, result.run, result.label)}: ", Painted(result.state, colour))
    known = result.run
    for lock in result.locks:
        if lock.run != known:
            console.data(f"forked from {lock.run}:")
            known = lock.run
        _show_lock(lock, console, stat=stat)
    console.notes(result.notes)


def _show_lock(lock: LockedAt, console: Console, *, stat: bool) -> None:
    commit = lock.commit if console.verbose else lock.commit[:_SHORT]
    author = lock.author if console.verbose else lock.author.partition(" <")[0]
    standing = [Painted("  locked now", "green")] if lock.standing else []
    head = f"lock {lock.number}  ", Painted(commit, "yellow"), f"  {human_time(lock.locked_at)}  {author}"
    console.data(*head, *standing)
    console.data(f"    {lock.subject}")
    console.data(f"    {size(lock.files, lock.bytes)}{_changed(lock)}")
    if console.verbose and lock.ref:
        console.data(f"    {lock.ref}")
    if stat:
        shown = lock.changes if console.verbose else lock.changes[:_LISTED]
        for line in differences(shown, verbose=console.verbose, indent="      "):
            console.data(line)
        if len(shown) < len(lock.changes):
            console.data(f"      and {counted(len(lock.changes) - len(shown), 'more path')}: -v lists them all")


def _changed(lock: LockedAt) -> str:
    if lock.changes:
        return f"; {kinds(lock.changes)} since lock {lock.number - 1}"
    return f"; nothing changed since lock {lock.number - 1}" if lock.number > 1 else ""
