"""`gitrun remote`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options
from gitrun.cli._units import counted, human_size, human_time
from gitrun.names import display_text
from gitrun.results.remote import COMPLETE, RemoteRun


@click.command("remote")
@click.argument("remote", metavar="[REMOTE]", default="")
@click.argument("run_id", metavar="[RUN_ID]", default="")
@common_options
def command(remote: str, run_id: str, common: Common) -> int:
    """List the runs that a remote has.

    Each with its name there, whether all of its newest lock is there, when and by whom it was locked, files and size. RUN_ID is
    for a remote with {run} in it, which has a repository for each run.

    \b
    Examples:
      gitrun remote /backup/runs.git
      gitrun remote --json | jq -r 'select(.state != "complete") | .name'
    """
    from gitrun.ops.remote_runs import remote_runs

    console = Console(common)
    found = remote_runs(remote, run_id)
    if common.json:
        for run in found:
            console.json(run.to_dict())
    else:
        show(found, console)
    return 0


def show(found: Sequence[RemoteRun], console: Console) -> None:
    """A line for each run, and one that counts them."""
    for run in found:
        mark = Painted(f"{run.state:10}", "green" if run.state == COMPLETE else "yellow")
        author = run.author.partition(" <")[0]
        told = f"  {run.name}  {human_time(run.locked_at)}  {counted(run.files, 'file')}, {human_size(run.bytes)}"
        console.data(mark, display_text(told), f"  {display_text(author)}")
    console.note(counted(len(found), "run"))
