"""What `fetch` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result


@dataclass(frozen=True, kw_only=True)
class FetchResult(Result):
    """What a remote has of a run is in the run's repository, below `refs/remotes/`."""

    remote: str
    """The remote, without whatever is secret in its address."""
    ref: str
    """Where its newest lock is now: `refs/remotes/<name>/main`."""
    commit: str
    new: int
    """How many locks the run itself does not have."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        told = {"remote": self.remote, "ref": self.ref, "commit": self.commit, "new": self.new}
        return {**Result.to_dict(self), **told}
