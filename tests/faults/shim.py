"""The preloaded counter of `shim.c`, seen from Python: building it, setting it up, reading what it saw.

shim = Shim(library, directory / "state")
shim.set(below=[parent], at=117, fault=KILL_BEFORE)
subprocess.run(command, env={**os.environ, **shim.environment})
shim.fired, shim.counted(CHANGE), shim.log()
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("shim.c")
RECORDS = 16384

CHANGE, READ = 0, 1
"""Classes of calls; each is counted by itself."""

NONE, KILL_BEFORE, KILL_AFTER, KILL_ONE_BEFORE, KILL_ONE_AFTER, FAIL, SHORT, STOP_BEFORE, STOP_AFTER = range(9)
"""What happens at the call: KILL_* kills the whole process group, KILL_ONE_* and STOP_* only the process that calls."""

WRITES = frozenset(
    [
        "write",
        "pwrite",
        "pwrite64",
        "writev",
        "pwritev",
        "pwritev64",
        "sendfile",
        "sendfile64",
        "copy_file_range",
        "splice",
    ]
)
TAKES_SPACE = WRITES | frozenset(
    [
        "create",
        "mkdir",
        "link",
        "rename",
        "symlink",
        "mknod",
        "ftruncate",
        "fallocate",
        "setxattr",
        "fsync",
        "fdatasync",
        "reflink",
    ]
)


class Record(ctypes.Structure):
    """One counted call."""

    _fields_ = [
        ("pid", ctypes.c_uint32),
        ("klass", ctypes.c_uint32),
        ("call", ctypes.c_char * 24),
        ("path", ctypes.c_char * 480),
    ]


class State(ctypes.Structure):
    """The twin of `struct state` in shim.c."""

    _fields_ = [
        ("counted", ctypes.c_uint64 * 2),
        ("at", ctypes.c_uint64),
        ("fired", ctypes.c_uint64),
        ("klass", ctypes.c_uint32),
        ("fault", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("sticky", ctypes.c_uint32),
        ("fired_pid", ctypes.c_uint32),
        ("logging", ctypes.c_uint32),
        ("logged", ctypes.c_uint64),
        ("prefixes", ctypes.c_char * 2048),
        ("calls", ctypes.c_char * 512),
        ("part", ctypes.c_char * 512),
        ("log", Record * RECORDS),
    ]


class Call(NamedTuple):
    """A call that was counted: its number in its class (from 1), and what it was."""

    number: int
    pid: int
    klass: int
    name: str
    path: bytes


def build(target: Path) -> Path:
    """Compiles the library to `target`; a missing compiler or a warning is an error, never a skipped test."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("the fault tests need a C compiler (Debian: apt-get install gcc libc6-dev)")
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-Wno-nonnull"]
    subprocess.run([compiler, *flags, "-o", str(target), str(SOURCE), "-ldl"], check=True)
    target.chmod(0o755)
    return target


class Shim:
    """One counter, shared by this process and every process that is started with `environment`."""

    def __init__(self, library: Path, state_file: Path) -> None:
        self._file = state_file
        with open(state_file, "wb+") as file:
            file.truncate(ctypes.sizeof(State))
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(State))
        state_file.chmod(0o666)
        self.state = State.from_buffer(self._map)
        self.environment = {"LD_PRELOAD": str(library), "GITRUN_SHIM_STATE": str(state_file)}

    def set(
        self,
        below: Iterable[Path] = (),
        *,
        at: int = 0,
        fault: int = NONE,
        klass: int = CHANGE,
        error: int = errno.EIO,
        sticky: bool = False,
        calls: Iterable[str] = (),
        part: str = "",
        logging: bool = False,
    ) -> None:
        """Counts from zero: calls of the given names (default: all) below the directories, with `part` in their path.

        The `at`-th of class `klass` goes wrong; with `sticky` all that follow do too.
        """
        state = self.state
        state.at = 0
        state.counted[CHANGE] = state.counted[READ] = state.fired = state.logged = state.fired_pid = 0
        state.klass, state.fault, state.error, state.sticky, state.logging = klass, fault, error, sticky, logging
        self._text(State.prefixes, b"".join(os.fsencode(os.path.realpath(p)) + b"\0" for p in below))
        names = ",".join(calls)
        state.calls = f",{names},".encode() if names else b""
        state.part = os.fsencode(part)
        state.at = at

    def off(self) -> None:
        """Nothing is counted any more."""
        self.set()

    def _text(self, field: object, value: bytes) -> None:
        """Writes a value that holds NULs, which ctypes would cut at the first."""
        offset, size = field.offset, field.size  # type: ignore[attr-defined]
        if len(value) >= size:
            raise ValueError("too many prefixes")
        self._map[offset : offset + size] = value.ljust(size, b"\0")

    @property
    def fired(self) -> int:
        """How many calls went wrong."""
        return int(self.state.fired)

    def counted(self, klass: int = CHANGE) -> int:
        """How many calls of a class there were."""
        return int(self.state.counted[klass])

    def log(self, klass: int = CHANGE) -> list[Call]:
        """The calls of a class, in order; needs `logging`."""
        total = int(self.state.logged)
        if total > RECORDS:
            raise RuntimeError(f"{total} calls are more than the log holds")
        records = [r for r in self.state.log[:total] if r.klass == klass]
        return [Call(i, r.pid, r.klass, r.call.decode(), r.path) for i, r in enumerate(records, 1)]

    def close(self) -> None:
        """Gives the memory back."""
        del self.state
        self._map.close()
        self._file.unlink()


def applies(fault: int, error: int, call: str) -> bool:
    """Whether the fault can happen to such a call: only writes are short, only what takes space meets a full disk."""
    if fault == SHORT:
        return call in WRITES
    if fault == FAIL and error in (errno.ENOSPC, errno.EDQUOT):
        return call in TAKES_SPACE
    return True
