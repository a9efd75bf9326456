"""Line differences of two texts, by libgit2, which has git's own algorithm and needs neither files nor processes."""

from __future__ import annotations

from typing import NamedTuple

_LOOKED_AT = 8000
"""So many bytes git looks at to tell binary from text."""


class Hunks(NamedTuple):
    """What a unified diff says below its header."""

    text: bytes
    added: int
    deleted: int
    """Lines."""


def is_binary(data: bytes) -> bool:
    """What git takes for binary: a NUL near the beginning."""
    return b"\0" in data[:_LOOKED_AT]


def hunks(old: bytes, new: bytes) -> Hunks:
    """The unified diff, three lines of context, that leads from one text to the other."""
    import pygit2

    patch = pygit2.Patch.create_from(old, new)
    _, added, deleted = patch.line_stats
    at = (patch.data or b"").find(b"\n@@ ")
    return Hunks(patch.data[at + 1 :] if at >= 0 else b"", added, deleted)
