"""What one lock of a run changed against another: two records laid side by side.  Pure, and no content is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gitrun.entry import FILE, KIND_NAMES, SYMLINK, Entry
from gitrun.results import Difference


def between(older: Sequence[Entry], newer: Sequence[Entry]) -> list[Difference]:
    """The differences that lead from one record to the next, sorted by path.

    `added`, `deleted`, `modified`, `type`, `target` and `mode`; `mutable` for a mutable file that came, went or changed.
    Times and extended attributes do not count.
    """
    before, after = ({entry.path: entry for entry in entries} for entries in (older, newer))
    found = [_difference(before.get(path), after.get(path)) for path in sorted(before.keys() | after.keys())]
    return [difference for difference in found if difference is not None]


def _difference(was: Entry | None, now: Entry | None) -> Difference | None:
    entry = now or was
    assert entry is not None
    for kind in _kinds(was, now):
        told = "mutable" if entry.mutable else kind
        return Difference(entry.path, told, describe(was, kind), describe(now, kind))
    return None


def _kinds(was: Entry | None, now: Entry | None) -> Iterator[str]:
    """What differs, the weightiest first."""
    if was is None or now is None:
        if not _is_placeholder(was or now):
            yield "added" if was is None else "deleted"
        return
    if (was.kind, was.device) != (now.kind, now.device):
        yield "type"
    if was.sha256 != now.sha256:
        yield "modified"
    if was.target != now.target:
        yield "target"
    if was.mode != now.mode and not now.mutable:
        yield "mode"


def _is_placeholder(entry: Entry | None) -> bool:
    """A mutable file that only a lock made, empty: the run's tool has none there."""
    return entry is not None and entry.created


def describe(entry: Entry | None, kind: str) -> str:
    """What is told, for people, of an entry that differs in `kind`; nothing of one that is not there."""
    if entry is None:
        return ""
    if kind == "mode":
        return f"{entry.mode:04o}"
    if entry.kind == SYMLINK:
        return entry.target.decode("utf-8", "backslashreplace")
    return f"sha256:{entry.sha256}, {entry.size} bytes" if entry.kind == FILE else KIND_NAMES[entry.kind]
