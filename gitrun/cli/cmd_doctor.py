"""`gitrun doctor`."""

from __future__ import annotations

import os

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._units import counted
from gitrun.names import display, display_text
from gitrun.results.doctor import DoctorResult


@click.command("doctor")
@click.argument("directory", metavar="[DIR]", default=".", shell_complete=complete_directories)
@click.option("--fix", is_flag=True, help="Mend what can be mended without a decision of yours.")
@click.option("--portable", is_flag=True, help="Also list names that Windows or macOS would not keep.")
@common_options
def command(directory: str, fix: bool, portable: bool, common: Common) -> int:
    """Tell what can be done here, and what is wrong.

    What the file system at DIR, git, git-lfs and Guild can do; then interrupted locks, leftovers of a gitrun that was
    killed, copies of locked runs in Guild's trash, runs that could not be locked when they ended, and how to mend
    each.

    Exit code: 0 nothing is wrong, 4 something is.

    \b
    Examples:
      gitrun doctor                   here
      gitrun doctor --fix ~/.guild    mend what is wrong with Guild's runs
      gitrun doctor --portable runs   names that other systems have not
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import Target
    from gitrun.ops.doctor import doctor
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> DoctorResult:
        return doctor(task.path, fix=fix, portable=portable, settings=settings)

    target = Target(os.path.abspath(os.fsencode(directory)))
    return run_each(Verb("doctor", work, show), [target], common)


def show(result: DoctorResult, console: Console) -> None:
    """A line for each fact, two for each trouble."""
    width = max(len(fact.name) for fact in result.facts)
    for fact in result.facts:
        mark = Painted("ok", "green") if fact.ok else Painted("--", "yellow")
        console.good(mark, f"  {fact.name:{width}}  {display_text(fact.value)}")
    for trouble in result.troubles:
        mark = Painted("mended", "green") if trouble.mended else Painted("WRONG", "red")
        console.data(mark, f"  {display_text(trouble.message)}: {display(trouble.path)}")
        if not trouble.mended:
            console.hint(trouble.hint)
    left = sum(not trouble.mended for trouble in result.troubles)
    console.good(f"{counted(left, 'thing')} to mend" if left else "nothing to mend")
    console.notes(result.notes)
