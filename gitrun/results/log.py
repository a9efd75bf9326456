"""What `log` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Difference, Json, Result


@dataclass(frozen=True, kw_only=True)
class LockedAt:
    """One lock of a run's history."""

    number: int
    """1 for the first lock of the run."""
    commit: str
    parents: tuple[str, ...]
    ref: str
    """The ref that keeps its tag: `refs/tags/locked`, or `refs/gitrun/locks/<n>` once it was unlocked."""
    standing: bool
    """The run is locked by it now."""
    subject: str
    author: str
    locked_at: int
    """Seconds since the epoch."""
    run: str
    """The run id at that time: another one than the run's own for the locks of its origin."""
    files: int
    bytes: int
    changes: tuple[Difference, ...] = ()
    """What it changed against the lock before; nothing for the first one."""

    def to_dict(self) -> Json:
        """The JSON form."""
        return {
            "number": self.number,
            "commit": self.commit,
            "parents": list(self.parents),
            "ref": self.ref,
            "standing": self.standing,
            "subject": self.subject,
            "author": self.author,
            "locked_at": self.locked_at,
            "run": self.run,
            "files": self.files,
            "bytes": self.bytes,
            "changes": [change.to_dict() for change in self.changes],
        }


@dataclass(frozen=True, kw_only=True)
class LogResult(Result):
    """The history of a run."""

    label: str = ""
    locks: tuple[LockedAt, ...] = ()
    """Newest first."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {**Result.to_dict(self), "label": self.label, "locks": [lock.to_dict() for lock in self.locks]}
