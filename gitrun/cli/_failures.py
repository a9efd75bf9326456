"""A failure as a plain value, which can travel between processes, and how it is told."""

from __future__ import annotations

from typing import NamedTuple

from gitrun.errors import GitrunError, Interrupted, SystemFailed, system_failed

INTERNAL = "InternalError"


class Failure(NamedTuple):
    """Why something could not be done."""

    exit: int
    code: str
    message: str
    path: bytes | None = None
    hint: str = ""
    traceback: str = ""
    """Only with `--debug`."""


def failure_of(error: BaseException, doing: str, *, debug: bool = False) -> Failure:
    """The failure that `error` means, met while `doing` something; what gitrun did not foresee is its own fault."""
    traceback = _traceback(error) if debug else ""
    if isinstance(error, KeyboardInterrupt):
        error = _interrupted(error)
    elif isinstance(error, MemoryError):
        error = SystemFailed(f"cannot {doing}: out of memory", hint="try again with -j 1")
    elif isinstance(error, OSError):
        error = system_failed(error, doing)
    if isinstance(error, GitrunError):
        return Failure(error.exit_code, error.code, error.message, error.path, error.hint, traceback)
    what = f"a bug in gitrun: {type(error).__name__}: {error}"
    hint = "please report it with the traceback above" if debug else "run it again with --debug and report what it says"
    return Failure(1, INTERNAL, what, None, hint, traceback)


def _interrupted(error: KeyboardInterrupt) -> Interrupted:
    interrupted = Interrupted(
        f"interrupted by {error}" if str(error) else "interrupted",
        hint="the same command starts again; `gitrun status` tells where the run stands",
    )
    interrupted.exit_code = getattr(error, "exit_code", Interrupted.exit_code)
    return interrupted


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))
