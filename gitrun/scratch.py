"""Directories for what has no place yet.  One is held by flock while somebody builds in it, and is emptied by the next one."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256

from gitrun.errors import Refused, RunBusy
from gitrun.fsio import TEMPORARY, remove_tree
from gitrun.guard import NO_FLOCK


@contextmanager
def scratch(parent: bytes, what: bytes, key: str) -> Iterator[bytes]:
    """An empty directory in `parent` for the duration of a block, which no two processes have at once for one `key`.

    What a killed one has left in it is gone.  Raises RunBusy where somebody has it; lets OSError through.
    """
    named = sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16].encode()
    path = os.path.join(parent, TEMPORARY + what + b"-" + named)
    fd = _held(path)
    try:
        _empty(path)
        yield path
    except BaseException:  # ^C too
        with suppress(OSError):  # what failed first is what is told
            remove_tree(path)
        raise
    else:
        remove_tree(path)
    finally:
        os.close(fd)


def _held(path: bytes) -> int:
    """A descriptor of the directory that is there under the name: another process may have removed it meanwhile."""
    while True:
        made = False
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
            made = True
        with suppress(FileNotFoundError), ExitStack() as opened:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            opened.callback(os.close, fd)
            _hold(fd, path)
            if not made:
                _refuse_strange(fd, path)
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                opened.pop_all()
                return fd


def _refuse_strange(fd: int, path: bytes) -> None:
    """Somebody else's directory under this name could be changed while one builds in it."""
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Refused("this belongs to somebody else", path=path, hint="remove it, if nobody needs it")


def _hold(fd: int, path: bytes) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunBusy("another gitrun is at work on the same", path=path, hint="try again when it is done") from None
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise


def _empty(path: bytes) -> None:
    try:
        for name in os.listdir(path):
            inside = os.path.join(path, name)
            if os.path.isdir(inside) and not os.path.islink(inside):
                remove_tree(inside)
            else:
                os.unlink(inside)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        # git outlives a gitrun that was killed, for a while
        raise RunBusy("somebody still writes here", path=path, hint="try again in a minute") from error
