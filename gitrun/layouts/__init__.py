"""Layouts: what gitrun knows of the tools that make runs, one small adapter each."""

from __future__ import annotations

from pathlib import Path

from gitrun.layouts import guild, plain
from gitrun.layouts.base import Layout

LAYOUTS: dict[str, Layout] = {layout.NAME: layout for layout in (guild, plain)}
"""Every layout under the name that lock files use, in the order in which `detect` asks; plain takes what is left."""


def detect(run: Path) -> Layout:
    """The layout of the run directory `run`: `plain` where no tool's marks are found.  Never fails."""
    return next(layout for layout in LAYOUTS.values() if layout.detect(run))
