"""What gitrun asks of a tool's run directory, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Layout(Protocol):
    """A small adapter for the run directories of one tool.

    Every answer comes from reading files: no layout imports the tool or writes anything.
    A module in this package that has these names is a layout.
    """

    NAME: str
    """What the lock file calls the layout."""

    def detect(self, run: Path) -> bool:
        """Whether `run` is a run directory of this tool."""

    def run_id(self, run: Path) -> str | None:
        """The tool's own id of the run; None where it has none."""

    def label(self, run: Path) -> str:
        """What people call the run (operation and label), on one line; empty where nobody named it."""

    def outcome(self, run: Path) -> str:
        """How the run ended, in the tool's word (`completed`, `error`, …); empty where it does not tell."""

    def activity(self, run: Path) -> str | None:
        """Why the run must not be locked now (running, staged, …), in a few words; None when it is finished."""

    def mutable(self, run: Path) -> frozenset[bytes]:
        """Paths, relative to the run, of the files that may change without breaking a lock.

        A missing one whose directory exists is created empty at lock, so that the tool can write to it while its
        directory is read-only.
        """

    def attempt(self) -> tuple[bytes, ...]:
        """Paths, relative to the run, of files that the tool writes anew whenever it runs the run."""

    def fork_id(self) -> str:
        """A fresh id for a fork, which its directory is named after; empty where people choose the name."""

    def forgotten(self, targets: Mapping[bytes, bytes]) -> frozenset[bytes]:
        """What a fork begins without, of the run's paths; `targets` has where each symlink leads, nothing for all else."""

    def fresh(self, run_id: str, origin: str) -> Mapping[bytes, bytes]:
        """The small files that a fork gets instead: their content by path.  `origin` is the id of the run it came from."""
