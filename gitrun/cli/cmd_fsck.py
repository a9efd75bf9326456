"""`gitrun fsck`."""

from __future__ import annotations

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import all_option, common_options, runs_argument
from gitrun.cli._report import command as command_line
from gitrun.cli._report import title
from gitrun.cli._units import counted, human_size
from gitrun.names import display
from gitrun.results.fsck import Finding, FsckResult

_MANY = 3


@click.command("fsck")
@runs_argument
@all_option
@click.option("--repair", is_flag=True, help="Take good bytes from the run, or from another run's repository.")
@click.option(
    "--remote", metavar="REMOTE", help="Read the copy on a remote, too; either side is repaired from the other."
)
@common_options
def command(runs: tuple[str, ...], below: tuple[str, ...], repair: bool, remote: str | None, common: Common) -> int:
    """Check the stored copies of runs.

    Every git object, every git-lfs object, the tag and the lock file are read and checked. All faults are reported, with
    the files of the run that they concern. The run itself is not read, except for --repair; `gitrun verify` reads it.

    \b
    Examples:
      gitrun fsck runs/7
      gitrun fsck --all ~/.guild/runs      every stored copy below
      gitrun fsck --repair runs/7          mend what can be mended
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.fsck import fsck
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> FsckResult:
        return fsck(task.path, repair=repair, remote=remote, settings=settings, progress=task.progress)

    def tell(result: FsckResult, console: Console) -> None:
        show(result, console, repair=repair)

    return run_each(Verb("fsck", work, tell), resolve(runs, below, settings), common)


def show(result: FsckResult, console: Console, *, repair: bool = False) -> None:
    """The verdict, each fault, and what can be done."""
    name = title(result.path, result.run)
    if result.ok:
        told = f"{counted(result.checked_objects, 'object')}, {human_size(result.checked_bytes)}"
        console.good(Painted("ok", "green"), f" {name}: {told}")
    else:
        console.data(Painted("DAMAGED", "red"), f" {name}: {counted(len(result.findings), 'fault')}")
    for finding in result.findings:
        console.data(*_finding(finding, verbose=console.verbose))
    console.notes(result.notes)
    if not result.ok and not repair:
        console.hint(f"{command_line('fsck', result.path, '--repair')} mends what other copies allow")


def _finding(finding: Finding, *, verbose: bool) -> tuple[str | Painted, ...]:
    named = [display(path) for path in (finding.paths if verbose else finding.paths[:_MANY])]
    more = f" and {len(finding.paths) - len(named)} more" if len(finding.paths) > len(named) else ""
    where = f" (of {', '.join(named)}{more})" if named else ""
    told = f"  {finding.kind}  {finding.object}: {finding.message}{where}"
    return (told, "  ", Painted("repaired", "green")) if finding.repaired else (told,)
