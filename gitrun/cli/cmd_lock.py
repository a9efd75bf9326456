"""`gitrun lock`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import all_option, common_options, runs_argument
from gitrun.cli._report import size, title
from gitrun.cli._units import human_size, human_time
from gitrun.errors import GitrunError
from gitrun.names import display
from gitrun.results.lock import LockResult

if TYPE_CHECKING:
    from gitrun.cli._targets import Target
    from gitrun.copier import Link
    from gitrun.settings import Settings


@click.command("lock")
@runs_argument
@all_option
@click.option("-m", "--message", default="", metavar="TEXT", help="Why: goes into the commit.")
@click.option(
    "--link",
    type=click.Choice(["auto", "copy", "reflink", "hardlink", "none"]),
    default="auto",
    show_default=True,
    help="How large files get into the store: `auto` shares blocks where the file system can, else copies; `hardlink` "
    "saves the space, but a forced edit then damages both; `none` keeps only their digests.",
)
@click.option(
    "--large-threshold",
    metavar="SIZE",
    help="Files from this size on are kept by git-lfs: 512K, 1MiB (default), 1048576.",
)
@click.option("--force", is_flag=True, help="Lock a run that seems to be active.")
@click.option("--immutable", is_flag=True, help="Also set the file system's immutable flag (needs the right to).")
@click.option("--upstream", is_flag=True, help="Lock the runs that this one links to first, and theirs before them.")
@click.option(
    "--finished",
    is_flag=True,
    help="Only runs that have ended and were never locked, or have run again since; without RUN those of the Guild home.",
)
@click.option(
    "--reseal", is_flag=True, help="Give a locked run its read-only permissions back, if nothing else changed."
)
@click.option(
    "--vscode",
    type=click.Choice(["user", "workspace"]),
    help="Also have VS Code open files without write permission as read-only, in these settings.",
)
@common_options
def command(
    runs: tuple[str, ...],
    below: tuple[str, ...],
    message: str,
    link: Link,
    large_threshold: str | None,
    force: bool,
    immutable: bool,
    upstream: bool,
    finished: bool,
    reseal: bool,
    vscode: str | None,
    common: Common,
) -> int:
    """Seal runs.

    Every file is stored and hashed, the whole is committed and tagged in the run's own git repository, a list of all
    hashes is put into the run as `.gitrun.lock`, and write permission is taken away. "locked" means that it survives a
    power cut. A run that is still being written is refused; a run that is locked and untouched is left as it is.

    \b
    Examples:
      gitrun lock                             the run in the current directory
      gitrun lock -m "as published" runs/7    with a reason
      gitrun lock 3f2a1b4c                    a Guild run, by part of its id
      gitrun lock --all ~/.guild/runs         every finished Guild run
      gitrun lock --link none runs/big        digests only, no second copy
      gitrun lock --finished -q               what has ended, in Guild's home
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.lock import lock
    from gitrun.settings import load, parse_size

    settings = load()
    threshold = None if large_threshold is None else parse_size(large_threshold)

    def work(task: Task) -> LockResult:
        return lock(
            task.path,
            message=message,
            link=link,
            large_threshold=threshold,
            force=force,
            immutable=immutable,
            upstream=upstream,
            reseal=reseal,
            jobs=task.jobs,
            settings=settings,
            progress=task.progress,
        )

    if vscode is not None:
        _turn_on_vscode(vscode, common)
    if not finished:
        return run_each(Verb("lock", work, show), resolve(runs, below, settings, gone=False), common)
    below = below or (() if runs else (_guild_runs(),))
    targets = [target for target in resolve(runs, below, settings, gone=False) if _awaits(target, settings)]
    return run_each(Verb("lock", work, show), targets, common) if targets else 0


def _turn_on_vscode(where: str, common: Common) -> None:
    from gitrun.vscode import SETTING, settings_file, turn_on

    path = settings_file(where, os.path.expanduser("~"), os.getcwd())
    told = "is on now" if turn_on(path) else "was on already"
    Console(common).note(f"{SETTING} {told}: {display(path)}")


def _guild_runs() -> str:
    """The runs of the Guild home; raises UsageError where there is none."""
    from pathlib import Path

    from gitrun.layouts.guild_home import find_home

    home = find_home(os.environ, Path.cwd())
    if home is None:
        raise click.UsageError("no Guild home is found here: name runs, or --all DIR")
    return str(home / "runs")


def _awaits(target: Target, settings: Settings) -> bool:
    from gitrun.ops.lock import awaits

    if target.failure is not None:
        return True  # it is told
    try:
        return awaits(target.path, settings=settings)
    except GitrunError:
        return True  # the lock will tell why not


def show(result: LockResult, console: Console) -> None:
    """`locked train lr=0.1 (3f2a1b4c): 61 files, 3.1 MiB, read-only`."""
    told = f" {title(result.path, result.run, result.label)}: {size(result.files, result.bytes)}"
    if result.already:
        console.good("already locked", f"{told}, untouched since {human_time(result.locked_at)}")
    else:
        console.good(Painted("locked", "green"), f"{told}, {_protection(result)}")
    if console.verbose:
        console.good(f"  commit {result.commit}, {human_size(result.stored_bytes)} added to the store")
    console.notes(result.notes)


def _protection(result: LockResult) -> str:
    return "not protected" if result.protection == "none" else result.protection
