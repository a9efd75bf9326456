"""The layout of a directory that no tool marked: a script's output, a data set, anything."""

from __future__ import annotations

from pathlib import Path

NAME = "plain"


def detect(run: Path) -> bool:
    """Always true: asked last, it takes whatever no other layout knows."""
    return True


def run_id(run: Path) -> str | None:
    """None: nobody named it; gitrun makes an id from the directory's name."""
    return None


def label(run: Path) -> str:
    """Empty: there is no place where people could have written one."""
    return ""


def activity(run: Path) -> str | None:
    """None: nothing says that it is in use.  Files held open for writing are found by lock itself, in every layout."""
    return None


def mutable(run: Path) -> frozenset[bytes]:
    """Empty: every file counts."""
    return frozenset()
