"""`guild runs info` tells whether a run is locked."""

from __future__ import annotations

import time
from typing import Any

from . import program

_AFTER = "label"


def patch(runs_impl: Any) -> None:
    """Wraps what collects the lines of `guild runs info`."""
    collect = runs_impl._run_info_data

    def _run_info_data(run: Any, args: Any) -> Any:
        data = collect(run, args)
        if program.is_locked(run.dir):
            at = next((number for number, (name, _) in enumerate(data) if name == _AFTER), len(data) - 1)
            data[at + 1 : at + 1] = _about(run)
        return data

    runs_impl._run_info_data = _run_info_data


def _about(run: Any) -> list[tuple[str, str]]:
    try:
        told = program.ask(["status", "--", run.dir])
    except program.Missing as error:
        return [("locked", f"yes ({error})")]
    if not told.get("commit"):
        return [("locked", str(told.get("state", "yes")))]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told["locked_at"]))
    return [("locked", when), ("lock", str(told["commit"]))]
