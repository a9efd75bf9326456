"""The layout of a directory that no tool marked: a script's output, a data set, anything."""

from __future__ import annotations

from collections.abc import Mapping
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


def outcome(run: Path) -> str:
    """Empty: nobody noted it."""
    return ""


def activity(run: Path) -> str | None:
    """None: nothing says that it is in use.  Files held open for writing are found by lock itself, in every layout."""
    return None


def mutable(run: Path) -> frozenset[bytes]:
    """Empty: every file counts."""
    return frozenset()


def attempt() -> tuple[bytes, ...]:
    """Nothing is known of what made the run."""
    return ()


def fork_id() -> str:
    """Empty: people name their directories."""
    return ""


def forgotten(targets: Mapping[bytes, bytes]) -> frozenset[bytes]:
    """Empty: a fork has everything."""
    return frozenset()


def fresh(run_id: str, origin: str) -> Mapping[bytes, bytes]:
    """Nothing: gitrun's own history tells where a fork came from."""
    return {}
