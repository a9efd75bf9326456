"""Whether the process that a tool noted down is the one that has this pid now."""

from __future__ import annotations

import os
import time

CLOCK_SLACK = 60.0
"""Seconds by which a process may seem younger than the note of its pid and still be the one meant.

The note's time may come from a file server whose clock is behind, and the system's clock may have been set since.  A
pid that came round again within a minute of the note makes a finished run look active, which `--force` settles; the
other mistake would lock a run that is being written.
"""


def is_alive(pid: int) -> bool:
    """Whether a process `pid` is there, ours or anybody's, and is not just waiting for init to bury it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    fields = _stat_fields(pid)
    # A zombie whose parent lives counts: the parent has still to write down how it ended.
    return not (fields and fields[0] in ("Z", "X") and fields[1] == "1")


def is_the_same(pid: int, noted: float, directory: str) -> bool:
    """Whether the living process `pid` can be the one noted down at time `noted` (seconds), at work in `directory`.

    True where the system does not tell.
    """
    if _works_in(pid, directory):
        return True
    started = _started(pid)
    return started is None or started <= noted + CLOCK_SLACK


def _works_in(pid: int, directory: str) -> bool:
    """Whether the current directory of the process is `directory` or below it; False where it is not told."""
    try:
        current = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False
    return (current + "/").startswith(os.path.realpath(directory) + "/")


def _started(pid: int) -> float | None:
    """When the process began, in seconds since the epoch by today's clock; None where it is not told."""
    fields = _stat_fields(pid)
    if len(fields) < 20 or not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (proc(5) counts it as the third); empty where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as told:
            # The program's name stands before them in brackets, and may hold blanks and brackets itself.
            return told.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []
