"""Guild cannot move a read-only run: it would leave half a copy in the trash.  A locked run is refused before that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import program


def patch(module: Any) -> None:
    """Wraps what deletes runs (`guild.var`), or exports them (`guild.run_util`)."""
    if module.__name__.endswith(".run_util"):
        export_runs = module.export_runs

        def export(runs: Sequence[Any], location: str, move: bool = False, **more: Any) -> Any:
            if move:
                refuse([run.dir for run in runs], "moved")
            return export_runs(runs, location, move=move, **more)

        module.export_runs = export
        return

    delete_runs, purge_runs = module.delete_runs, module.purge_runs

    def delete(runs: Sequence[Any], permanent: bool = False) -> Any:
        refuse([os.path.join(module.runs_dir(), run.id) for run in runs], "deleted")
        return delete_runs(runs, permanent)

    def purge(runs: Sequence[Any]) -> Any:
        """A locked run in the trash is a copy that an earlier try left there."""
        paths = [os.path.join(module.runs_dir(deleted=True), run.id) for run in runs]
        locked = [path for path in paths if program.is_locked(path)]
        if locked:
            program.ask(["unlock", "--quiet", "--", *locked])
        return purge_runs(runs)

    module.delete_runs, module.purge_runs = delete, purge


def refuse(paths: Sequence[str], what: str) -> None:
    """Leaves with an error where one of the runs is locked; nothing has been done then."""
    from guild import cli

    locked = [os.path.basename(path)[:8] for path in paths if program.is_locked(path)]
    if locked:
        several = "runs are" if len(locked) > 1 else "run is"
        cli.error(
            f"{len(locked)} {several} locked, and cannot be {what}: {' '.join(locked[:9])}{' ...' if locked[9:] else ''}\n"
            f"Use 'guild runs unlock {' '.join(locked[:9])}' first; nothing was {what}."
        )
