"""Several runs at once: forked workers that take the next run as soon as they are done with one.

Not `gitrun.parallel`, whose workers read and can be killed at any time: these here write, and are asked to stop, so
that they put back what they began.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from gitrun.cli._signals import Stopped

Answer = TypeVar("Answer")

_NUMBER = 4


def fork_each(
    work: Callable[[int], Answer], count: int, *, workers: int, lost: Callable[[int], Answer]
) -> Generator[Answer, None, None]:
    """Yields `work(0)`, `work(1)` … `work(count - 1)`, in this order, done by `workers` forked processes.

    `work` must not raise.  Where a worker died, `lost(wait status)` stands in for the answer, and another one
    goes on.  When the iterator is closed, running work is asked to stop, and waited for.
    """
    pool = _Pool(work, count)
    answers: dict[int, Answer] = {}
    try:
        pool.hire(min(workers, count))
        for index in range(count):
            while index not in answers:
                for done, answer, status in pool.collect():
                    answers[done] = lost(status) if answer is None else answer
            yield answers.pop(index)
    finally:
        pool.dismiss()


class _Pool(Generic[Answer]):
    def __init__(self, work: Callable[[int], Answer], count: int) -> None:
        self._work = work
        self._waiting = iter(range(count))
        self._workers: list[_Worker[Answer]] = []

    def hire(self, number: int) -> None:
        """Starts so many workers, and gives each its first work."""
        _flush()
        for _ in range(number):
            worker = _Worker(self._work, self._workers)
            self._workers.append(worker)
            worker.give(next(self._waiting, None))

    def collect(self) -> Iterator[tuple[int, Answer | None, int]]:
        """Waits until some work is done: its index, and the answer, or None and the status of the dead worker."""
        ready, _, _ = select.select([worker.answers for worker in self._workers if worker.index is not None], [], [])
        for worker in [worker for worker in self._workers if worker.answers in ready]:
            index, answer = worker.take()
            if answer is not None:
                worker.give(next(self._waiting, None))
                yield index, answer, 0
                continue
            self._workers.remove(worker)
            status = worker.end()
            self.hire(1)
            yield index, None, status

    def dismiss(self) -> None:
        """Ends all workers; the ones at work put back what they began."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.end()


class _Worker(Generic[Answer]):
    """A forked child that is given numbers through one pipe, and answers through another."""

    def __init__(self, work: Callable[[int], Answer], others: list[_Worker[Answer]]) -> None:
        self.index: int | None = None
        tasks, self._giving = os.pipe()
        taking, answers = os.pipe()
        self.answers = os.fdopen(taking, "rb")
        self._pid = os.fork()
        if self._pid == 0:
            for other in (*others, self):
                os.close(other._giving)
            _serve_and_exit(work, tasks, answers)
        os.close(tasks)
        os.close(answers)

    def give(self, index: int | None) -> None:
        """The next work, if any is left."""
        self.index = index
        if index is not None:
            with suppress(BrokenPipeError):  # it died while idle: `take` finds out
                os.write(self._giving, index.to_bytes(_NUMBER, "big"))

    def take(self) -> tuple[int, Answer | None]:
        """What it was doing, and the answer; None when it died over it."""
        assert self.index is not None
        try:
            return self.index, pickle.load(self.answers)
        except (EOFError, pickle.UnpicklingError):
            return self.index, None

    def stop(self) -> None:
        """No more work; the present one, if any, is to be given up."""
        os.close(self._giving)
        self._giving = -1
        if self.index is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def end(self) -> int:
        """Waits for its end: the wait status."""
        if self._giving >= 0:
            os.close(self._giving)
        self.answers.close()
        return os.waitpid(self._pid, 0)[1]


def _serve_and_exit(work: Callable[[int], Answer], tasks: int, answers: int) -> None:
    # The child never returns: it must not run its parent's cleanup, nor print what its parent had buffered.
    code = 1
    try:
        while number := os.read(tasks, _NUMBER):
            answer = pickle.dumps(work(int.from_bytes(number, "big")), pickle.HIGHEST_PROTOCOL)
            _write_all(answers, answer)
        code = 0
    except Stopped as stopped:
        code = stopped.exit_code
    finally:
        os._exit(code)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
