"""What `unlock` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Difference, Json, Result


@dataclass(frozen=True, kw_only=True)
class UnlockResult(Result):
    """A run is writable again."""

    files: int
    differences: tuple[Difference, ...] = ()
    """What had changed under the lock, as far as sizes, times and types tell."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {**Result.to_dict(self), "files": self.files, "differences": [d.to_dict() for d in self.differences]}
