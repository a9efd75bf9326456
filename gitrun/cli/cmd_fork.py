"""`gitrun fork`."""

from __future__ import annotations

import click

from gitrun.cli._console import Common, Console
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._report import size, title
from gitrun.cli._units import short_id
from gitrun.names import display
from gitrun.results.fork import ForkResult


@click.command("fork")
@click.argument("run", metavar="RUN", shell_complete=complete_directories)
@click.argument("new", metavar="[NEWDIR]", default="", shell_complete=complete_directories)
@click.option("--inplace", is_flag=True, help="Unlock RUN itself instead: its files will be written over.")
@common_options
def command(run: str, new: str, inplace: bool, common: Common) -> int:
    """Make a new, writable run out of a locked one, which stays as it is.

    The fork has the content, permissions and times of RUN's newest lock, shares no file with it (reflinks or copies),
    and its history goes on from that lock. A fork of a Guild run gets an id of its own, and NEWDIR may be left out;
    `guild run --restart` then runs the fork.

    \b
    Examples:
      gitrun fork runs/7 runs/8      go on from run 7, in a new run 8
      gitrun diff --origin runs/8    what has changed since?
      gitrun fork 3f2a1b4c           a Guild run
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.fork import fork
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> ForkResult:
        return fork(task.path, new, inplace=inplace, settings=settings, progress=task.progress)

    return run_each(Verb("fork", work, show), resolve((run,), (), settings), common)


def show(result: ForkResult, console: Console) -> None:
    """The new run, and where it came from."""
    told = size(result.files, result.bytes)
    if result.run == result.origin:
        console.good(f"unlocked {title(result.path, result.run)}: {told}, writable, to be run again in place")
        console.notes(result.notes)
        return
    console.good(f"forked {title(result.path, result.run)} from {short_id(result.origin)}: {told}, writable")
    console.good(f"  {display(result.path)}")
    console.notes(result.notes)
