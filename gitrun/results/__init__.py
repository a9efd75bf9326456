"""What the verbs return: one frozen value for each, which knows its JSON form and nothing of the terminal.

Each verb has a module here with its own; they have this module in common.  A verb loads no other's: a frozen dataclass
takes half a millisecond to make.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
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
