"""Work in forked processes: the answers of `map`, the failures of the workers, and no process left over."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitrun.errors import SystemFailed, Unreadable
from gitrun.parallel import cpu_count, fork_map


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def children() -> set[str]:
    """The child processes of this one; other tests may have left servers running."""
    with open(f"/proc/self/task/{os.getpid()}/children") as listed:
        return set(listed.read().split())


def square(number: int) -> int:
    return number * number


def pid(_: object) -> int:
    return os.getpid()


@pytest.mark.parametrize("jobs", [0, 1, 2, 3, 7, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_answers_come_in_the_order_of_the_items(jobs: int, count: int) -> None:
    assert list(fork_map(square, range(count), jobs=jobs)) == [square(number) for number in range(count)]


def test_the_work_is_done_by_as_many_processes_as_asked() -> None:
    assert len(set(fork_map(pid, range(20), jobs=3))) == 3
    assert os.getpid() not in set(fork_map(pid, range(20), jobs=3))


def test_one_job_or_one_item_forks_nothing() -> None:
    assert set(fork_map(pid, range(5), jobs=1)) == set(fork_map(pid, [1], jobs=4)) == {os.getpid()}


def test_beside_another_thread_nothing_is_forked() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert set(fork_map(pid, range(5), jobs=2)) == {os.getpid()}
    finally:
        stop.set()
        thread.join()


def test_answers_may_be_larger_than_a_pipe() -> None:
    answers = list(fork_map(bytes, [3 << 20, 0, 5 << 20, 1], jobs=2))
    assert [len(answer) for answer in answers] == [3 << 20, 0, 5 << 20, 1]


def test_a_failure_is_raised_here_after_the_answers_before_it() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise Unreadable("cannot read it", path=b"/run/\xff", hint="try")
        return number

    answers = fork_map(work, range(6), jobs=2)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Unreadable) as raised:
        next(answers)
    assert (raised.value.path, raised.value.hint, raised.value.exit_code) == (b"/run/\xff", "try", 5)


def test_a_failure_that_cannot_travel_is_told_all_the_same() -> None:
    class Local(Exception):
        pass

    def work(number: int) -> int:
        raise Local(f"number {number}")

    with pytest.raises(RuntimeError, match=r"Local.*number 0"):
        list(fork_map(work, range(2), jobs=2))


def test_an_answer_that_cannot_travel_is_a_failure() -> None:
    with pytest.raises(Exception, match="pickle"):
        list(fork_map(lambda _: threading.Lock(), range(2), jobs=2))


def test_a_worker_that_exits_is_a_failure_and_not_the_end() -> None:
    def work(number: int) -> int:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        list(fork_map(work, range(4), jobs=2))


def test_a_worker_that_is_killed_is_noticed() -> None:
    def work(number: int) -> int:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(SystemFailed, match="killed") as raised:
        list(fork_map(work, range(6), jobs=2))
    assert raised.value.exit_code == 8 and "-j 1" in raised.value.hint


def test_closing_the_iterator_ends_workers_that_still_work() -> None:
    def work(number: int) -> int:
        time.sleep(0 if number < 2 else 60)
        return number

    began = time.monotonic()
    answers = fork_map(work, range(8), jobs=2)
    assert next(answers) == 0
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10


def test_workers_leave_what_the_parent_would_clean_up(tmp_path: Path) -> None:
    """No `finally` of the caller runs in a child, however it ends."""

    def work(number: int) -> int:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            list(fork_map(work, range(2), jobs=2))
    finally:
        with open(tmp_path / "cleaned", "a") as file:
            file.write(f"{os.getpid()}\n")
    assert (tmp_path / "cleaned").read_text() == f"{os.getpid()}\n"


def test_signals_are_the_parents_to_handle() -> None:
    def work(number: int) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return number

    assert list(fork_map(work, range(4), jobs=2)) == list(range(4))


def test_no_descriptor_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    list(fork_map(square, range(9), jobs=3))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_processors_are_counted_by_affinity() -> None:
    assert cpu_count() == len(os.sched_getaffinity(0))
