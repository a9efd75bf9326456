"""What `remote_runs` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result

COMPLETE, INCOMPLETE, HISTORY = "complete", "incomplete", "history"
"""States on a remote: a lock with all that belongs to it; a push that has not ended; locks, none of which stands."""


@dataclass(frozen=True, kw_only=True)
class RemoteRun(Result):
    """One run on a remote; `path` is empty."""

    name: str
    """By which it is cloned: its id, perhaps with a `+` and the beginning of a commit."""
    commit: str
    author: str
    locked_at: int
    """Seconds since the epoch."""
    subject: str
    files: int
    bytes: int

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "name": self.name,
            "commit": self.commit,
            "author": self.author,
            "locked_at": self.locked_at,
            "subject": self.subject,
            "files": self.files,
            "bytes": self.bytes,
        }
