"""What `fsck` returns."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gitrun.results import Json, Result


@dataclass(frozen=True)
class Finding:
    """One fault of a stored copy."""

    kind: str
    """`missing` `corrupt` `mismatch` `git` `config`."""
    object: str
    """A git id, an LFS oid, or the name of a ref."""
    message: str
    paths: tuple[bytes, ...] = ()
    """The files of the run whose content it is."""
    repaired: bool = False

    def to_dict(self) -> Json:
        """The JSON form."""
        return {
            "kind": self.kind,
            "object": self.object,
            "message": self.message,
            "paths": [os.fsdecode(p).encode("utf-8", "replace").decode() for p in self.paths],
            "repaired": self.repaired,
        }


@dataclass(frozen=True, kw_only=True)
class FsckResult(Result):
    """The health of the stored copy."""

    ok: bool
    findings: tuple[Finding, ...] = ()
    checked_objects: int = 0
    checked_bytes: int = 0

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "ok": self.ok,
            "findings": [f.to_dict() for f in self.findings],
            "checked_objects": self.checked_objects,
            "checked_bytes": self.checked_bytes,
        }
