"""Writes both sides of a comparison out as files, for a program that compares directories."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gitrun.entry import FILE, SYMLINK, Entry
from gitrun.fsio import make_directories, opened, write_all
from gitrun.results.diff import Change
from gitrun.sides import Side

OLD, NEW = b"old", b"new"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def write_sides(top: bytes, changes: Sequence[Change], old: Side, new: Side) -> None:
    """Writes what differs below `old` and `new` in the directory `top`, read-only; a symlink as a file with its target.

    They are copies: whatever the program does to them, neither the run nor the store is changed.  Raises ObjectMissing,
    ObjectCorrupt, OSError.
    """
    was, now = ({entry.path: entry for entry in side.entries} for side in (old, new))
    for change in changes:
        # A renamed file lies under its new name on both sides: that is how they are compared.
        _write(os.path.join(top, OLD, change.path), old, was.get(change.renamed_from or change.path))
        _write(os.path.join(top, NEW, change.path), new, now.get(change.path))
    for side in (OLD, NEW):
        make_directories(os.path.join(top, side))


def _write(path: bytes, side: Side, entry: Entry | None) -> None:
    if entry is None or entry.kind not in (FILE, SYMLINK):
        return
    make_directories(os.path.dirname(path))
    with opened(path, _NEW_FILE) as fd:
        if entry.kind == SYMLINK:
            write_all(fd, entry.target)
        else:
            side.save(entry, fd)
        os.fchmod(fd, 0o444)
