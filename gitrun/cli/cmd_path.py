"""`gitrun path`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import click

from gitrun.cli._console import Common, Console
from gitrun.cli._options import common_options, runs_argument
from gitrun.names import display
from gitrun.results import path_json


class PathResult(NamedTuple):
    """Where the repository of a run is."""

    run: str
    path: bytes
    state: str
    repository: bytes
    exit: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, one object."""
        told = {"run": self.run, **path_json(self.path), "state": self.state, "exit": self.exit}
        return {**told, **path_json(self.repository, "repository")}


@click.command("path")
@runs_argument
@common_options
def command(runs: tuple[str, ...], common: Common) -> int:
    """Print where the git repositories of runs are.

    \b
    Examples:
      gitrun path runs/7
      git --git-dir="$(gitrun path runs/7)" log --stat
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.path import path
    from gitrun.ops.status import status
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> PathResult:
        found = status(task.path, settings=settings) if common.json else None
        run, where, state = (found.run, found.path, found.state) if found else ("", task.path, "")
        return PathResult(run, where, state, os.fsencode(path(task.path, settings=settings)))

    return run_each(Verb("path", work, show), resolve(runs, (), settings), common)


def show(result: PathResult, console: Console) -> None:
    """The path: safe to print on a terminal, and exact for a program that reads it."""
    if console.width:
        console.data(display(result.repository))
    else:
        console.exact(result.repository)
