"""How the core tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Something that shows the progress of one command; the terminal's lives in `cli`."""

    def stage(self, title: str, total: int, unit: str) -> None:
        """A new stage begins: `total` units (bytes `B` or `entries`) are to be done; 0 when not known."""

    def advance(self, amount: int) -> None:
        """`amount` more units of the stage are done."""


class Silent:
    """A progress that nobody sees."""

    def stage(self, title: str, total: int, unit: str) -> None:
        """Nothing is shown."""

    def advance(self, amount: int) -> None:
        """Nothing is shown."""


SILENT = Silent()
