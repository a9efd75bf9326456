"""push: a run's locks go to a remote: large files first, then the history, then the tag."""

from __future__ import annotations

import json
import os
import random
import time
from hashlib import sha256

from gitrun.errors import NotLocked, Refused, UsageError
from gitrun.fsio import TEMPORARY, make_directories, remove_tree, write_file
from gitrun.guard import guarded
from gitrun.ops._context import Context, RunArgument, context
from gitrun.ops.status import status_here
from gitrun.progress import SILENT, Progress
from gitrun.recover import refuse_interrupted
from gitrun.remotes import Transport, Update
from gitrun.remotes.address import Address, display_address
from gitrun.remotes.locks import large_objects, reach
from gitrun.repo import LOCKED, MAIN, Commit, RunRepo, check_owner
from gitrun.results.push import PushResult
from gitrun.settings import Settings

RECEIPTS = b"receipts"
"""A directory among gitrun's own files in the repository, with a receipt for each remote that was read back."""


def push(
    run: RunArgument,
    remote: RunArgument = "",
    *,
    force: bool = False,
    verify: bool = False,
    sample: float = 100.0,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> PushResult:
    """Sends the locks of a run to a remote, which is a path or a URL, or by default `gitrun.remote`.

    Only what the remote lacks is sent, and its refs move last: a push that stops half-way can be repeated.  A history that
    another machine has pushed under this id stays; this one gets a name of its own then, unless `force`.  `verify` reads
    the remote copy back, `sample` percent of its large files, and keeps a receipt.

    Raises NotLocked for a run that never was, Refused where the remote must not be changed so, RecordError for a local
    copy that is damaged, ToolFailed for a remote that fails.
    """
    if not 0 < sample <= 100:
        raise UsageError(f"not a share: {sample} %", hint="above 0, up to 100")
    here = context(run, settings)
    if here.place.repository is None:
        raise NotLocked("the run was never locked, or its repository is not here", path=here.place.run)
    address, to = reach(remote, here.place.run_id, here.settings)
    with guarded(here.place, shared=True):
        here = here.again()
        refuse_interrupted(here.place)
        check_owner(here.place)
        return _push(here, address, to, force, sample if verify else 0.0, progress)


def _push(here: Context, address: Address, to: Transport, force: bool, sample: float, progress: Progress) -> PushResult:
    assert here.place.repository is not None
    with RunRepo(here.place.repository) as repo:
        main = repo.ref(MAIN)
        if not main:
            raise NotLocked("the run was never locked", path=here.place.run, hint="gitrun lock seals it")
        history = list(repo.history(main))
        name, updates, new = _plan(repo, address, here, history, to.refs(), force)
        objects, absent = large_objects(repo, new)
        progress.stage("pushing", sum(objects.values()), "B")
        sent = to.send_large(repo.path, objects, progress.advance) if updates else 0
        if updates:
            to.send(repo.path, updates)
        locked = repo.ref(LOCKED) is not None
        checked = _read_back(repo, here, address, to, name, history, sample, progress) if sample else 0
    notes = [] if locked else ["the run is unlocked: its history is there, and no tag"]
    if absent:
        notes.append(f"{absent} large files were never stored (--link none), and are not there either")
    if "+" in name:
        notes.append(f"the remote has another history of this run: this one is there as {name}")
    now = status_here(here)
    return PushResult(
        run=now.run,
        path=now.path,
        state=now.state,
        notes=tuple(notes),
        remote=display_address(address),
        name=name,
        commit=main,
        locked=locked,
        already=not updates,
        sent_objects=len(objects) if updates else 0,
        sent_bytes=sent,
        verified_objects=checked,
    )


def _plan(
    repo: RunRepo, address: Address, here: Context, history: list[Commit], refs: dict[str, str], force: bool
) -> tuple[str, list[Update], list[Commit]]:
    """The run's name there, the refs that have to move, and the locks that the remote lacks."""
    known = {commit.oid for commit in history}
    name, main = here.place.run_id, history[0].oid
    if refs.get(address.branch(name), main) not in known and not force:
        if address.own:
            raise Refused("the remote has another history of this run", path=display_address(address), hint="--force")
        name = f"{name}+{main[:8]}"
    old = refs.get(address.branch(name), "")
    new = history if old not in known else history[: [commit.oid for commit in history].index(old)]
    updates = [Update(address.branch(name), old, main)] if old != main else []
    tag, there = repo.ref(LOCKED), refs.get(address.tag(name), "")
    if tag and tag != there:
        if there and not force and there not in {oid for _, oid in repo.archived()}:
            raise Refused(
                "the remote has a lock of this run that is not here", path=display_address(address), hint="gitrun fetch"
            )
        updates.append(Update(address.tag(name), there, tag))
    return name, updates, new


def _read_back(
    repo: RunRepo,
    here: Context,
    address: Address,
    to: Transport,
    name: str,
    history: list[Commit],
    sample: float,
    progress: Progress,
) -> int:
    """Fetches everything again, large files as far as the sample goes, and writes the receipt; how many of these."""
    objects, _ = large_objects(repo, history)
    count = max(1, round(len(objects) * sample / 100)) if objects else 0
    chosen = dict(random.SystemRandom().sample(sorted(objects.items()), count))
    progress.stage("reading back", sum(chosen.values()), "B")
    building = os.path.join(here.place.store, TEMPORARY + b"verify-" + sha256(repo.path).hexdigest()[:16].encode())
    remove_tree(building)
    refs = [address.branch(name), *([address.tag(name)] if repo.ref(LOCKED) else [])]
    try:
        to.receive(refs, building)
        to.receive_large(chosen, building, progress.advance)
        with RunRepo(building) as copy:
            for ref, local in zip(refs, (repo.ref(MAIN), repo.ref(LOCKED)), strict=False):
                if copy.ref(ref) != local:
                    raise Refused(
                        "the remote does not have what was pushed", path=display_address(address), hint="push again"
                    )
    finally:
        remove_tree(building)
    receipt = {
        "remote": display_address(address),
        "name": name,
        "commit": history[0].oid,
        "tag": repo.ref(LOCKED) or "",
        "read_at": int(time.time()),
        "objects": len(objects),
        "read_objects": count,
        "read_bytes": sum(chosen.values()),
    }
    directory = here.place.own(RECEIPTS)
    make_directories(directory)
    file = sha256(display_address(address).encode("utf-8", "surrogateescape")).hexdigest()[:16] + ".json"
    write_file(os.path.join(directory, file.encode()), json.dumps(receipt, indent=1).encode() + b"\n")
    return count
