"""What `lock` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result


@dataclass(frozen=True, kw_only=True)
class LockResult(Result):
    """A run was locked, or was found locked and untouched."""

    commit: str
    files: int
    bytes: int
    locked_at: int
    """Seconds since the epoch."""
    protection: str
    already: bool = False
    """The run was locked before, and is untouched."""
    stored_bytes: int = 0
    """Bytes that this lock added to the store."""
    label: str = ""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
            "locked_at": self.locked_at,
            "protection": self.protection,
            "already": self.already,
            "stored_bytes": self.stored_bytes,
            "label": self.label,
        }
