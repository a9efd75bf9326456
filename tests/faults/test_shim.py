"""The machinery itself: what the shim counts, and that each fault does what it says."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import shim as s


@pytest.fixture
def place(fault_base: Path, request: pytest.FixtureRequest) -> Path:
    """An empty directory."""
    path = fault_base / f"shim-{abs(hash(request.node.name))}"
    path.mkdir()
    return path


@pytest.fixture
def counter(library: Path, fault_base: Path) -> Iterator[s.Shim]:
    """A counter of its own."""
    shim = s.Shim(library, fault_base / "shim-state")
    yield shim
    shim.close()


def run(shim: s.Shim, place: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a program under the shim, in a session of its own, since KILL_* kills the process group."""
    environment = {**os.environ, **shim.environment, "LC_ALL": "C"}
    return subprocess.run(command, cwd=place, env=environment, start_new_session=True, capture_output=True, text=True)


PYTHON = """
import os
fd = os.open("one", os.O_WRONLY | os.O_CREAT, 0o600)
os.write(fd, b"0123456789")
os.fsync(fd)
os.fchmod(fd, 0o400)
os.close(fd)
if os.fork() == 0:
    os.link("one", "two")
    os._exit(0)
os.wait()
os.mkdir("directory")
directory = os.open("directory", os.O_RDONLY)
os.symlink("target", "link", dir_fd=directory)
os.rename("two", "three", dst_dir_fd=directory)
os.chmod(f"/proc/self/fd/{directory}", 0o500)
os.unlink("one")
os.utime("directory", ns=(1, 1))
open("/dev/null", "w").write("elsewhere")
"""
CALLS = ["create", "write", "fsync", "chmod", "link", "mkdir", "symlink", "rename", "chmod", "unlink", "utime"]


def test_counts_over_processes_and_descriptors(counter: s.Shim, place: Path) -> None:
    counter.set([place], logging=True)
    done = run(counter, place, [sys.executable, "-c", PYTHON])
    assert done.returncode == 0, done.stderr
    assert [c.name for c in counter.log()] == CALLS
    paths = [c.path.decode().removeprefix(f"{place}/") for c in counter.log()]
    assert paths == [
        "one",
        "one",
        "one",
        "one",
        "two",
        "directory",
        "directory/link",
        "directory/three",
        "directory",
        "one",
        "directory",
    ]
    assert len({c.pid for c in counter.log()}) == 2
    assert counter.counted() == len(CALLS)


def test_sees_programs_that_are_not_python(counter: s.Shim, place: Path) -> None:
    counter.set([place], logging=True)
    run(counter, place, ["sh", "-c", "echo x >a; mv a b; chmod 400 b; cp b c; rm -f c; mkdir d; rmdir d"])
    assert [c.name for c in counter.log() if c.name not in ("write", "copy_file_range", "reflink")] == [
        *["create", "rename", "chmod", "create", "unlink", "mkdir", "rmdir"]
    ]
    counter.set([place])
    done = run(counter, place, ["git", "init", "-q", "repository"])
    assert done.returncode == 0 and counter.counted() > 20


@pytest.mark.parametrize(("fault", "kept"), [(s.KILL_BEFORE, 4), (s.KILL_AFTER, 5)], ids=["before", "after"])
def test_kills(counter: s.Shim, place: Path, fault: int, kept: int) -> None:
    counter.set([place], at=5, fault=fault)
    done = run(counter, place, ["sh", "-c", "mkdir 1; mkdir 2; mkdir 3; mkdir 4; mkdir 5; mkdir 6; mkdir 7"])
    assert done.returncode == -signal.SIGKILL
    assert sorted(os.listdir(place)) == [str(n) for n in range(1, kept + 1)]


def test_kills_one_process_only(counter: s.Shim, place: Path) -> None:
    counter.set([place], at=2, fault=s.KILL_ONE_BEFORE)
    run(counter, place, ["sh", "-c", "mkdir 1; mkdir 2; mkdir 3"])
    assert sorted(os.listdir(place)) == ["1", "3"]


def test_fails_once_or_for_ever(counter: s.Shim, place: Path) -> None:
    command = ["sh", "-c", "mkdir 1; mkdir 2; mkdir 3"]
    counter.set([place], at=2, fault=s.FAIL, error=errno.ENOSPC)
    assert "No space left" in run(counter, place, command).stderr
    assert sorted(os.listdir(place)) == ["1", "3"]
    counter.set([place], at=2, fault=s.FAIL, error=errno.EROFS, sticky=True)
    run(counter, place, ["sh", "-c", "mkdir 4; mkdir 5; mkdir 6"])
    assert sorted(os.listdir(place)) == ["1", "3", "4"]
    assert counter.fired == 2


def test_short_write_writes_half(counter: s.Shim, place: Path) -> None:
    counter.set([place], at=2, fault=s.SHORT)
    done = run(counter, place, [sys.executable, "-c", "import os; print(os.write(os.open('f', 65), b'12345678'))"])
    assert done.stdout == "4\n"
    assert (place / "f").read_bytes() == b"1234"


def test_reading_is_a_class_of_its_own(counter: s.Shim, place: Path) -> None:
    (place / "file").write_bytes(b"content")
    counter.set([place], logging=True)
    script = "import os; list(os.scandir('.')); os.stat('file'); open('file').read()"
    run(counter, place, [sys.executable, "-I", "-c", script])
    assert not counter.log(s.CHANGE)
    assert {"open", "readdir", "stat", "read"} <= {c.name for c in counter.log(s.READ)}
    listed = next(c.number for c in counter.log(s.READ) if c.name == "readdir")
    counter.set([place], at=listed, fault=s.FAIL, error=errno.EIO, klass=s.READ)
    assert "Input/output error" in run(counter, place, [sys.executable, "-I", "-c", script]).stderr


def test_stops_until_it_may_go_on(counter: s.Shim, place: Path) -> None:
    counter.set([place], at=2, fault=s.STOP_BEFORE, calls=["mkdir"])
    command = [sys.executable, "-c", "import os; os.mkdir('1'); open('f', 'w'); os.mkdir('2')"]
    with subprocess.Popen(command, cwd=place, env={**os.environ, **counter.environment}) as program:
        end = time.monotonic() + 10
        while not counter.fired and time.monotonic() < end:
            time.sleep(0.005)
        assert sorted(os.listdir(place)) == ["1", "f"]
        assert counter.state.fired_pid == program.pid
        while Path(f"/proc/{program.pid}/stat").read_text().split()[2] != "T":
            time.sleep(0.001)
        program.send_signal(signal.SIGCONT)
    assert sorted(os.listdir(place)) == ["1", "2", "f"]
