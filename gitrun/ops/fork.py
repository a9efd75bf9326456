"""fork: a new, writable run out of a locked one, which stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

from gitrun.entry import FILE
from gitrun.errors import NotLocked, Refused, UsageError, system_failed
from gitrun.forking import Forking, targets
from gitrun.guard import guarded
from gitrun.ops._context import Context, RunArgument, context
from gitrun.ops.unlock import unlock
from gitrun.progress import SILENT, Progress
from gitrun.recover import refuse_interrupted
from gitrun.repo import MAIN, RunRepo, check_owner
from gitrun.results import UNLOCKED
from gitrun.results.fork import ForkResult
from gitrun.scratch import scratch
from gitrun.settings import Settings
from gitrun.standing import read_newest, read_standing
from gitrun.store import Place, default_store, new_run_id, refuse_bad_place

_GIVEN_UP = (
    "in place: what runs here now writes over the files that were locked, and nothing can be verified until the next lock;"
    " the old one stays in the history"
)
_CHANGED = f"the run had changed under its lock, which `gitrun diff` shows; {_GIVEN_UP}"


def fork(
    run: RunArgument,
    new: RunArgument = "",
    *,
    inplace: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> ForkResult:
    """Makes the run `new` with the content of the newest lock of `run`: writable, unlocked, and sharing no file with it.

    Content comes from the store, or from the run where the store cannot give it, checked by SHA-256; the history of the
    new run goes on from that lock.  A run of a tool that names its runs needs no `new`.  With `inplace` the run itself is
    unlocked instead, and a note says what that gives up.  Raises NotLocked, Refused, UsageError, RecordError,
    SystemFailed; nothing of `new` is there then.
    """
    here = context(run, settings)
    if inplace:
        return _in_place(here, new, progress)
    target = _target(here, new)
    try:
        with guarded(here.place, shared=True):
            here = here.again()
            refuse_interrupted(here.place)
            check_owner(here.place)
            return _fork(here, target, progress)
    except OSError as error:
        raise system_failed(error, "fork the run", near=target) from error


def _in_place(here: Context, new: RunArgument, progress: Progress) -> ForkResult:
    if new:
        raise UsageError("a fork in place has no directory of its own", hint="leave out NEWDIR, or --inplace")
    with guarded(here.place, shared=True):
        standing = read_standing(here.again().place)
    if standing.tag is None:
        raise NotLocked(
            "its repository is not here, so that unlocking it would leave no lock behind", path=here.place.run
        )
    undone = unlock(here.place.run, settings=here.settings, progress=progress)
    files = [entry for entry in standing.record.entries if entry.kind == FILE and not entry.created]
    return ForkResult(
        run=undone.run,
        path=undone.path,
        state=undone.state,
        origin=undone.run,
        commit=standing.tag.commit,
        files=len(files),
        bytes=sum(entry.size for entry in files),
        notes=(_CHANGED, *undone.notes) if undone.differences else (_GIVEN_UP, *undone.notes),
    )


def _target(here: Context, new: RunArgument) -> bytes:
    """The absolute path of the new run, of which only the parent exists."""
    origin = here.place.run
    if not new and not here.layout.fork_id():
        raise UsageError("a fork needs a name", path=origin, hint="gitrun fork RUN NEWDIR")
    wanted = os.path.abspath(os.fsencode(new)) if new else os.path.join(os.path.dirname(origin), _fresh_name(here))
    parent = os.path.realpath(os.path.dirname(wanted))
    target = os.path.join(parent, os.path.basename(wanted))
    if os.path.lexists(target):
        raise Refused("there is something already", path=target, hint="name a directory that does not exist yet")
    if not os.path.isdir(parent):
        raise Refused("there is no such directory to fork into", path=parent, hint="mkdir it first")
    if (target + b"/").startswith(origin + b"/"):
        raise Refused("the fork would lie inside its origin", path=target, hint="name a place outside")
    beside = parent == os.path.dirname(origin)
    if here.layout.fork_id() and beside and here.layout.run_id(Path(os.fsdecode(target))) is None:
        raise UsageError(
            "the runs here are named by their ids", path=target, hint="leave NEWDIR out, and the fork gets one"
        )
    return target


def _fresh_name(here: Context) -> bytes:
    return here.layout.fork_id().encode()


def _fork(here: Context, target: bytes, progress: Progress) -> ForkResult:
    standing = read_newest(here.place)
    commit = standing.tag.commit if standing.tag else _main(here)
    tool_id = here.layout.run_id(Path(os.fsdecode(target)))
    run_id = tool_id or new_run_id(os.path.basename(target))
    place = Place(target, here.settings.store or default_store(target), None, run_id, exists=True)
    refuse_bad_place(place)
    has_ids = bool(here.layout.fork_id())
    forking = Forking(
        here.place,
        commit,
        standing.record,
        place,
        forgotten=here.layout.forgotten(targets(standing.record)),
        fresh=here.layout.fresh(tool_id or here.layout.fork_id(), here.place.run_id) if has_ids else {},
        advance=progress.advance,
    )
    files = [entry for entry in forking.entries if entry.kind == FILE]
    progress.stage("forking", sum(entry.size for entry in files), "B")
    with scratch(os.path.dirname(target), b"fork-to", os.fsdecode(target)):  # two at once would undo each other
        made = forking.run()
    return ForkResult(
        run=made.run_id,
        path=made.run,
        state=UNLOCKED,
        origin=here.place.run_id,
        commit=commit,
        files=len(files),
        bytes=sum(entry.size for entry in files),
    )


def _main(here: Context) -> str:
    assert here.place.repository is not None  # read_newest found a record there
    with RunRepo(here.place.repository) as repo:
        return repo.ref(MAIN) or ""
