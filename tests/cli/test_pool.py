from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from gitrun.cli._pool import fork_each
from gitrun.cli._signals import Stopped


def test_answers_come_in_order_whoever_is_faster() -> None:
    def work(index: int) -> int:
        time.sleep(0.05 if index == 0 else 0)
        return index * index

    assert list(fork_each(work, 20, workers=3, lost=lambda status: -1)) == [index * index for index in range(20)]


def test_work_is_spread_over_processes() -> None:
    def work(index: int) -> int:
        time.sleep(0.02)
        return os.getpid()

    pids = set(fork_each(work, 8, workers=2, lost=lambda status: -1))
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_large_answers_arrive() -> None:
    assert [len(answer) for answer in fork_each(lambda n: b"x" * 3_000_000, 3, workers=2, lost=lambda s: b"")] == [
        3_000_000
    ] * 3


def test_where_a_worker_dies_another_goes_on() -> None:
    def work(index: int) -> str:
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"done {index}"

    answers = list(fork_each(work, 5, workers=2, lost=lambda status: f"signal {os.WTERMSIG(status)}"))
    assert answers == ["done 0", "signal 9", "done 2", "done 3", "done 4"]


def test_closing_lets_running_work_put_things_back(tmp_path: Path) -> None:
    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    def work(index: int) -> int:
        signal.signal(signal.SIGTERM, stop)
        begun, back = tmp_path / f"{index}.begun", tmp_path / f"{index}.back"
        if index == 0:
            return 0
        try:
            begun.touch()
            time.sleep(60)
        finally:
            back.touch()
        return index

    answers = fork_each(work, 3, workers=3, lost=lambda status: -1)
    assert next(answers) == 0
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.01)
    answers.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.back", "1.begun", "2.back", "2.begun"]


def test_no_worker_and_no_descriptor_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    list(fork_each(lambda index: index, 10, workers=4, lost=lambda status: -1))
    assert len(os.listdir("/proc/self/fd")) == before
