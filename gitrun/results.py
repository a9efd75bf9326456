"""What the verbs return: one frozen value for each, which knows its JSON form and nothing of the terminal."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

UNLOCKED = "unlocked"
LOCKED = "locked"
MODIFIED = "locked+modified"
INTERRUPTED = "interrupted"
ORPHANED = "orphaned"
DETACHED = "detached"
"""The states of a run, as docs/states-and-promises.md defines them."""

PROTECTED = "read-only"
IMMUTABLE = "immutable"
NOT_ENFORCED = "read-only (root ignores it)"
UNPROTECTED = "none"
"""The protection in force: what keeps a locked run from being changed by accident."""


def path_json(path: bytes, key: str = "path") -> Json:
    """A path for JSON: as text, and where it is not UTF-8 also exactly, in base64."""
    try:
        return {key: path.decode("utf-8")}
    except UnicodeDecodeError:
        return {key: path.decode("utf-8", "replace"), key + "_b64": base64.b64encode(path).decode()}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was locked."""

    path: bytes
    kind: str
    """`modified` `deleted` `added` `type` `target`; drift: `mode` `writable` `mtime` `xattr` `links`; mutable files: `mutable`."""
    expected: str
    actual: str
    note: str = ""
    """For people: what is probably behind it, such as litter of an editor."""

    def to_dict(self) -> Json:
        """The JSON form."""
        told = {**path_json(self.path), "kind": self.kind, "expected": self.expected, "actual": self.actual}
        return {**told, "note": self.note} if self.note else told


@dataclass(frozen=True, kw_only=True)
class Result:
    """What all results have in common: which run, where, and in which state it is now."""

    run: str
    """The run id; empty when the run has none yet."""
    path: bytes
    """The absolute path of the run directory."""
    state: str
    exit: int = 0
    notes: tuple[str, ...] = ()
    """What the user should know although it went well, a line each."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        told = {"run": self.run, **path_json(self.path), "state": self.state, "exit": self.exit}
        return {**told, "notes": list(self.notes)} if self.notes else told


@dataclass(frozen=True, kw_only=True)
class LockResult(Result):
    """A run was locked, or was found locked and untouched."""

    commit: str
    files: int
    bytes: int
    locked_at: int
    """Seconds since the epoch."""
    protection: str
    already: bool = False
    """The run was locked before, and is untouched."""
    stored_bytes: int = 0
    """Bytes that this lock added to the store."""
    label: str = ""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
            "locked_at": self.locked_at,
            "protection": self.protection,
            "already": self.already,
            "stored_bytes": self.stored_bytes,
            "label": self.label,
        }


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
        }


@dataclass(frozen=True, kw_only=True)
class UnlockResult(Result):
    """A run is writable again."""

    files: int
    differences: tuple[Difference, ...] = ()
    """What had changed under the lock, as far as sizes, times and types tell."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {**Result.to_dict(self), "files": self.files, "differences": [d.to_dict() for d in self.differences]}


@dataclass(frozen=True, kw_only=True)
class StatusResult(Result):
    """Where a run stands, told without reading its content."""

    label: str = ""
    layout: str = ""
    commit: str = ""
    files: int = 0
    bytes: int = 0
    locked_at: int = 0
    protection: str = ""
    locks: int = 0
    """How many locks its history has."""

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "label": self.label,
            "layout": self.layout,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
            "locked_at": self.locked_at,
            "protection": self.protection,
            "locks": self.locks,
        }


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


@dataclass(frozen=True)
class Change(Difference):
    """One thing that differs between two sides; `kind` is also `renamed`, for the same bytes under another name."""

    old_size: int = 0
    new_size: int = 0
    """Bytes of a file; 0 for what is none, or not there."""
    renamed_from: bytes = b""
    added_lines: int | None = None
    deleted_lines: int | None = None
    """None where lines were not compared: binary, too large, no file, or not asked for."""
    binary: bool = False
    patch: bytes = b""
    """The hunks of a unified diff, as far as it was asked for."""

    def to_dict(self) -> Json:
        """The JSON form; the hunks are not part of it."""
        told = {
            **Difference.to_dict(self),
            "old_size": self.old_size,
            "new_size": self.new_size,
            "added_lines": self.added_lines,
            "deleted_lines": self.deleted_lines,
            "binary": self.binary,
        }
        return {**told, **path_json(self.renamed_from, "renamed_from")} if self.renamed_from else told


@dataclass(frozen=True, kw_only=True)
class DiffResult(Result):
    """What leads from one side to the other; true when something does."""

    old: str
    new: str
    """The commit of a side that is a lock; empty for a run as it is on disk."""
    changes: tuple[Change, ...] = ()
    mutable: tuple[Change, ...] = ()
    """Changes of mutable files, which are none of the run's results."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "old": self.old,
            "new": self.new,
            "changes": [change.to_dict() for change in self.changes],
            "mutable": [change.to_dict() for change in self.mutable],
        }


@dataclass(frozen=True, kw_only=True)
class ForkResult(Result):
    """A new run was made out of a locked one; `run` and `path` are the new run's."""

    origin: str
    """The run id of the run that it came from."""
    commit: str
    """The lock that it came from."""
    files: int
    bytes: int

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "origin": self.origin,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
        }


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


@dataclass(frozen=True, kw_only=True)
class RestoreResult(Result):
    """What was, or with `dry_run` would be, put back."""

    restored: tuple[Difference, ...] = ()
    kept: tuple[Difference, ...] = ()
    """Added files that were left where they are."""
    removed: tuple[Difference, ...] = ()
    """Added files that `clean` removed."""
    files: int = 0
    bytes: int = 0
    """Files and bytes whose content was written."""
    dry_run: bool = False

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "restored": [d.to_dict() for d in self.restored],
            "kept": [d.to_dict() for d in self.kept],
            "removed": [d.to_dict() for d in self.removed],
            "files": self.files,
            "bytes": self.bytes,
            "dry_run": self.dry_run,
        }


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
