"""Progress on a terminal: a tqdm bar, for work that lasts."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_PATIENCE = 0.5
"""Seconds before a bar appears; tqdm is not even imported sooner, which costs as much as a small command."""


class TerminalProgress:
    """The `Progress` of one command; a context manager that leaves no trace of the bar."""

    def __init__(self, *, _patience: float = _PATIENCE) -> None:
        self._show_at = time.monotonic() + _patience
        self._bar: tqdm[Any] | None = None
        self._title, self._total, self._unit, self._done = "", 0, "", 0

    def stage(self, title: str, total: int, unit: str) -> None:
        """A new stage begins; its bar takes the place of the last one's."""
        self.clear()
        self._title, self._total, self._unit, self._done = title, total, unit, 0

    def advance(self, amount: int) -> None:
        """`amount` more units are done."""
        self._done += amount
        if self._bar is not None:
            self._bar.update(amount)
        elif time.monotonic() >= self._show_at:
            self._bar = self._open()

    def clear(self) -> None:
        """Takes the bar off the screen; the next `advance` brings it back."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self) -> tqdm[Any]:
        from tqdm import tqdm

        # Its watching thread would make every later fork unsafe.
        tqdm.monitor_interval = 0
        scale = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        return tqdm(
            desc=self._title,
            total=self._total or None,
            initial=self._done,
            leave=False,
            file=sys.stderr,
            dynamic_ncols=True,
            **(scale if self._unit == "B" else {"unit": f" {self._unit}"}),
        )

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clear()
