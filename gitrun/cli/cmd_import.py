"""`gitrun import`."""

from __future__ import annotations

import os

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._report import size, title
from gitrun.names import display
from gitrun.results.import_run import ImportResult


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path())
@click.argument("target", metavar="[DIR]", default="", shell_complete=complete_directories)
@click.option("-m", "--message", metavar="TEXT", default="", help="The first line of the commit.")
@common_options
def command(file: str, target: str, message: str, common: Common) -> int:
    """Make a locked run out of a bag or a tar archive.

    FILE is a bag (a directory) or a tar archive, compressed or not; - reads one from stdin. DIR must not exist; without
    it, it is what the archive calls the run. What `gitrun export` wrote comes back as it was locked, and is checked
    against its own lock file. Nothing outside DIR and its store is written, whatever the archive says.

    \b
    Examples:
      gitrun import train-7.tar            train-7, as it was locked
      gitrun import bag runs/7             a bag
      ssh there gitrun export --format tar runs/7 - | gitrun import -
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import Target
    from gitrun.ops.import_run import import_run
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> ImportResult:
        return import_run(file, target, message=message, jobs=task.jobs, settings=settings, progress=task.progress)

    return run_each(Verb("import", work, show), [Target(os.path.abspath(os.fsencode(target or file)))], common)


def show(result: ImportResult, console: Console) -> None:
    """The run, and where it is."""
    told = f" {title(result.path, result.run, result.label)}: {size(result.files, result.bytes)}"
    console.good(Painted("imported and locked", "green"), told)
    console.good(f"  {display(result.path)}")
    console.notes(result.notes)
