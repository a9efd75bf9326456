"""`gitrun guild`."""

from __future__ import annotations

import os

import click

from gitrun.cli._console import Common, Console
from gitrun.cli._options import common_options
from gitrun.names import display, display_text
from gitrun.results.guild_hook import GuildHookResult


@click.command("guild")
@click.argument("action", metavar="ACTION", type=click.Choice(("install", "uninstall", "status")))
@click.option("--python", metavar="PYTHON", default="", help="Guild's Python (default: that of `guild` on PATH).")
@common_options
def command(action: str, python: str, common: Common) -> int:
    """Make locked runs Guild's own, or no longer.

    `install` adds `guild runs lock`, `unlock`, `verify`, `fork` and `history` to Guild, refuses what would harm a locked
    run with a clear message, and can lock runs when they end. `uninstall` removes all of it, as does
    `pip uninstall gitrun-guild` in Guild's environment. `status` tells whether it is there.

    \b
    Examples:
      gitrun guild install
      guild runs lock 1
      git config --global gitrun.autoLock true      lock every run when it ends
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import Target
    from gitrun.ops.guild_hook import guild_hook

    def work(task: Task) -> GuildHookResult:
        return guild_hook(action, python)  # type: ignore[arg-type]  # the choice has seen to it

    return run_each(Verb("guild", work, show), [Target(os.fsencode(python))], common)


def show(result: GuildHookResult, console: Console) -> None:
    """Which Guild, and what it has now."""
    told = f"gitrun {result.hook} is in" if result.hook else "gitrun is not in"
    console.good(f"{told} Guild {display_text(result.guild)}")
    console.good(f"  {display(result.path)}")
    console.notes(result.notes)
