"""Clones that run at once, are killed, or meet what somebody has planted."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gitrun
from gitrun.errors import Refused, RunBusy
from gitrun.scratch import scratch
from tests.support.mounts import needs_root
from tests.support.program import gitrun as program
from tests.support.tools import CHECKOUT

COUNT = 12


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    for number in range(COUNT):
        run = tmp_path / "runs" / f"r{number}"
        run.mkdir(parents=True)
        (run / "file").write_text(str(number))
        gitrun.lock(run)
    assert program("push", "--all", tmp_path / "runs", tmp_path / "remote.git").code == 0
    return tmp_path / "remote.git"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def cloning(*words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gitrun", "clone", "-q", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def assert_all_there(there: Path, remote: Path) -> None:
    """All of them, now or with one more command, and nothing else."""
    assert program("clone", "-q", "--all", "--into", there, remote).code == 0
    assert sorted(os.listdir(there)) == sorted([".gitrun", *(f"r{number}" for number in range(COUNT))])
    assert not [name for name in os.listdir(there / ".gitrun") if name.startswith(".tmp")]
    assert program("verify", "-q", "--strict", "--all", there).code == 0


def test_the_same_twice_at_once(there: Path, remote: Path) -> None:
    both = [cloning("--all", "--into", there, remote) for _ in range(2)]
    told = [(it.communicate()[1], it.returncode) for it in both]
    assert 0 in [code for _, code in told] and {code for _, code in told} <= {0, 5}, told
    assert_all_there(there, remote)


def test_other_words_for_the_same_at_once(there: Path, remote: Path, tmp_path: Path) -> None:
    ids = [gitrun.status(tmp_path / "runs" / f"r{number}").run for number in range(COUNT)]
    both = [cloning("--all", "--into", there, remote), cloning("--into", there, remote, *ids[1:])]
    told = [(it.communicate()[1], it.returncode) for it in both]
    assert {code for _, code in told} <= {0, 5}, told
    assert_all_there(there, remote)


@pytest.mark.parametrize("delay", [0.2, 0.35, 0.5, 0.8])
def test_killed_and_done_again(there: Path, remote: Path, delay: float) -> None:
    first = cloning("--all", "--into", there, remote)
    time.sleep(delay)
    first.send_signal(signal.SIGKILL)
    first.communicate()  # its workers, too, are gone now: they have its stderr
    assert_all_there(there, remote)


@pytest.mark.parametrize("where", ["gitrun.ops.clone.restore", "gitrun.ops.restore.close_root"])
def test_killed_before_and_while_the_run_is_written(there: Path, remote: Path, tmp_path: Path, where: str) -> None:
    module, name = where.rsplit(".", 1)
    script = (
        f"import os, gitrun, {module} as it\n"
        f"it.{name} = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        f"gitrun.clone({str(remote)!r}, {gitrun.status(tmp_path / 'runs' / 'r3').run!r}, into={str(there)!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, cwd=CHECKOUT)
    assert killed.returncode == -signal.SIGKILL and os.listdir(there / ".gitrun")
    assert_all_there(there, remote)


class TestScratch:
    def test_is_for_one_at_a_time(self, tmp_path: Path) -> None:
        parent = os.fsencode(tmp_path)
        with scratch(parent, b"it", "a") as first, scratch(parent, b"it", "b") as other:
            assert first != other
            with pytest.raises(RunBusy, match="at work"), scratch(parent, b"it", "a"):
                pass
            assert os.path.isdir(first)
        assert not list(tmp_path.iterdir())

    def test_what_a_killed_one_left_is_gone(self, tmp_path: Path) -> None:
        parent = os.fsencode(tmp_path)
        with scratch(parent, b"it", "a") as path:
            pass
        (Path(os.fsdecode(path)) / "sub").mkdir(parents=True)
        (Path(os.fsdecode(path)) / "sub" / "file").write_text("old")
        with scratch(parent, b"it", "a") as again:
            assert again == path and not os.listdir(path)

    def test_a_planted_link_is_not_followed(self, tmp_path: Path) -> None:
        parent, precious = os.fsencode(tmp_path), tmp_path / "precious"
        precious.mkdir()
        (precious / "file").write_text("kept")
        with scratch(parent, b"it", "a") as path:
            pass
        os.symlink(precious, path)
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"), scratch(parent, b"it", "a"):
            pass
        assert (precious / "file").read_text() == "kept"

    def test_somebody_elses_directory_is_not_built_in(self, tmp_path: Path) -> None:
        needs_root()
        parent = os.fsencode(tmp_path)
        with scratch(parent, b"it", "a") as path:
            pass
        os.mkdir(path, 0o700)
        os.chown(path, 65534, 65534)
        with pytest.raises(Refused, match="somebody else"), scratch(parent, b"it", "a"):
            pass
        os.chown(path, 0, 0)
        os.chmod(path, 0o777)
        with pytest.raises(Refused, match="somebody else"), scratch(parent, b"it", "a"):
            pass

    def test_one_that_is_still_written_to(self, tmp_path: Path) -> None:
        parent = os.fsencode(tmp_path)
        with scratch(parent, b"it", "a") as path:
            pass
        writer = (
            "import os, sys, itertools\n"
            "top = sys.argv[1]\n"
            "for number in itertools.count():\n"
            "    os.makedirs(f'{top}/{number % 9}/{number}', exist_ok=True)\n"
        )
        os.mkdir(path, 0o700)
        writing = subprocess.Popen([sys.executable, "-c", writer, os.fsdecode(path)], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.3)
            with pytest.raises(RunBusy, match="still writes"), scratch(parent, b"it", "a"):
                pass
        finally:
            writing.kill()
            writing.wait()

    def test_it_goes_after_a_failure_too(self, tmp_path: Path) -> None:
        def fail() -> None:
            with scratch(os.fsencode(tmp_path), b"it", "a") as path:
                Path(os.fsdecode(path), "file").write_text("x")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert not list(tmp_path.iterdir())

    def test_without_flock(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(fd: int, how: int) -> None:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with scratch(os.fsencode(tmp_path), b"it", "a") as path:
            assert os.path.isdir(path)
