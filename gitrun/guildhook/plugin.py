"""The Guild plugin `gitrun`, which Guild finds by its entry point."""

from __future__ import annotations

from typing import Any

from guild.plugin import Plugin

from . import program
from .finished import lock_finished


class GitrunPlugin(Plugin):
    """Locks runs when they end.

    Runs of every kind are locked by `running` already; where a Guild has become too different for that, this still locks
    those that it tells its plugins of.
    """

    def enabled_for_op(self, opdef: Any) -> tuple[bool, str]:
        """For all operations where auto-lock is on for all; a guildfile enables it by `plugins: gitrun`."""
        on = program.is_on("autoLock")
        return on, "gitrun.autoLock is on" if on else "gitrun.autoLock is not on"

    def run_stopped(self, run: Any, op: Any, exit_code: int) -> None:
        """Locks the run, unless that has been done."""
        lock_finished(run, op)
