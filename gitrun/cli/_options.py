"""Arguments and options that verbs share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from gitrun.cli._console import Common

Command = TypeVar("Command", bound=Callable[..., Any])


def complete_directories(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Lets the shell complete the names of directories."""
    return [CompletionItem(incomplete, type="dir")]


runs_argument = click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_directories)
run_argument = click.argument("run", metavar="[RUN]", default=".", shell_complete=complete_directories)
all_option = click.option(
    "--all",
    "below",
    metavar="DIR",
    multiple=True,
    shell_complete=complete_directories,
    help="Every run in or below DIR. Plain directories count once they have been locked.",
)


def common_options(function: Command) -> Command:
    """Adds the options of every verb; the command gets them as one argument, `common`."""

    @wraps(function)
    def command(
        *args: Any, json: bool, quiet: bool, verbose: bool, no_progress: bool, jobs: int, debug: bool, **kwargs: Any
    ) -> Any:
        common = Common(json, quiet, verbose, not no_progress, jobs, debug)
        return function(*args, common=common, **kwargs)

    for option in reversed(_COMMON):
        command = option(command)
    return command  # type: ignore[return-value]


_COMMON = (
    click.option("--json", is_flag=True, help="One JSON object per run on stdout, failures included."),
    click.option("-q", "--quiet", is_flag=True, help="Only failures and differences."),
    click.option("-v", "--verbose", is_flag=True, help="More: digests, paths, exact times."),
    click.option("--no-progress", is_flag=True, help="No progress bar."),
    click.option(
        "-j",
        "--jobs",
        metavar="N",
        type=click.IntRange(min=0),
        default=0,
        help="Processes to use (default: one per processor).",
    ),
    click.option("--debug", is_flag=True, help="Show where in gitrun a failure came from."),
)


def runs_and_remote(words: tuple[str, ...], below: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """What `[RUN]... [REMOTE]` means: the last of two or more words is the remote, and with `--all` the only one is.

    Raises click.UsageError.
    """
    if below:
        if len(words) > 1:
            raise click.UsageError("with --all the only argument is REMOTE")
        return (), words[0] if words else ""
    return words[:-1] if len(words) > 1 else words or (".",), words[-1] if len(words) > 1 else ""


remote_words = click.argument("words", metavar="[RUN]... [REMOTE]", nargs=-1, shell_complete=complete_directories)
