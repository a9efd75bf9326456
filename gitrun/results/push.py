"""What `push` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result


@dataclass(frozen=True, kw_only=True)
class PushResult(Result):
    """A run's locks are on a remote."""

    remote: str
    """The remote, without whatever is secret in its address."""
    name: str
    """The run's name there: its id, with a `+` and the beginning of a commit behind it where another history has that."""
    commit: str
    locked: bool
    """The lock that stands was sent, too; false for an unlocked run, whose history is."""
    already: bool
    """The remote had all of it."""
    sent_objects: int = 0
    """Large files of the locks that were sent."""
    sent_bytes: int = 0
    """Their bytes that went over to the remote, which had the others."""
    verified_objects: int = 0
    """Large files that were read back from the remote."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "remote": self.remote,
            "name": self.name,
            "commit": self.commit,
            "locked": self.locked,
            "already": self.already,
            "sent_objects": self.sent_objects,
            "sent_bytes": self.sent_bytes,
            "verified_objects": self.verified_objects,
        }
