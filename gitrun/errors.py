"""Everything that gitrun can fail with, and the exit code of each.

The only module that knows exit codes; it imports nothing of the package.  A failure is told in one line: what failed,
the path, what was expected and seen, and a hint that names the next command.  `docs/exit-codes.md` is made from these
classes by `scripts/exit_codes.py`.
"""

from __future__ import annotations

import errno
import os


class GitrunError(Exception):
    """Base of all failures that gitrun foresees.

    `message` is one line without the path; `path` is the file or directory it speaks of; `hint` names the next step.
    """

    exit_code = 1

    def __init__(self, message: str, *, path: bytes | str | os.PathLike[str] | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = None if path is None else os.fsencode(path)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_again, (type(self), self.__dict__.copy()))

    @property
    def code(self) -> str:
        """The stable name of this failure in JSON: the name of its class."""
        return type(self).__name__


def _again(kind: type[GitrunError], state: dict[str, object]) -> GitrunError:
    """Makes a failure anew in another process: keyword arguments do not survive plain pickling."""
    error = kind.__new__(kind, state["message"])
    error.args = (state["message"],)
    error.__dict__.update(state)
    return error


class UsageError(GitrunError):
    """The command line or the arguments make no sense."""

    exit_code = 2


class RunNotFound(GitrunError):
    """There is no such run."""

    exit_code = 3


class NotLocked(GitrunError):
    """The run is not locked: there is nothing to compare it with."""

    exit_code = 3


class DifferencesFound(GitrunError):
    """The run, or its stored copy, is not what was locked."""

    exit_code = 4


class Refused(GitrunError):
    """Base of all refusals: nothing was changed."""

    exit_code = 5


class RunActive(Refused):
    """Somebody still writes to the run."""


class RunBusy(Refused):
    """Another gitrun process works on the run."""


class RunChanged(Refused):
    """The run is locked, and no longer what was locked."""


class ChangedWhileReading(Refused):
    """A file changed while it was read."""


class Unreadable(Refused):
    """An entry of the run cannot be read or listed."""


class Unsupported(Refused):
    """The run holds something that cannot be kept, or lies where it cannot be locked."""


class RecordError(GitrunError):
    """Base of all damage to the record: lock file, tag, commit, stored objects."""

    exit_code = 6


class LockFileInvalid(RecordError):
    """The lock file does not follow its format."""


class NewerFormat(RecordError):
    """The record was written by a newer gitrun."""


class TagMismatch(RecordError):
    """Tag, commit and lock file do not agree."""


class TagMissing(RecordError):
    """The lock file stands but the tag is gone."""


class ObjectMissing(RecordError):
    """A stored object is not there."""


class ObjectCorrupt(RecordError):
    """A stored object is not what its name says."""


class ToolFailed(GitrunError):
    """A program that gitrun needs failed or is not installed."""

    exit_code = 7


class SystemFailed(GitrunError):
    """The operating system refused: disk full, I/O error, no permission."""

    exit_code = 8


class Interrupted(GitrunError):
    """The user, or the system, asked gitrun to stop."""

    exit_code = 130


_HINTS = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; GITRUN_STORE can put the store elsewhere",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.EIO: "the disk reports an error; look at the kernel log",
    errno.EACCES: "check who owns it and its permissions",
    errno.EPERM: "check who owns it and its permissions",
}


def system_failed(
    error: OSError, doing: str, path: bytes | str | None = None, *, near: bytes | None = None
) -> SystemFailed:
    """The failure that tells `error`, met while `doing` something to `path`.

    Without a path it is the one in the error or, where that is none or a bare name beneath some directory, `near`.
    """
    where = path if path is not None else error.filename
    if not isinstance(where, (bytes, str)) or not os.path.isabs(where):
        where = path or near
    reason = error.strerror or str(error) or type(error).__name__
    hint = _HINTS.get(error.errno or 0, "see to the cause, then run the same command again")
    return SystemFailed(f"cannot {doing}: {reason}", path=where, hint=hint)
