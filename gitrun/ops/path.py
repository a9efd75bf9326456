"""path: where the repository of a run is."""

from __future__ import annotations

import os
from pathlib import Path

from gitrun.errors import NotLocked
from gitrun.ops._context import RunArgument, context
from gitrun.settings import Settings


def path(run: RunArgument, *, settings: Settings | None = None) -> Path:
    """The run repository's directory.  Raises RunNotFound, and NotLocked when the run never was locked."""
    place = context(run, settings).place
    if place.repository is None:
        raise NotLocked("the run has no repository", path=place.run, hint="gitrun lock makes one")
    return Path(os.fsdecode(place.repository))
