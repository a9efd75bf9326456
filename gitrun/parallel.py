"""Work spread over processes: for many small files two processes are twice as fast as two threads (docs/performance.md)."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, Self, TypeVar

from gitrun.errors import SystemFailed

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_LENGTH = struct.Struct(">BQ")
_ANSWER, _FAILURE = 0, 1
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20


def cpu_count() -> int:
    """The processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def fork_map(
    function: Callable[[Item], Answer],
    items: Sequence[Item],
    *,
    jobs: int,
    finish: Callable[[], Answer] | None = None,
) -> Iterator[Answer]:
    """`map(function, items)` in forked processes, as Forked describes it."""
    with Forked(function, items, jobs=jobs, finish=finish) as forked:
        yield from forked


class Forked(Generic[Item, Answer]):
    """`map(function, items)` in `jobs` processes, which begin at once; iterating gives the answers in the items' order.

    Each worker calls `finish` after its last item, and those answers come last.  Serial, begun by the iteration, and
    without `finish`, where forking would not pay or is not safe: one job, one item, or other threads in this process.
    An exception in a worker is raised by the iteration.  Use it in a `with` block, whose end is the workers' end.
    """

    def __init__(
        self,
        function: Callable[[Item], Answer],
        items: Sequence[Item],
        *,
        jobs: int,
        finish: Callable[[], Answer] | None = None,
    ) -> None:
        self._function, self._items, self._finish = function, items, finish
        self._workers: list[_Worker] = []
        jobs = min(jobs, len(items))
        if jobs > 1 and threading.active_count() == 1:
            for number in range(jobs):
                self._workers.append(_Worker(function, items[number::jobs], finish, others=self._workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def __iter__(self) -> Iterator[Answer]:
        if not self._workers:
            yield from map(self._function, self._items)
            return
        for index in range(len(self._items)):
            yield self._workers[index % len(self._workers)].answer()
        if self._finish is not None:
            for worker in self._workers:
                yield worker.answer()


class Aside(Generic[Answer]):
    """One call in a forked process, which begins at once while this one does something else; use it in a `with` block.

    Where forking does not pay (not `apart`) or is not safe the call is made when its answer is asked for.
    """

    def __init__(self, call: Callable[[], Answer], *, apart: bool) -> None:
        self._call = call
        self._worker: _Worker | None = None
        if apart and threading.active_count() == 1:
            self._worker = _Worker(_call, [call], None, others=[])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.end()

    def answer(self) -> Answer:
        """What the call returned; raises what it raised.  To be asked for once."""
        answer: Answer = self._call() if self._worker is None else self._worker.answer()
        return answer


def _call(call: Callable[[], Answer]) -> Answer:
    return call()


class _Worker:
    """A forked child that answers for its share of the items through a pipe."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        finish: Callable[[], Any] | None,
        others: list[_Worker],
    ) -> None:
        self._pipe, writer = os.pipe()
        with suppress(OSError, ImportError):
            from fcntl import fcntl

            fcntl(writer, _F_SETPIPE_SZ, _PIPE_BYTES)
        self._pid = os.fork()
        if self._pid:
            os.close(writer)
            return
        # The child never returns: whatever happens, it must not run its parent's cleanup.
        try:
            for other in others:
                os.close(other._pipe)
            os.close(self._pipe)
            _work(function, items, finish, writer)
        finally:
            os._exit(0)

    def answer(self) -> Any:
        """The next answer."""
        kind, length = _LENGTH.unpack(self._read(_LENGTH.size))
        content = pickle.loads(self._read(length))
        if kind == _FAILURE:
            raise content
        return content

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            data = os.read(self._pipe, min(size, _PIPE_BYTES))
            if not data:
                raise SystemFailed("a worker process was killed", hint="out of memory? try again with -j 1")
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def end(self) -> None:
        """Ends the child, finished or not."""
        os.close(self._pipe)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _work(function: Callable[[Any], Any], items: Sequence[Any], finish: Callable[[], Any] | None, writer: int) -> None:
    gc.disable()  # a worker is gone before garbage matters, and its collections touch every page it shares
    # The parent decides when to stop; a ^C reaches the whole process group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    calls: list[Callable[[], Any]] = [partial(function, item) for item in items]
    with open(writer, "wb", buffering=_PIPE_BYTES) as pipe:
        for call in [*calls, finish] if finish is not None else calls:
            try:
                kind, content = _ANSWER, pickle.dumps(call(), pickle.HIGHEST_PROTOCOL)
            except BaseException as error:  # every failure is the parent's to tell
                kind, content = _FAILURE, _pickled(error)
            try:
                pipe.write(_LENGTH.pack(kind, len(content)))
                pipe.write(content)
                pipe.flush()
            except BrokenPipeError:
                return  # the parent wants no more


def _pickled(error: BaseException) -> bytes:
    """The error, or where it cannot travel, one that says the same."""
    try:
        pickle.loads(content := pickle.dumps(error))
    except Exception:  # anything can be wrong with a foreign exception class
        content = pickle.dumps(RuntimeError(repr(error)))
    return content
