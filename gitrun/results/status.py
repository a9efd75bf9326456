"""What `status` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result


@dataclass(frozen=True, kw_only=True)
class StatusResult(Result):
    """Where a run stands, told without reading its content."""

    label: str = ""
    layout: str = ""
    outcome: str = ""
    """How the run ended, in its tool's word: `completed`, `error`, `terminated`; empty where that is not known."""
    commit: str = ""
    files: int = 0
    bytes: int = 0
    locked_at: int = 0
    protection: str = ""
    locks: int = 0
    """How many locks its history has."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "label": self.label,
            "layout": self.layout,
            "outcome": self.outcome,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
            "locked_at": self.locked_at,
            "protection": self.protection,
            "locks": self.locks,
        }
