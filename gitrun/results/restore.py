"""What `restore` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Difference, Json, Result


@dataclass(frozen=True, kw_only=True)
class RestoreResult(Result):
    """What was, or with `dry_run` would be, put back."""

    restored: tuple[Difference, ...] = ()
    kept: tuple[Difference, ...] = ()
    """Added files that were left where they are."""
    removed: tuple[Difference, ...] = ()
    """Added files that `clean` removed."""
    files: int = 0
    bytes: int = 0
    """Files and bytes whose content was written."""
    dry_run: bool = False

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "restored": [d.to_dict() for d in self.restored],
            "kept": [d.to_dict() for d in self.kept],
            "removed": [d.to_dict() for d in self.removed],
            "files": self.files,
            "bytes": self.bytes,
            "dry_run": self.dry_run,
        }
