"""^C, `kill` and a closed terminal become one exception in the main thread, so that every cleanup runs."""

from __future__ import annotations

import signal
import time
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_WISH = 3.0
"""Seconds in which a further signal is taken for the same one: an impatient second ^C, or a parent that passes its
own on to a process group that has it already.  It must not break the cleanup that the first one began."""


class Stopped(KeyboardInterrupt):
    """A signal asked gitrun to stop.

    A KeyboardInterrupt and no GitrunError: nothing that collects failures and goes on may swallow it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What shells report for a program that the signal ended: 130, 143 or 129."""
        return 128 + self.number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


def install() -> None:
    """From now on the signals raise Stopped; one that is ignored (`nohup`) stays ignored."""
    last = -_SAME_WISH

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SAME_WISH:
            last = now
            raise Stopped(number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
