"""`gitrun clone`."""

from __future__ import annotations

import os

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._report import size, title
from gitrun.names import display
from gitrun.results.clone import CloneResult


@click.command("clone")
@click.argument("remote", metavar="REMOTE")
@click.argument("run_id", metavar="RUN_ID")
@click.argument("target", metavar="[DIR]", default="", shell_complete=complete_directories)
@click.option("--upstream", is_flag=True, help="Clone the runs that it links to, too, and theirs.")
@common_options
def command(remote: str, run_id: str, target: str, upstream: bool, common: Common) -> int:
    """Bring a run from a remote: the same bytes, permissions and times, locked and verified.

    RUN_ID is its id there, or the beginning of it; `gitrun remote` lists them. DIR must not exist; without it a Guild run
    goes into the Guild home, and another one into the current directory. Everything is checked before it has a name here.

    \b
    Examples:
      gitrun clone /backup/runs.git train-7-3f2a1b4c
      gitrun clone https://git.example/team/runs.git 3f2a1b4c runs/7
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import Target
    from gitrun.ops.clone import clone
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> CloneResult:
        return clone(remote, run_id, target, upstream=upstream, settings=settings, progress=task.progress)

    where = Target(os.path.abspath(os.fsencode(target or run_id)))
    return run_each(Verb("clone", work, show), [where], common)


def show(result: CloneResult, console: Console) -> None:
    """The run, and where it is."""
    console.good(
        Painted("cloned", "green"),
        f" {title(result.path, result.run)}: {size(result.files, result.bytes)}, locked and verified",
    )
    console.good(f"  {display(result.path)}")
    console.notes(result.notes)
