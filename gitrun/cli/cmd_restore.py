"""`gitrun restore`."""

from __future__ import annotations

import os
import sys

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, run_argument
from gitrun.cli._report import command as command_line
from gitrun.cli._report import differences, size, title
from gitrun.cli._units import counted
from gitrun.results.restore import RestoreResult


@click.command("restore")
@run_argument
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--clean", is_flag=True, help="Also remove files that were not locked, after asking.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common_options
def command(run: str, paths: tuple[str, ...], dry_run: bool, clean: bool, yes: bool, common: Common) -> int:
    """Put back what differs from the lock.

    Content, type, permissions and times become what was locked. Of a run that is gone, everything is put back. PATHs
    are relative to the run; a directory means all in it. Files that were added stay, and are named, unless --clean.
    Mutable files (labels, tags and comments of Guild) are put back only when named.

    \b
    Examples:
      gitrun restore --dry-run runs/7        what would change?
      gitrun restore runs/7                  all that differs
      gitrun restore runs/7 metrics.json     one file
      gitrun restore runs/7 --clean          and remove what was added
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.restore import restore
    from gitrun.settings import load

    settings = load()
    targets = resolve([run], [], settings)

    def work(task: Task) -> RestoreResult:
        names = [_inside(task.path, name) for name in paths]
        if clean and not dry_run and not yes:
            ask(restore(task.path, names, dry_run=True, clean=True, jobs=task.jobs, settings=settings))
        return restore(
            task.path,
            names,
            dry_run=dry_run,
            clean=clean,
            jobs=task.jobs,
            settings=settings,
            progress=task.progress,
        )

    return run_each(Verb("restore", work, show), targets, common)


def ask(planned: RestoreResult) -> None:
    """Returns when the user agrees to what would be removed; raises UsageError, or Interrupted, otherwise."""
    from gitrun.errors import Interrupted, UsageError

    if not planned.removed:
        return
    console = Console(Common())
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nobody is here to agree to the removal of files", path=planned.path, hint="add --yes")
    console.note(f"{counted(len(planned.removed), 'entry')} would be removed:")
    for line in differences(planned.removed, verbose=False):
        console.note(line)
    if not click.confirm("Remove?", default=False, err=True):
        raise Interrupted("nothing was done", path=planned.path, hint="without --clean, added files stay")


def show(result: RestoreResult, console: Console) -> None:
    """What was put back, what was removed, and what was left alone."""
    name = title(result.path, result.run)
    verb = "would restore" if result.dry_run else "restored"
    if not result.restored and not result.exit:
        console.good(Painted("ok", "green"), f" {name}: nothing to restore")
    else:
        # Of a run that is gone, every single entry is missing.
        whole = any(not difference.path and difference.kind == "deleted" for difference in result.restored)
        told = "the whole run" if whole else counted(len(result.restored), "entry")
        wrote = "" if result.dry_run else f" ({size(result.files, result.bytes)} written)"
        console.good(Painted(verb, "yellow" if result.dry_run else "green"), f" {name}: {told}{wrote}")
        for line in differences(() if whole and not console.verbose else result.restored, verbose=console.verbose):
            console.good(line)
    _show_added(result, console)
    console.notes(result.notes, failed=result.exit != 0)


def _show_added(result: RestoreResult, console: Console) -> None:
    if result.removed:
        console.good(f"{'would remove' if result.dry_run else 'removed'}: {counted(len(result.removed), 'entry')}")
        for line in differences(result.removed, verbose=console.verbose):
            console.good(line)
    if result.kept:
        console.good(f"not in the lock, and left alone: {counted(len(result.kept), 'entry')}")
        for line in differences(result.kept, verbose=console.verbose):
            console.good(line)
        console.hint(f"{command_line('restore', result.path, '--clean')} removes them")


def _inside(run: bytes, name: str) -> bytes:
    """A path relative to the run, of one that may be absolute."""
    path = os.fsencode(name)
    below = os.path.join(run, b"")
    return path[len(below) :] if path.startswith(below) else path
