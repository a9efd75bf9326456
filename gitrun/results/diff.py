"""What `diff` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Difference, Json, Result, path_json


@dataclass(frozen=True)
class Change(Difference):
    """One thing that differs between two sides; `kind` is also `renamed`, for much the same bytes under another name."""

    old_size: int = 0
    new_size: int = 0
    """Bytes of a file; 0 for what is none, or not there."""
    renamed_from: bytes = b""
    similarity: int = 0
    """Of what is renamed: percent of the bytes that stayed; 100 for all."""
    added_lines: int | None = None
    deleted_lines: int | None = None
    """None where lines were not compared: binary, too large, no file, or not asked for."""
    binary: bool = False
    patch: bytes = b""
    """The hunks of a unified diff, as far as it was asked for."""

    def to_dict(self) -> Json:
        """The JSON form; the hunks are not part of it."""
        told = {
            **Difference.to_dict(self),
            "old_size": self.old_size,
            "new_size": self.new_size,
            "added_lines": self.added_lines,
            "deleted_lines": self.deleted_lines,
            "binary": self.binary,
        }
        if not self.renamed_from:
            return told
        return {**told, **path_json(self.renamed_from, "renamed_from"), "similarity": self.similarity}


@dataclass(frozen=True, kw_only=True)
class DiffResult(Result):
    """What leads from one side to the other; true when something does."""

    old: str
    new: str
    """The commit of a side that is a lock; empty for a run as it is on disk."""
    changes: tuple[Change, ...] = ()
    mutable: tuple[Change, ...] = ()
    """Changes of mutable files, which are none of the run's results."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "old": self.old,
            "new": self.new,
            "changes": [change.to_dict() for change in self.changes],
            "mutable": [change.to_dict() for change in self.mutable],
        }
