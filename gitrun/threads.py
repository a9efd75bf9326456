"""Work spread over threads: right for large files, whose hashing lets other threads run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Check = Callable[[], None]
"""To be called between two blocks: it ends the thread when another one failed, or the user wants to stop."""


class _Stopped(BaseException):
    """Ends a thread in the middle of its work."""


def run_threads(work: Callable[[Item, Check], None], items: Sequence[Item], jobs: int) -> None:
    """Calls `work(item, check)` for every item, in their order, `jobs` at a time; raises the first failure.

    No thread outlives the call.
    """
    queue: SimpleQueue[Item] = SimpleQueue()
    for item in items:
        queue.put(item)
    stop = threading.Event()
    failures: list[BaseException] = []

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    def take_turns() -> None:
        try:
            while not stop.is_set():
                work(queue.get_nowait(), check)
        except (Empty, _Stopped):
            return
        except BaseException as error:  # raised again in the calling thread
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=take_turns) for _ in range(min(jobs, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if failures:
        raise failures[0]
