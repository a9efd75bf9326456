"""`gitrun verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import all_option, common_options, runs_argument
from gitrun.cli._report import command as command_line
from gitrun.cli._report import differences, kinds, size, title
from gitrun.cli._units import counted, human_time
from gitrun.results.verify import VerifyResult

if TYPE_CHECKING:
    from gitrun.ahead import Ahead


@click.command("verify")
@runs_argument
@all_option
@click.option(
    "--quick", is_flag=True, help="Trust files whose size, times and inode are those of the last full verify."
)
@click.option("--strict", is_flag=True, help="Changed permissions and times are differences, not warnings.")
@click.option("--store", is_flag=True, help="Check the stored copy too.")
@click.option("--upstream", is_flag=True, help="Verify the runs that this one links to, too, and theirs.")
@common_options
def command(
    runs: tuple[str, ...],
    below: tuple[str, ...],
    quick: bool,
    strict: bool,
    store: bool,
    upstream: bool,
    common: Common,
) -> int:
    """Prove that nothing in a run has changed since it was locked.

    Every byte is read and hashed, and every name, type and link target compared with what the tag `locked` vouches for.
    All differences are reported. Changed permissions and times are warnings, unless --strict.

    Exit code: 0 nothing changed, 3 not locked, 4 differences, 6 the record itself is damaged.

    \b
    Examples:
      gitrun verify                    the run in the current directory
      gitrun verify --all runs         every run below runs/
      gitrun verify --quick runs/7     read only what looks changed
      gitrun verify --json runs/7 | jq .differences
    """
    if quick or below or len(runs) > 1:
        return _verify(runs, below, quick, strict, store, upstream, common)
    from gitrun.ahead import Ahead

    with Ahead.of_lock_file(*runs or ".", jobs=common.jobs) as ahead:  # it reads while we load the rest
        return _verify(runs, below, quick, strict, store, upstream, common, ahead)


def _verify(
    runs: tuple[str, ...],
    below: tuple[str, ...],
    quick: bool,
    strict: bool,
    store: bool,
    upstream: bool,
    common: Common,
    ahead: Ahead | None = None,
) -> int:
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.verify import verify
    from gitrun.settings import load

    settings = load()

    def work(task: Task) -> VerifyResult:
        return verify(
            task.path,
            quick=quick,
            strict=strict,
            store=store,
            upstream=upstream,
            jobs=task.jobs,
            settings=settings,
            progress=task.progress,
            ahead=ahead,
        )

    return run_each(Verb("verify", work, show), resolve(runs, below, settings), common)


def show(result: VerifyResult, console: Console) -> None:
    """The verdict first, then what differs, what drifted, and what to do about it."""
    name = title(result.path, result.run)
    if not result.differences:
        console.good(Painted("ok", "green"), f" {name}: {_checked(result)}, {result.protection or 'not protected'}")
    else:
        console.data(Painted("CHANGED", "red"), f" {name}: {kinds(result.differences)}")
    for line in differences(result.differences, verbose=console.verbose):
        console.data(line)
    _show_drift(result, console)
    _show_upstream(result, console)
    if console.verbose:
        console.good(f"  commit {result.commit}, locked {human_time(result.locked_at)}")
    console.notes(result.notes)
    if result.differences:
        console.hint(f"{command_line('restore', result.path)} puts the locked content back")


def _show_drift(result: VerifyResult, console: Console) -> None:
    if result.warnings:
        console.good(Painted("warning", "yellow"), f" metadata drifted: {kinds(result.warnings)}")
        for line in differences(result.warnings, verbose=console.verbose):
            console.good(line)
    if result.mutable:
        told = (
            "changed since the lock, as it may" if len(result.mutable) == 1 else "changed since the lock, as they may"
        )
        console.good(f"  {counted(len(result.mutable), 'mutable file')} {told}")
        if console.verbose:
            for line in differences(result.mutable, verbose=True, indent="    "):
                console.good(line)


_UPSTREAM = {
    "ok": "unchanged",
    "modified": "has changed since it was locked",
    "relocked": "has another lock than then",
    "unlocked": "is not locked any more",
    "gone": "is gone",
    "unrecorded": "was not locked then: nothing can be told",
}


def _show_upstream(result: VerifyResult, console: Console) -> None:
    for it in result.upstream:
        line = f"  upstream {title(it.path, it.run)} {_UPSTREAM[it.kind]}"
        if it.ok:
            console.good(line)
        else:
            console.data(Painted("CHANGED", "red"), line)


def _checked(result: VerifyResult) -> str:
    told = size(result.checked_files, result.checked_bytes)
    if not result.trusted_files:
        return told
    trusted = counted(result.trusted_files, "file")
    return f"{told} read, {trusted} trusted for size, times and inode"
