"""The guard: one gitrun process at a time on one run.

It is an flock on the run directory and on its repository, so there is no file that could be left over, and readers
share it.  Where the file system knows no flock (some network mounts), a soft lock file in the store serves.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gitrun.errors import RunBusy
from gitrun.store import Place

PATIENCE = 5.0
"""Seconds to wait for another process."""
_PAUSE = 0.02
NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF}


@contextmanager
def guarded(place: Place, *, shared: bool = False, patience: float | None = None) -> Iterator[None]:
    """Keeps other gitrun processes from the run for the duration of a block; readers (`shared`) only keep writers out.

    Raises RunBusy after `patience` seconds (default: PATIENCE).
    """
    with ExitStack() as held:
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        for directory in (place.run, place.repository):
            if (
                directory is not None
                and os.path.isdir(directory)
                and not _hold(directory, place, shared, deadline, held)
            ):
                _hold_softly(place, shared, deadline, held)
                break  # it is one for both directories: a second one would wait for the first for ever
        yield


@contextmanager
def pool_guarded(place: Place, *, shared: bool, patience: float | None = None) -> Iterator[None]:
    """Keeps `gc` (not `shared`) from dropping what a lock (`shared`) has seen in the store's pool and is about to link.

    Raises RunBusy after `patience` seconds (default: PATIENCE).
    """
    with ExitStack() as held:
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        if not _hold(place.store, place, shared, deadline, held):
            _hold_softly(place, shared, deadline, held)
        yield


def _hold(directory: bytes, place: Place, shared: bool, deadline: float, held: ExitStack) -> bool:
    """Whether the file system knows flock at all."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return True  # somebody took the permission of a run away: the flock on its repository has to do
    held.callback(os.close, fd)
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    while True:
        try:
            fcntl.flock(fd, how)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _busy(place) from None
            time.sleep(_PAUSE)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            return False


def _hold_softly(place: Place, shared: bool, deadline: float, held: ExitStack) -> None:
    if shared or not os.path.isdir(place.store):
        return
    from filelock import SoftFileLock, Timeout

    soft = SoftFileLock(os.fsdecode(os.path.join(place.store, place.name + b".guard")))
    try:
        soft.acquire(timeout=max(0.0, deadline - time.monotonic()))
    except Timeout:
        raise _busy(place) from None
    held.callback(soft.release)


def _busy(place: Place) -> RunBusy:
    return RunBusy("another gitrun process works on this run", path=place.run, hint="try again when it has finished")
