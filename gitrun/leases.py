"""Leases: the kernel's own answer to "does anybody still write to this file?" (docs/adr/0013).

A read lease is granted only while no process has the file open, or mapped, for writing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from contextlib import suppress

from gitrun.entry import full_path
from gitrun.errors import RunActive
from gitrun.walk import Node


def refuse_writers(run: bytes, fd: int, node: Node) -> None:
    """Raises RunActive when any process has the file open, or mapped, for writing.

    Where the file system or the system knows no leases, nothing is refused.  The lease ends with the descriptor:
    `give_back` it before a long read, or a writer who opens the file then has to wait.
    """
    if has_writer(fd):
        raise RunActive(
            f"the file is open for writing{_holders(node)}",
            path=full_path(run, node.path),
            hint="wait until its writer has finished, or lock with --force",
        )


def has_writer(fd: int) -> bool:
    """Whether any process has the file of this read-only descriptor open for writing, as far as the system can tell."""
    if signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):
        pass  # no leases here
    return False


def give_back(fd: int) -> None:
    """Gives up the lease that a look for writers took."""
    with suppress(OSError, AttributeError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def ignore_signals() -> None:
    """Somebody who opens a leased file makes the kernel send SIGIO, which by default would end this process.

    Only the main thread may change that; elsewhere, where nobody did, writers go unnoticed by leases.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
        signal.signal(signal.SIGIO, signal.SIG_IGN)


def _holders(node: Node) -> str:
    """The processes that have the file open, as far as /proc shows them to us."""
    pids: list[str] = []
    for pid in filter(str.isdigit, _listdir("/proc")):
        for fd in _listdir(f"/proc/{pid}/fd"):
            try:
                found = os.stat(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == node.identity and pid != str(os.getpid()):
                pids.append(pid)
                break
    return f" by process {', '.join(pids)}" if pids else ""


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
