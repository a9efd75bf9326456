"""`gitrun pull`."""

from __future__ import annotations

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import all_option, common_options, remote_words, runs_and_remote
from gitrun.cli._report import size, title
from gitrun.results.clone import CloneResult


@click.command("pull")
@remote_words
@all_option
@click.option("--force", is_flag=True, help="Even if the run was changed, unlocked, or has another history.")
@common_options
def command(words: tuple[str, ...], below: tuple[str, ...], force: bool, common: Common) -> int:
    """Bring a run to the newest lock that a remote has of it.

    A run that was changed, or is unlocked, is refused: its files may be somebody's work. With --force they are replaced;
    every lock of the run stays in its history.

    \b
    Examples:
      gitrun pull runs/7
      gitrun pull --force runs/7 /backup/runs.git
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.pull import pull
    from gitrun.settings import load

    runs, remote = runs_and_remote(words, below)
    settings = load()

    def work(task: Task) -> CloneResult:
        return pull(task.path, remote, force=force, settings=settings, progress=task.progress)

    return run_each(Verb("pull", work, show), resolve(runs, below, settings), common)


def show(result: CloneResult, console: Console) -> None:
    """Where the run stands now."""
    told = f" {title(result.path, result.run)}: {size(result.files, result.bytes)}, verified"
    console.good("up to date" if result.already else Painted("pulled", "green"), told)
    console.notes(result.notes)
