"""Each Guild command has runs locked that ended unseen: those of a Guild that was killed, say."""

from __future__ import annotations

import atexit
from typing import Any

from . import program


def patch(main_impl: Any) -> None:
    """Wraps the beginning of every command."""
    main = main_impl.main

    def begin(args: Any) -> Any:
        done = main(args)
        if program.is_on("autoLock"):
            atexit.register(_lock_the_rest)
        return done

    main_impl.main = begin


def _lock_the_rest() -> None:
    """In the background, once the command is over, so that nobody waits for it."""
    from guild import var

    program.begin(["lock", "--finished", "--quiet", "--all", var.runs_dir()])
