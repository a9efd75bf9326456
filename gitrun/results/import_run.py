"""What `import_run` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, path_json
from gitrun.results.lock import LockResult


@dataclass(frozen=True, kw_only=True)
class ImportResult(LockResult):
    """A bag or a tar archive became a locked run."""

    source: bytes
    """The absolute path of what was imported; `-` for stdin."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {**LockResult.to_dict(self), **path_json(self.source, "source")}
