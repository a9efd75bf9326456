"""`gitrun fetch`."""

from __future__ import annotations

import click

from gitrun.cli._console import Common, Console
from gitrun.cli._options import all_option, common_options, remote_words, runs_and_remote
from gitrun.cli._report import command as command_line
from gitrun.cli._report import title
from gitrun.cli._units import counted
from gitrun.results.fetch import FetchResult


@click.command("fetch")
@remote_words
@all_option
@common_options
def command(words: tuple[str, ...], below: tuple[str, ...], common: Common) -> int:
    """Fetch what a remote has of a run, and leave the run as it is.

    Its locks come into the run's repository, checked, as refs/remotes/NAME/main: `gitrun diff` and `gitrun git` can look
    at them.

    \b
    Examples:
      gitrun fetch runs/7
      gitrun git runs/7 -- log refs/remotes/origin/main
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.fetch import fetch
    from gitrun.settings import load

    runs, remote = runs_and_remote(words, below)
    settings = load()

    def work(task: Task) -> FetchResult:
        return fetch(task.path, remote, settings=settings, progress=task.progress)

    return run_each(Verb("fetch", work, show), resolve(runs, below, settings), common)


def show(result: FetchResult, console: Console) -> None:
    """How many locks are new, and where they are."""
    told = counted(result.new, "new lock") if result.new else "nothing new"
    console.good(f"fetched {title(result.path, result.run)}: {told}, {result.ref}")
    if result.new:
        console.hint(f"{command_line('pull', result.path)} brings the run there")
    console.notes(result.notes)
