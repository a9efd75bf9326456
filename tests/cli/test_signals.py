"""^C, kill and a closed terminal: what was begun is put back, one line is said, and the exit code tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from gitrun.cli import _signals
from gitrun.cli._console import Common
from gitrun.cli._runner import Verb, run_each
from gitrun.cli._targets import Target

_signals.install()
top, jobs = Path(sys.argv[1]), int(sys.argv[2])

def work(task):
    name = task.path.decode()
    try:
        (top / f"{name}.begun").touch()
        time.sleep(60)
    finally:
        time.sleep(0.3)
        (top / f"{name}.back").touch()

targets = [Target(name) for name in (b"a", b"b", b"c")[:jobs + 1]]
sys.exit(run_each(Verb("try", work, lambda result, console: None), targets, Common(jobs=jobs)))
"""


def interrupted(top: Path, jobs: int, *signals: int, group: bool = False) -> tuple[int, str]:
    """Exit code and messages of a program that gets signals while it works."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(top), str(jobs)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(top.glob("*.begun"))) < jobs:
        time.sleep(0.01)
    for number in signals:
        (os.killpg if group else os.kill)(child.pid, number)
        time.sleep(0.05)
    _, said = child.communicate(timeout=20)
    return child.returncode, said


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_ends_the_work_cleanly(number: signal.Signals, code: int, jobs: int, tmp_path: Path) -> None:
    returned, said = interrupted(tmp_path, jobs, number)
    assert returned == code
    assert said.splitlines()[0] == f"gitrun: interrupted by {number.name}: a"
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("*.begun"))) == len(list(tmp_path.glob("*.back"))) == jobs


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_ctrl_c_does_not_break_the_cleanup(jobs: int, tmp_path: Path) -> None:
    returned, said = interrupted(tmp_path, jobs, signal.SIGINT, signal.SIGINT, signal.SIGTERM, group=True)
    assert returned == 130
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("*.back"))) == jobs


def test_nohup_is_respected() -> None:
    program = "import signal; from gitrun.cli import _signals; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    program += "_signals.install(); signal.raise_signal(signal.SIGHUP); print('still here')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "still here\n"
