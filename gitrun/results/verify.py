"""What `verify` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Difference, Json, Result, path_json


@dataclass(frozen=True, kw_only=True)
class UpstreamVerdict:
    """What became of one upstream run since the lock that names it."""

    run: str
    path: bytes
    """Absolute."""
    of: str
    """The run id of the run whose symlinks lead into it."""
    kind: str
    """`ok`; `modified` since it was locked; `relocked`, `unlocked` or `gone` since; `unrecorded`: it was not locked then."""
    expected: str
    """The commit of its lock then; empty where it had none."""
    actual: str
    """The commit of its lock now, likewise."""

    @property
    def ok(self) -> bool:
        """Whether it is what it was, as far as the lock can tell."""
        return self.kind in ("ok", "unrecorded")

    def to_dict(self) -> Json:
        """The JSON form."""
        told = {"run": self.run, **path_json(self.path), "of": self.of, "kind": self.kind}
        return {**told, "expected": self.expected, "actual": self.actual}


@dataclass(frozen=True, kw_only=True)
class VerifyResult(Result):
    """A verdict: true when the run is what was locked."""

    ok: bool
    differences: tuple[Difference, ...] = ()
    warnings: tuple[Difference, ...] = ()
    mutable: tuple[Difference, ...] = ()
    """Mutable files that changed since the lock, which is allowed."""
    checked_files: int = 0
    checked_bytes: int = 0
    """Files and bytes whose content was hashed."""
    trusted_files: int = 0
    """Files that `quick` did not read, because their size, mtime, ctime and inode are unchanged."""
    protection: str = ""
    commit: str = ""
    locked_at: int = 0
    upstream: tuple[UpstreamVerdict, ...] = ()
    """The runs that this one was made from, and those that they were made from, where that was asked for."""

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "ok": self.ok,
            "differences": [d.to_dict() for d in self.differences],
            "warnings": [d.to_dict() for d in self.warnings],
            "mutable": [d.to_dict() for d in self.mutable],
            "checked_files": self.checked_files,
            "checked_bytes": self.checked_bytes,
            "trusted_files": self.trusted_files,
            "protection": self.protection,
            "commit": self.commit,
            "locked_at": self.locked_at,
            "upstream": [it.to_dict() for it in self.upstream],
        }
