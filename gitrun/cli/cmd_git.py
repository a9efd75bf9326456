"""`gitrun git`."""

from __future__ import annotations

from typing import NoReturn

import click

from gitrun.cli._console import Common
from gitrun.cli._options import common_options, complete_directories


@click.command("git", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("run", metavar="RUN", shell_complete=complete_directories)
@click.argument("args", metavar="-- ARG...", nargs=-1, required=True, type=click.UNPROCESSED)
@common_options
def command(run: str, args: tuple[str, ...], common: Common) -> NoReturn:
    """Run git on the repository of a run.

    What git prints and its exit code are git's own. gitrun never needs it: this is for looking around.

    \b
    Examples:
      gitrun git runs/7 -- log --stat
      gitrun git runs/7 -- show locked
      gitrun git runs/7 -- cat-file -p locked:metrics.json
    """
    import os

    from gitrun.cli._git import become_git
    from gitrun.cli._targets import resolve_one
    from gitrun.errors import UsageError
    from gitrun.ops.path import path
    from gitrun.settings import load

    if common.json:
        raise UsageError("git has no --json", hint="put git's own options behind `--`")
    settings = load()
    repository = path(resolve_one(run, settings), settings=settings)
    become_git(os.fsencode(repository), args[1:] if args[0] == "--" else args, os.environ)
