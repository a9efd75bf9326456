"""guild: puts gitrun's commands into Guild, and takes them out again."""

from __future__ import annotations

from typing import Literal

from gitrun.errors import UsageError
from gitrun.guildinstall import find_environment, install, uninstall
from gitrun.results.guild_hook import HOOKED, NOT_HOOKED, GuildHookResult

Action = Literal["install", "uninstall", "status"]
ACTIONS: tuple[Action, ...] = ("install", "uninstall", "status")
_TESTED = ("0.9.0", "0.9.1")


def guild_hook(action: Action = "status", python: str = "") -> GuildHookResult:
    """Installs the hook in Guild's environment, removes it, or tells whether it is there.

    `python` is Guild's interpreter; without it, it is that of the `guild` on PATH.  Raises UsageError, ToolFailed where
    there is no Guild, and SystemFailed where its environment cannot be written to.
    """
    if action not in ACTIONS:
        raise UsageError(f"no such action: {action}", hint=f"one of {', '.join(ACTIONS)}")
    environment = find_environment(python)
    if action == "install":
        install(environment)
    elif action == "uninstall":
        uninstall(environment)
    now = find_environment(environment.python)
    notes = () if now.guild.startswith(_TESTED) else (f"the hook was made for Guild 0.9, and this is {now.guild}",)
    return GuildHookResult(
        run="",
        path=now.packages,
        state=HOOKED if now.hook else NOT_HOOKED,
        python=now.python,
        guild=now.guild,
        hook=now.hook,
        notes=notes,
    )
