"""pull: a run is brought to the newest lock that a remote has of it."""

from __future__ import annotations

from gitrun.errors import NotLocked, Refused, RunChanged, system_failed
from gitrun.guard import guarded
from gitrun.ops._context import Context, RunArgument, context, jobs_or_all
from gitrun.ops.fetch import fetch_here
from gitrun.ops.restore import restore
from gitrun.ops.verify import verify, verify_here
from gitrun.progress import SILENT, Progress
from gitrun.recover import refuse_interrupted
from gitrun.repo import ARCHIVE, LOCKED, MAIN, RunRepo, check_owner
from gitrun.results.clone import CloneResult
from gitrun.results.fetch import FetchResult
from gitrun.settings import Settings


def pull(
    run: RunArgument,
    remote: RunArgument = "",
    *,
    force: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> CloneResult:
    """Brings a locked, untouched run to the newest lock that the remote has; its own locks stay in its history.

    With `force` also a run that was changed or unlocked, or that has a history of its own, which then stays as
    `refs/gitrun/locks/<n>`.  Raises RunChanged and Refused without it, and what `fetch` and `restore` raise.
    """
    here = context(run, settings)
    if here.place.repository is None:
        raise NotLocked("there is no repository of this run", path=here.place.run, hint="gitrun clone")
    with guarded(here.place):
        here = here.again()
        refuse_interrupted(here.place)
        check_owner(here.place)
        try:
            fetched = fetch_here(here, remote, progress)
            moved = _move(here, fetched, force, progress)
        except OSError as error:
            raise system_failed(error, "pull the run", near=here.place.run) from error
    replaced = moved or (force and not verify(here.place.run, settings=here.settings, progress=progress))
    if replaced:
        restore(here.place.run, clean=True, settings=here.settings, progress=progress)
    verdict = verify(here.place.run, settings=here.settings, progress=progress)
    if not verdict:
        raise _changed(here)
    return CloneResult(
        run=verdict.run,
        path=verdict.path,
        state=verdict.state,
        exit=verdict.exit,
        remote=fetched.remote,
        commit=verdict.commit,
        files=verdict.checked_files,
        bytes=verdict.checked_bytes,
        already=not replaced,
    )


def _move(here: Context, fetched: FetchResult, force: bool, progress: Progress) -> bool:
    """Points branch and tag at the remote's newest lock; False where they do so already."""
    assert here.place.repository is not None
    with RunRepo(here.place.repository) as repo:
        main, tag = repo.ref(MAIN) or "", repo.ref(LOCKED)
        told = repo.ref(fetched.ref.replace("/main", "/locked"))
        if told is None or repo.tag_object(told).commit != fetched.commit:
            raise NotLocked(
                "the run has no lock there: it was unlocked, or its push has not ended", path=fetched.remote
            )
        if main == fetched.commit and tag:
            return False
        theirs = {commit.oid for commit in repo.history(fetched.commit)}
        if main in theirs or force:
            _refuse_changed(here, tag is not None, force, progress)
        elif fetched.commit in {commit.oid for commit in repo.history(main)}:
            return False  # the remote is behind
        else:
            raise Refused(
                "the run and the remote have different histories",
                path=here.place.run,
                hint="gitrun fetch and diff, or --force",
            )
        if tag:
            number = max((known for known, _ in repo.archived()), default=0) + 1
            repo.set_ref(f"{ARCHIVE}{number}", tag)
        repo.set_ref(MAIN, fetched.commit)
        repo.set_ref(LOCKED, told)
    return True


def _refuse_changed(here: Context, locked: bool, force: bool, progress: Progress) -> None:
    if force:
        return
    if not locked:
        raise RunChanged(
            "the run is unlocked: its files may be somebody's work", path=here.place.run, hint="lock it, or --force"
        )
    verdict = verify_here(here, jobs=jobs_or_all(0), progress=progress)
    if not verdict.ok:
        raise _changed(here)


def _changed(here: Context) -> RunChanged:
    return RunChanged("the run was changed since it was locked", path=here.place.run, hint="gitrun restore, or --force")
