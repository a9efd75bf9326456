"""`gitrun export`."""

from __future__ import annotations

import os
from typing import cast

import click

from gitrun.cli._console import Common, Console
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._report import size, title
from gitrun.errors import UsageError
from gitrun.names import display
from gitrun.results.export import ExportResult

_FORMATS = ("bagit", "tar", "sha256sum", "json")


@click.command("export")
@click.argument("run", metavar="RUN", shell_complete=complete_directories)
@click.argument("destination", metavar="DEST", shell_complete=complete_directories)
@click.option("--format", "form", type=click.Choice(_FORMATS), default="bagit", help="What to write (default: bagit).")
@common_options
def command(run: str, destination: str, form: str, common: Common) -> int:
    """Write a run's newest lock out, for programs that know neither gitrun nor git.

    bagit: a directory that any BagIt tool validates. tar: one archive with permissions and times, the same bytes each
    time. sha256sum: the sums alone. json: the whole record. DEST must not exist yet; - is stdout, for all but a bag.
    Every byte is checked on its way. The run may be unlocked since, or gone.

    \b
    Examples:
      gitrun export runs/7 bag                     a bag
      gitrun export --format tar runs/7 7.tar
      gitrun export --format tar runs/7 - | ssh host tar -x
      gitrun export --format json runs/7 - | jq '.entries | length'
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.export import Format, export
    from gitrun.settings import load

    if common.json and destination == "-":
        raise UsageError("stdout cannot take both the export and --json", hint="name a file")
    settings = load()

    def work(task: Task) -> ExportResult:
        return export(task.path, destination, form=cast(Format, form), settings=settings, progress=task.progress)

    return run_each(Verb("export", work, show), resolve((run,), (), settings), common)


def show(result: ExportResult, console: Console) -> None:
    """What was written where."""
    told = f"exported {title(result.path, result.run)}: {size(result.files, result.bytes)}, {result.format}"
    if result.destination == b"-":
        console.note(told)
    else:
        console.good(f"{told}, to {display(os.path.basename(result.destination))}")
    console.notes(result.notes)
