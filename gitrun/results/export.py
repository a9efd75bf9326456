"""What `export` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result, path_json


@dataclass(frozen=True, kw_only=True)
class ExportResult(Result):
    """A lock was written out."""

    destination: bytes
    """The absolute path of what was written; `-` for stdout."""
    format: str
    commit: str
    files: int
    bytes: int

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            **path_json(self.destination, "destination"),
            "format": self.format,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
        }
