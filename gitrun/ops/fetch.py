"""fetch: what a remote has of a run comes into its repository, below refs/remotes/; the run itself stays as it is."""

from __future__ import annotations

import os
from hashlib import sha256

from gitrun.errors import NotLocked, RecordError, RunNotFound, system_failed
from gitrun.fsio import sync_tree
from gitrun.guard import guarded, pool_guarded
from gitrun.ops._context import Context, RunArgument, context
from gitrun.ops.status import status_here
from gitrun.progress import SILENT, Progress
from gitrun.publish import share_objects
from gitrun.recover import refuse_interrupted
from gitrun.remotes.address import Address, display_address
from gitrun.remotes.locks import check_tree, large_objects, move_objects, reach, received_record
from gitrun.remotes.network import refuse_small_disk
from gitrun.repo import RunRepo, check_owner
from gitrun.results.fetch import FetchResult
from gitrun.scratch import scratch
from gitrun.settings import Settings


def fetch(
    run: RunArgument, remote: RunArgument = "", *, settings: Settings | None = None, progress: Progress = SILENT
) -> FetchResult:
    """Fetches the locks that a remote has of a run, checked, into `refs/remotes/<name>/` of its repository.

    `<name>` is `origin` for `gitrun.remote`, and made from the address for another one.  Raises NotLocked for a run
    without a repository, RunNotFound where the remote does not know it, RecordError, ToolFailed, SystemFailed.
    """
    here = context(run, settings)
    if here.place.repository is None:
        raise NotLocked("there is no repository of this run to fetch into", path=here.place.run, hint="gitrun clone")
    with guarded(here.place):
        here = here.again()
        refuse_interrupted(here.place)
        check_owner(here.place)
        try:
            return fetch_here(here, remote, progress)
        except OSError as error:
            raise system_failed(error, "fetch the run", near=here.place.run) from error


def fetch_here(here: Context, remote: RunArgument, progress: Progress) -> FetchResult:
    """What `fetch` does, for a caller that holds the guard."""
    assert here.place.repository is not None
    run_id = here.place.run_id
    address, of = reach(remote, run_id, here.settings)
    refs = of.refs()
    branch, tag = address.branch(run_id), address.tag(run_id)
    if branch not in refs:
        raise RunNotFound(
            f"the remote has no run {run_id}", path=display_address(address), hint="gitrun remote lists them"
        )
    wanted = [branch, *([tag] if tag in refs else [])]
    with scratch(here.place.store, b"fetch", os.fsdecode(here.place.run)) as building:
        of.receive(wanted, building)
        with RunRepo(building) as repo, RunRepo(here.place.repository) as mine:
            main = repo.ref(branch) or ""
            if tag in wanted and repo.tag_object(repo.ref(tag) or "").commit != main:
                raise RecordError(
                    "the newest lock there is not the one that its tag names", path=display_address(address)
                )
            for commit in repo.history(main):
                if not mine.has(commit.oid):
                    check_tree(repo, commit.oid, received_record(repo, commit.oid, commit.run_id or run_id))
            objects = large_objects(repo, repo.history(main))
            lacking = {oid: size for oid, size in objects.items() if not os.path.exists(mine.object_path(oid))}
            new = [commit for commit in repo.history(main) if not mine.has(commit.oid)]
            told = repo.ref(tag) if tag in wanted else None
        refuse_small_disk(building, sum(lacking.values()))
        progress.stage("fetching", sum(lacking.values()), "B")
        of.receive_large(lacking, building, progress.advance)
        sync_tree(building)
        move_objects(building, here.place.repository)
        with pool_guarded(here.place, shared=True):
            share_objects(here.place, lacking)
    name = remote_name(address, here.settings)
    with RunRepo(here.place.repository) as mine:
        mine.set_ref(f"refs/remotes/{name}/main", main)
        if told:
            mine.set_ref(f"refs/remotes/{name}/locked", told)
    now = status_here(here)
    return FetchResult(
        run=now.run,
        path=now.path,
        state=now.state,
        remote=display_address(address),
        ref=f"refs/remotes/{name}/main",
        commit=main,
        new=len(new),
    )


def remote_name(address: Address, settings: Settings) -> str:
    """What the remote is called below `refs/remotes/`."""
    from gitrun.remotes.address import parse

    if settings.remote:
        default = parse(settings.remote, "x")
        if (default.url, default.directory) == (address.url, address.directory):
            return "origin"
    return sha256(display_address(address).encode("utf-8", "surrogateescape")).hexdigest()[:8]
