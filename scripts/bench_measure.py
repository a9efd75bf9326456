"""Measure whole processes: wall time, processor time and peak memory.

Times are seconds and memory is bytes. Linux only: the memory of a family of processes comes from /proc.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY = 0.02
"""Seconds between two looks at the memory of the processes."""


class StepFailed(Exception):
    """A measured or preparing command did not end with exit code 0; the text says which and what it wrote."""


@dataclass(frozen=True)
class Sample:
    """One run of one command."""

    wall: float
    cpu: float
    """User and system time, of the command and of all children that it waited for."""
    largest: int
    """Peak resident memory of the largest single process among them, as wait4 reports it."""
    family: int = 0
    """Peak of the proportional share of memory of all processes together; 0 where nobody looked."""
    private: int = 0
    """The same without mapped files, which the kernel may drop at any time."""
    lines: int = 0
    """Lines on stdout."""

    @property
    def memory(self) -> int:
        return max(self.largest, self.family)


def measure(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], scratch: Path, watched: bool = False
) -> Sample:
    """Run a command to its end and measure it; stdout and stderr go to files in `scratch`.

    `watched` looks at the memory of all its processes all the while, which costs some time.
    Raises StepFailed for any exit code but 0.
    """
    out, err = scratch / "stdout", scratch / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        usage, peaks = _wait(process, watched)
        wall = time.perf_counter() - start
    _demand_success(command, process.returncode, err)
    cpu = usage.ru_utime + usage.ru_stime
    return Sample(wall, cpu, usage.ru_maxrss * 1024, peaks.family, peaks.private, _count_lines(out))


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
    """Run a preparing command to its end. Raises StepFailed for any exit code but 0."""
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise StepFailed(_failure(command, done.returncode, done.stderr))


def own_peak() -> int:
    """Peak resident memory of this process: no child can show less, since it begins as a copy of it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Peaks(threading.Thread):
    """Looks at the memory of all processes of one session until it is told to stop."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.family = 0
        self.private = 0
        self._session = session
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(LOOK_EVERY):
            shares = [_share_of_memory(pid) for pid in _members(self._session)]
            self.family = max(self.family, sum(total for total, _ in shares))
            self.private = max(self.private, sum(private for _, private in shares))

    def stop(self) -> None:
        self._done.set()
        if self.is_alive():
            self.join()


def _wait(process: subprocess.Popen[bytes], watched: bool) -> tuple[resource.struct_rusage, _Peaks]:
    peaks = _Peaks(process.pid)
    try:
        if watched:
            peaks.start()
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        _kill(process)
        raise
    finally:
        peaks.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage, peaks


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the command and its children: they are a process group of their own and see no Ctrl-C."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def _members(session: int) -> Iterator[int]:
    """Ids of the processes of a session, children of ended parents included."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                fields = Path("/proc", entry, "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[3]) == session:
                    yield int(entry)


def _share_of_memory(pid: int) -> tuple[int, int]:
    """Proportional share of memory of one process: with and without mapped files."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines()[1:]}
    return sizes["Pss"], sizes["Pss"] - sizes.get("Pss_File", 0)


def _demand_success(command: Sequence[str], code: int, stderr: Path) -> None:
    if code:
        raise StepFailed(_failure(command, code, stderr.read_bytes()))


def _failure(command: Sequence[str], code: int, stderr: bytes) -> str:
    said = stderr.decode(errors="replace").strip().splitlines()[-3:]
    shown = " ".join(command) if len(command) < 8 else f"{' '.join(command[:7])} …"
    return " | ".join([f"exit {code}: {shown}", *said])


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
