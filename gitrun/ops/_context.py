"""What every verb begins with: the run's place, its layout, its state."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gitrun import layouts, store
from gitrun.entry import ROOT
from gitrun.errors import UsageError
from gitrun.layouts.base import Layout
from gitrun.settings import Settings, load
from gitrun.store import Place

RunArgument = str | bytes | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Context:
    """A run, as a verb meets it."""

    place: Place
    layout: Layout
    settings: Settings

    @property
    def directory(self) -> Path:
        """The run directory, as layouts want it."""
        return Path(os.fsdecode(self.place.run))

    @property
    def label(self) -> str:
        """What people call the run; its directory's name where nobody named it."""
        name = os.fsdecode(self.place.name)
        return (self.layout.label(self.directory) if self.place.exists else "") or name

    def again(self) -> Context:
        """The same, looked up anew: another process may have changed it while we waited."""
        return context(self.place.run, self.settings)


def context(run: RunArgument, settings: Settings | None = None) -> Context:
    """The context of the run at a path; raises as store.locate does."""
    known = settings or load()
    path = os.path.abspath(os.fsencode(run))
    directory = Path(os.fsdecode(os.path.realpath(path)))
    layout = layouts.detect(directory)
    place = store.locate(path, known, (layout.run_id(directory) if directory.is_dir() else None) or "")
    return Context(place, layout, known)


def jobs_or_all(jobs: int) -> int:
    """The number of parallel workers; 0 stands for one per processor."""
    from gitrun.parallel import cpu_count

    return jobs if jobs > 0 else cpu_count()


def inside_run(path: str | bytes) -> bytes:
    """A path that the user gave relative to the run, as entries have it; raises UsageError for one that leads outside."""
    clean = os.path.normpath(os.fsencode(path))
    if clean.startswith((b"/", b"../")) or clean == b"..":
        raise UsageError("not a path inside the run", path=path, hint="name it relative to the run")
    return ROOT if clean == b"." else clean
