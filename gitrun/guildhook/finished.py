"""Locks runs that have ended, where that is wanted."""

from __future__ import annotations

import logging
import os
from typing import Any

from . import program

log = logging.getLogger("guild")

NAME = "gitrun"
FAILED = os.path.join(".gitrun", "auto-lock-failed")
"""Where, in the directory of the runs, a file with a run's id says why it could not be locked."""


def is_wanted(run: Any) -> bool:
    """Whether a run is to be locked when it ends: all are, or its project or operation lists the plugin.

    Guild notes the plugins of an operation in the run, and copies that to trials.
    """
    return program.is_on("autoLock") or NAME in (run.get("plugins") or [])


def lock_finished(run: Any, op: Any, again: bool = False) -> None:
    """Locks a run that has ended, if that is wanted; whatever goes wrong is told, noted, and no trouble of the run's."""
    try:
        if (again or is_wanted(run)) and not _leave_alone(run, op):
            _lock(run)
    except Exception as error:
        log.warning("gitrun: cannot lock run %s: %s", run.id[:8], error)


def _leave_alone(run: Any, op: Any) -> bool:
    """Batches that Guild deletes when they are done cannot be moved to its trash once they are locked."""
    return program.is_locked(run.dir) or bool(getattr(op, "_delete_on_success", False))


def _lock(run: Any) -> None:
    marker = os.path.join(os.path.dirname(run.dir), FAILED, run.id)
    try:
        told = program.ask(["lock", "--quiet", "--", run.dir])
        why = told["error"]["message"] if told.get("exit") else ""
    except program.Missing as error:
        why = str(error)
    if why:
        log.warning("gitrun: run %s is not locked: %s", run.id[:8], why)
        os.makedirs(os.path.dirname(marker), exist_ok=True)
        with open(marker, "w", encoding="utf-8") as file:
            file.write(why + "\n")
    elif os.path.exists(marker):
        os.unlink(marker)
