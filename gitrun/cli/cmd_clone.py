"""`gitrun clone`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._report import size, title
from gitrun.names import display
from gitrun.results.clone import CloneResult

if TYPE_CHECKING:
    from gitrun.cli._runner import Verb
    from gitrun.ops.clone_many import Clones, Planned
    from gitrun.settings import Settings


@click.command("clone")
@click.argument("words", metavar="REMOTE RUN_ID... [DIR]", nargs=-1, shell_complete=complete_directories)
@click.option("--all", "every", is_flag=True, help="Every run that has a lock there, and is not here yet.")
@click.option(
    "--into",
    metavar="DIR",
    default="",
    shell_complete=complete_directories,
    help="Put the runs there, under their own names.",
)
@click.option("--upstream", is_flag=True, help="Clone the runs that these link to, too, and theirs.")
@common_options
def command(words: tuple[str, ...], every: bool, into: str, upstream: bool, common: Common) -> int:
    """Bring runs from a remote: the same bytes, permissions and times, locked and verified.

    RUN_ID is its id there, or the beginning of it; `gitrun remote` lists them. DIR must not exist; without it a Guild run
    goes into the Guild home, and another one into the current directory. Everything is checked before it has a name here.

    \b
    Examples:
      gitrun clone /backup/runs.git train-7-3f2a1b4c
      gitrun clone https://git.example/team/runs.git 3f2a1b4c runs/7
      gitrun clone --into runs /backup/runs.git train-7 train-8
      gitrun clone --all https://git.example/team/runs.git
    """
    from gitrun.cli._runner import run_each
    from gitrun.cli._targets import Target
    from gitrun.ops.clone_many import cloning
    from gitrun.remotes.address import RUN
    from gitrun.settings import load

    _check_words(words, every, into, upstream)
    settings = load()
    remote, run_ids, target = _meant(words, into)
    if not every and (len(run_ids) == 1 or upstream or RUN in remote):
        targets = [Target(os.path.abspath(os.fsencode(target or run_id))) for run_id in run_ids]
        named = dict(zip((it.path for it in targets), run_ids, strict=True))
        return run_each(_by_itself(remote, named, target, into, upstream, settings), targets, common._replace(jobs=1))
    with cloning(remote, run_ids, into, settings=settings) as clones:
        planned = {it.target: it for it in clones.planned}
        return run_each(_together(clones, planned), [Target(path) for path in planned], common)


def _check_words(words: tuple[str, ...], every: bool, into: str, upstream: bool) -> None:
    if every and len(words) > 1:
        raise click.UsageError("with --all the only argument is REMOTE; --into DIR is where they go")
    if every and upstream:
        raise click.UsageError("--all brings upstream runs anyway")
    if not every and len(words) < 2:
        raise click.UsageError(
            "a remote and the id of a run, please; `gitrun remote REMOTE` lists them, --all means all"
        )
    if not (every or into) and len(words) > 3:
        raise click.UsageError("several runs need --into DIR")


def _meant(words: tuple[str, ...], into: str) -> tuple[str, tuple[str, ...], str]:
    """Remote, run ids, and the place that one run was given."""
    remote, run_ids = words[0] if words else "", words[1:]
    return (remote, run_ids, "") if into else (remote, run_ids[:1], run_ids[1] if len(run_ids) > 1 else "")


def _by_itself(
    remote: str, named: dict[bytes, str], target: str, into: str, upstream: bool, settings: Settings
) -> Verb[CloneResult]:
    from gitrun.cli._runner import Task, Verb
    from gitrun.ops.clone import clone

    def work(task: Task) -> CloneResult:
        return clone(
            remote,
            named[task.path],
            target,
            into=into,
            upstream=upstream,
            settings=settings,
            progress=task.progress,
        )

    return Verb("clone", work, show)


def _together(clones: Clones, planned: dict[bytes, Planned]) -> Verb[CloneResult]:
    from gitrun.cli._runner import Task, Verb

    def work(task: Task) -> CloneResult:
        return clones.clone(planned[task.path], task.progress)

    return Verb("clone", work, show)


def show(result: CloneResult, console: Console) -> None:
    """The run, and where it is."""
    told = f" {title(result.path, result.run)}: {size(result.files, result.bytes)}"
    if result.already:
        console.good("here already", told)
    else:
        console.good(Painted("cloned", "green"), f"{told}, locked and verified")
    console.good(f"  {display(result.path)}")
    console.notes(result.notes)
