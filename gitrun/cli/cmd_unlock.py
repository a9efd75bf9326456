"""`gitrun unlock`."""

from __future__ import annotations

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import all_option, common_options, runs_argument
from gitrun.cli._report import command as command_line
from gitrun.cli._report import differences, kinds, title
from gitrun.cli._units import counted
from gitrun.results.unlock import UnlockResult


@click.command("unlock")
@runs_argument
@all_option
@common_options
def command(runs: tuple[str, ...], below: tuple[str, ...], common: Common) -> int:
    """Make runs writable again.

    Every permission bit becomes what it was before the lock, and `.gitrun.lock` is removed. The history stays in the
    repository: the run can be locked again, and what was locked can still be restored. A run that an interrupted lock
    left behind is cleaned up.

    \b
    Examples:
      gitrun unlock                 the run in the current directory
      gitrun unlock runs/7 runs/8
      gitrun unlock --all runs      every locked run below runs/
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.unlock import unlock
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> UnlockResult:
        return unlock(task.path, settings=settings, progress=task.progress)

    return run_each(Verb("unlock", work, show), resolve(runs, below, settings, gone=False), common)


def show(result: UnlockResult, console: Console) -> None:
    """`unlocked train (3f2a1b4c): 61 files are writable again`, and what had been changed under the lock."""
    name = title(result.path, result.run)
    files = f"{counted(result.files, 'file')} {'has its' if result.files == 1 else 'have their'} permissions back"
    console.good(Painted("unlocked", "green"), f" {name}: {files}")
    if result.differences:
        console.data(Painted("changed", "yellow"), f" while it was locked: {kinds(result.differences)}")
        for line in differences(result.differences, verbose=console.verbose):
            console.data(line)
        console.hint(f"{command_line('restore', result.path, '--dry-run')} tells what the lock had")
    console.notes(result.notes)
