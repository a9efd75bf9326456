"""What `fork` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result


@dataclass(frozen=True, kw_only=True)
class ForkResult(Result):
    """A new run was made out of a locked one; `run` and `path` are the new run's."""

    origin: str
    """The run id of the run that it came from."""
    commit: str
    """The lock that it came from."""
    files: int
    bytes: int

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "origin": self.origin,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
        }
