"""push: a run's locks go to a remote: large files first, then the history, then the tag."""

from __future__ import annotations

import json
import os
import random
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from typing import NamedTuple

from gitrun.errors import GitrunError, NotLocked, Refused, RunNotFound, UsageError
from gitrun.fsio import make_directories, write_file
from gitrun.guard import guarded
from gitrun.ops._context import Context, RunArgument, context
from gitrun.ops.status import status_here
from gitrun.progress import SILENT, Progress
from gitrun.recover import refuse_interrupted
from gitrun.remotes import Cargo, Transport, Update
from gitrun.remotes.address import Address, display_address
from gitrun.remotes.locks import Large, large_objects, large_of, reach, refuse_damaged
from gitrun.repo import LOCKED, MAIN, Commit, RunRepo, check_owner
from gitrun.results.push import PushResult
from gitrun.scratch import scratch
from gitrun.settings import Settings, load
from gitrun.standing import read_newest
from gitrun.upstream import locate, recorded, where

RECEIPTS = b"receipts"
"""A directory among gitrun's own files in the repository, with a receipt for each remote that was read back."""


def push(
    run: RunArgument,
    remote: RunArgument = "",
    *,
    force: bool = False,
    verify: bool = False,
    sample: float = 100.0,
    upstream: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> PushResult:
    """Sends the locks of a run to a remote, which is a path or a URL, or by default `gitrun.remote`.

    Only what the remote lacks is sent, and its refs move last: a push that stops half-way can be repeated.  A history that
    another machine has pushed under this id stays; this one gets a name of its own then, unless `force`.  `verify` reads
    the remote copy back, `sample` percent of its large files, and keeps a receipt.  With `upstream` the runs that this one's
    lock names, and theirs, are pushed first.

    Raises NotLocked for a run that never was, Refused where the remote must not be changed so, RecordError for a local
    copy that is damaged, ToolFailed for a remote that fails.
    """
    if not 0 < sample <= 100:
        raise UsageError(f"not a share: {sample} %", hint="above 0, up to 100")
    here = context(run, settings)
    address, to = reach(remote, here.place.run_id, here.settings)
    notes = _push_upstream(here, remote, force, progress) if upstream else []
    with guarded(here.place, shared=True):
        ready = _prepare(here.again(), address, to.refs(), force)
        (sent,) = _send_large([ready], address, to, progress)
        if isinstance(sent, GitrunError):
            raise sent
        if ready.updates:
            to.send([ready.repository], ready.updates)
        checked = _read_back(ready, address, to, sample, progress) if verify else 0
        return _result(ready, address, sent, checked, notes)


def push_all(
    runs: Sequence[RunArgument],
    remote: RunArgument = "",
    *,
    force: bool = False,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> list[PushResult | GitrunError]:
    """Sends the locks of many runs to one remote, whose refs are asked for and moved in one go; what became of each.

    Raises UsageError for a remote with a repository for each run, ToolFailed for one that fails as a whole.
    """
    known = settings or load()
    address, to = reach(remote, "", known)
    refs = to.refs()
    _allow_open_files(4 * len(runs))
    with ExitStack() as held:
        ready = [_attempt(run, known, address, refs, force, held) for run in runs]
        sent = _send_large(ready, address, to, progress)
        whole = [it for it, moved in zip(ready, sent, strict=True) if isinstance(it, _Ready) and isinstance(moved, int)]
        moving = [it for it in whole if it.updates]
        if moving:
            to.send([it.repository for it in moving], [update for it in moving for update in it.updates])
        told: list[PushResult | GitrunError] = []
        for it, moved in zip(ready, sent, strict=True):
            told.append(
                _result(it, address, moved, 0, [])
                if isinstance(it, _Ready) and isinstance(moved, int)
                else _why(it, moved)
            )
    return told


def _why(it: _Ready | GitrunError, moved: int | GitrunError) -> GitrunError:
    failed = it if isinstance(it, GitrunError) else moved
    assert isinstance(failed, GitrunError)
    return failed


def _allow_open_files(wanted: int) -> None:
    """The guards of many runs are many open directories."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + 256:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 256), hard))


def _attempt(
    run: RunArgument, settings: Settings, address: Address, refs: dict[str, str], force: bool, held: ExitStack
) -> _Ready | GitrunError:
    try:
        here = context(run, settings)
        held.enter_context(guarded(here.place, shared=True))
        return _prepare(here.again(), address, refs, force)
    except GitrunError as error:
        return error


def _send_large(
    runs: Sequence[_Ready | GitrunError], address: Address, to: Transport, progress: Progress
) -> list[int | GitrunError]:
    """Sends what the remote lacks of each run: how many bytes of each that were, or why not."""
    told: list[int | GitrunError] = [0] * len(runs)
    sending = {number: it for number, it in enumerate(runs) if isinstance(it, _Ready) and it.updates and it.objects}
    if address.directory is None:
        progress.stage("checking", sum(sum(it.objects.values()) for it in sending.values()), "B")
        for number, it in list(sending.items()):
            try:
                refuse_damaged(it.repository, it.large, progress.advance)
            except GitrunError as error:
                told[number] = error
                del sending[number]
    progress.stage("pushing", sum(sum(it.objects.values()) for it in sending.values()), "B")
    if sending:
        cargoes = [Cargo(it.repository, it.objects) for it in sending.values()]
        for number, sent in zip(sending, to.send_large(cargoes, progress.advance), strict=True):
            told[number] = sent
    return told


class _Ready(NamedTuple):
    """A run that can be pushed."""

    here: Context
    repository: bytes
    name: str
    updates: list[Update]
    large: Large
    """Those of the locks that the remote lacks."""
    main: str
    locked: bool

    @property
    def objects(self) -> dict[str, int]:
        """Oid to size of the large files."""
        return self.large.objects


def _prepare(here: Context, address: Address, refs: dict[str, str], force: bool) -> _Ready:
    """What has to be sent of a run, for a caller that holds its guard."""
    if here.place.repository is None:
        raise NotLocked("the run was never locked, or its repository is not here", path=here.place.run)
    refuse_interrupted(here.place)
    check_owner(here.place)
    with RunRepo(here.place.repository) as repo:
        main = repo.ref(MAIN)
        if not main:
            raise NotLocked("the run was never locked", path=here.place.run, hint="gitrun lock seals it")
        name, updates, new = _plan(repo, address, here, list(repo.history(main)), refs, force)
        return _Ready(here, repo.path, name, updates, large_of(repo, new), main, repo.ref(LOCKED) is not None)


def _result(ready: _Ready, address: Address, sent: int, checked: int, notes: list[str]) -> PushResult:
    told = [*notes]
    if not ready.locked:
        told.append("the run is unlocked: its history is there, and no tag")
    if ready.large.absent:
        told.append(f"{ready.large.absent} large files were never stored (--link none), and are not there either")
    if "+" in ready.name:
        told.append(f"the remote has another history of this run: this one is there as {ready.name}")
    now = status_here(ready.here)
    return PushResult(
        run=now.run,
        path=now.path,
        state=now.state,
        notes=tuple(told),
        remote=display_address(address),
        name=ready.name,
        commit=ready.main,
        locked=ready.locked,
        already=not ready.updates,
        sent_objects=len(ready.objects) if ready.updates else 0,
        sent_bytes=sent,
        verified_objects=checked,
    )


def _push_upstream(here: Context, remote: RunArgument, force: bool, progress: Progress) -> list[str]:
    """Pushes the runs that locks name, the farthest first; a note for each."""
    notes = []
    for path in _farthest_first(here.place.run, here.settings, {here.place.run}):
        name = os.fsdecode(path)
        try:
            told = push(path, remote, force=force, settings=here.settings, progress=progress)
            notes.append(f"upstream {name}: {'already there' if told.already else 'pushed'} as {told.name}")
        except (NotLocked, RunNotFound) as error:
            notes.append(f"upstream {name}: not there, {error.message}")
    return notes


def _farthest_first(run: bytes, settings: Settings, seen: set[bytes]) -> Iterator[bytes]:
    place = locate(run, settings)
    try:
        record = read_newest(place).record if place is not None else None
    except GitrunError:
        return  # it is told of when it cannot be pushed
    for path in [where(run, it) for it in recorded(record)] if record else []:
        if path not in seen:
            seen.add(path)
            yield from _farthest_first(path, settings, seen)
            yield path


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


def _read_back(ready: _Ready, address: Address, to: Transport, sample: float, progress: Progress) -> int:
    """Fetches everything again, large files as far as the sample goes, and writes the receipt; how many of these."""
    with RunRepo(ready.repository) as repo:
        objects = large_objects(repo, repo.history(ready.main))
        tag = repo.ref(LOCKED)
    count = max(1, round(len(objects) * sample / 100)) if objects else 0
    chosen = dict(random.SystemRandom().sample(sorted(objects.items()), count))
    progress.stage("reading back", sum(chosen.values()), "B")
    place = ready.here.place
    wanted = {address.branch(ready.name): ready.main, **({address.tag(ready.name): tag} if tag else {})}
    with scratch(place.store, b"verify", os.fsdecode(ready.repository)) as building:
        to.receive(list(wanted), building)
        to.receive_large(chosen, building, progress.advance)
        with RunRepo(building) as copy:
            if any(copy.ref(ref) != oid for ref, oid in wanted.items()):
                raise Refused(
                    "the remote does not have what was pushed", path=display_address(address), hint="push again"
                )
    receipt = {
        "remote": display_address(address),
        "name": ready.name,
        "commit": ready.main,
        "tag": tag or "",
        "read_at": int(time.time()),
        "objects": len(objects),
        "read_objects": count,
        "read_bytes": sum(chosen.values()),
    }
    make_directories(place.own(RECEIPTS))
    file = sha256(display_address(address).encode("utf-8", "surrogateescape")).hexdigest()[:16] + ".json"
    write_file(os.path.join(place.own(RECEIPTS), file.encode()), json.dumps(receipt, indent=1).encode() + b"\n")
    return count
