"""What `gc` returns."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from gitrun.results import Json, path_json


@dataclass(frozen=True, kw_only=True)
class GcResult:
    """What was, or with `dry_run` would be, dropped from one store."""

    path: bytes
    """The store."""
    removed: tuple[bytes, ...] = field(default=())
    freed_bytes: int = 0
    dry_run: bool = False
    exit: int = 0
    notes: tuple[str, ...] = ()
    """What was left alone, and why, a line each."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        told = {
            "run": "",
            **path_json(self.path),
            "state": "store",
            "exit": self.exit,
            "removed": [os.fsdecode(p).encode("utf-8", "replace").decode() for p in self.removed],
            "freed_bytes": self.freed_bytes,
            "dry_run": self.dry_run,
        }
        return {**told, "notes": list(self.notes)} if self.notes else told
