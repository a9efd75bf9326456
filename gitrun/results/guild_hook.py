"""What `guild_hook` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result

HOOKED, NOT_HOOKED = "hooked", "not hooked"


@dataclass(frozen=True, kw_only=True)
class GuildHookResult(Result):
    """Whether Guild has the hook now; `path` is the directory of its packages, and `run` is empty."""

    python: str
    """Guild's interpreter."""
    guild: str
    """Guild's version."""
    hook: str
    """The hook's version; empty where it is not installed."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {**Result.to_dict(self), "python": self.python, "guild": self.guild, "hook": self.hook}
