"""Before and after a run: a locked run is not restarted by accident, and a finished one is locked where that is wanted."""

from __future__ import annotations

import os
from typing import Any

from . import program
from .finished import lock_finished

_POLICIES = ("refuse", "fork", "unlock")


def patch(op_module: Any) -> None:
    """Wraps the two functions of `guild.op` that every run goes through, restarts, trials and background runs too."""
    initialize, execute = op_module._op_init_pending_run, op_module._run_op

    def _op_init_pending_run(op: Any, run_dir: str | None = None) -> Any:
        directory = run_dir or op.run_dir
        if directory and program.is_locked(directory):
            run_dir = _allowed(op, directory)
        return initialize(op, run_dir)

    def _run_op(run: Any, op: Any, *more: Any) -> Any:
        done = execute(run, op, *more)  # what Guild itself gives up is left to `gitrun lock --finished`
        lock_finished(run, op, again=getattr(op, "_gitrun_lock_again", False))
        return done

    op_module._op_init_pending_run = _op_init_pending_run
    op_module._run_op = _run_op


def _allowed(op: Any, directory: str) -> str:
    """The directory to run in instead of a locked run's, after the user's wish; leaves with an error where that is to refuse."""
    from guild import cli

    policy = program.setting("guildRestart", "refuse").lower()
    if policy not in _POLICIES:
        cli.error(f"gitrun.guildRestart is '{policy}', and should be one of {', '.join(_POLICIES)}")
    name = os.path.basename(directory)
    if policy == "refuse":
        cli.error(
            f"run {name[:8]} is locked, and a restart would write over it\n"
            f"Use 'guild runs fork {name[:8]}' for a new run that goes on from it, or 'guild runs unlock {name[:8]}' "
            "to let it be changed.\n"
            "'git config --global gitrun.guildRestart fork' (or unlock) does so by itself."
        )
    try:
        told = program.ask([policy, "--", directory])
    except program.Missing as error:
        cli.error(str(error))
    if told.get("exit"):
        cli.error(f"cannot {policy} run {name[:8]}: {told['error']['message']}")
    if policy == "fork":
        new = str(told["path"])
        cli.out(f"Run {name[:8]} is locked: forked it as {os.path.basename(new)[:8]}", err=True)
        op.run_dir = new
        return new
    cli.out(f"Unlocked run {name[:8]}; it will be locked again when it has ended", err=True)
    op._gitrun_lock_again = True
    return directory
