"""What `clone` and `pull` return."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result


@dataclass(frozen=True, kw_only=True)
class CloneResult(Result):
    """A run came from a remote: locked, and verified."""

    remote: str
    """The remote, without whatever is secret in its address."""
    commit: str
    files: int
    bytes: int
    already: bool = False
    """`pull`: the run was up to date."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "remote": self.remote,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
            "already": self.already,
        }
