"""doctor: what can be done here, what is wrong, and how to mend it."""

from __future__ import annotations

import os
from dataclasses import replace

from gitrun.errors import DifferencesFound, GitrunError, RunNotFound
from gitrun.fsio import remove_file, remove_sealed_tree
from gitrun.guard import guarded
from gitrun.ops._context import RunArgument, context
from gitrun.ops.lock import lock
from gitrun.ops.unlock import unlock
from gitrun.probing import probe_file_system, probe_programs
from gitrun.recover import recover
from gitrun.results.doctor import CHECKED, DoctorResult, Trouble
from gitrun.search import search
from gitrun.settings import Settings, load
from gitrun.store import AUTO_LOCK_FAILED, default_store
from gitrun.troubles import find_troubles, find_unportable


def doctor(
    directory: RunArgument = ".", *, fix: bool = False, portable: bool = False, settings: Settings | None = None
) -> DoctorResult:
    """Tells what the file system, git, git-lfs and Guild can do at `directory`, and what is wrong in and below it.

    With `fix` what can be mended without a decision is: interrupted work is undone or ended, leftovers are removed, copies
    in Guild's trash get their write permission back, and runs whose auto-lock failed are locked.  With `portable` names that
    another system would not keep are troubles, too.  Raises RunNotFound where there is no such directory.
    """
    known = settings or load()
    top = os.path.realpath(os.fsencode(directory))
    if not os.path.isdir(top):
        raise RunNotFound("there is no such directory", path=top)
    found = search(top, known)
    troubles = [*find_troubles(top, found, known), *(find_unportable(found) if portable else ())]
    if fix:
        troubles = [_mended(trouble, known) for trouble in troubles]
    return DoctorResult(
        run="",
        path=top,
        state=CHECKED,
        exit=DifferencesFound.exit_code if any(not trouble.mended for trouble in troubles) else 0,
        notes=tuple(f"{error.message}: {os.fsdecode(error.path or top)}" for error in found.unreadable),
        facts=(*probe_file_system(top), *probe_programs()),
        troubles=tuple(troubles),
    )


def _mended(trouble: Trouble, settings: Settings) -> Trouble:
    """The trouble, mended if that can be done; else with the reason."""
    try:
        if trouble.kind == "interrupted":
            place = context(trouble.path, settings).place
            with guarded(place):
                recover(place)
        elif trouble.kind == "leftover":
            remove_sealed_tree(trouble.path)
        elif trouble.kind == "trash-copy":
            unlock(trouble.path, settings=settings)
        elif trouble.kind == "auto-lock-failed":
            lock(trouble.path, settings=settings)
            name = os.path.basename(trouble.path)
            remove_file(os.path.join(default_store(trouble.path), AUTO_LOCK_FAILED, name))
        else:
            return trouble
    except (GitrunError, OSError) as error:
        why = error.message if isinstance(error, GitrunError) else error.strerror
        return replace(trouble, message=f"{trouble.message}; it could not be mended: {why}")
    return replace(trouble, mended=True)
