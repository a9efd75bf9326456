"""`gitrun gc`."""

from __future__ import annotations

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._units import counted, human_size
from gitrun.names import display
from gitrun.results.gc import GcResult


@click.command("gc")
@click.argument("directories", metavar="[DIR]...", nargs=-1, shell_complete=complete_directories)
@click.option("--dry-run", is_flag=True, help="Only tell what would be dropped.")
@common_options
def command(directories: tuple[str, ...], dry_run: bool, common: Common) -> int:
    """Drop what nothing uses from the stores below DIRs (default: the store of the current directory).

    That is large files that no run refers to any more, and what interrupted commands left behind. No lock, past or
    present, loses anything.

    \b
    Examples:
      gitrun gc --dry-run     how much is there to gain here?
      gitrun gc ~/work        all stores below ~/work
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import stores
    from gitrun.ops.gc import gc
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> GcResult:
        return gc(task.path, dry_run=dry_run, settings=settings)

    return run_each(Verb("gc", work, show), stores(directories, settings), common)


def show(result: GcResult, console: Console) -> None:
    """`freed 1.2 GiB in /data/runs/.gitrun: 3 files dropped`."""
    where = display(result.path)
    if not result.removed:
        console.good(Painted("ok", "green"), f" {where}: nothing to drop")
        console.notes(result.notes)
        return
    verb, dropped = ("would free", "to drop") if result.dry_run else ("freed", "dropped")
    told = f" {human_size(result.freed_bytes)} in {where}: {counted(len(result.removed), 'file')} {dropped}"
    console.good(Painted(verb, "green"), told)
    if console.verbose:
        for path in result.removed:
            console.good(f"  {display(path)}")
    console.notes(result.notes)
