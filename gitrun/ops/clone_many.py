"""clone of several runs: the remote is asked once, its history comes in one go, and each run is made from that."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple

from gitrun import store
from gitrun.errors import GitrunError, Refused, RunChanged, RunNotFound, system_failed
from gitrun.ops._context import RunArgument
from gitrun.ops.clone import clone_named, named, own_place, parent_of
from gitrun.ops.restore import restore
from gitrun.ops.status import status
from gitrun.ops.verify import verify
from gitrun.progress import SILENT, Progress
from gitrun.remotes import Source
from gitrun.remotes.address import Address, display_address
from gitrun.remotes.locks import base_name, layout_of, reach
from gitrun.remotes.staged import Staged
from gitrun.repo import RunRepo
from gitrun.results import INTERRUPTED, ORPHANED
from gitrun.results.clone import CloneResult
from gitrun.scratch import scratch
from gitrun.settings import Settings, load


class Planned(NamedTuple):
    """A run that is to be cloned."""

    name: str
    """On the remote."""
    target: bytes
    """Absolute; where the run is already, if it is here."""
    here: bool = False
    failure: GitrunError | None = None
    """Why there is no such run."""
    notes: tuple[str, ...] = ()


class Clones(NamedTuple):
    """What `cloning` has made ready."""

    planned: tuple[Planned, ...]
    source: Source
    address: Address
    settings: Settings

    def clone(self, planned: Planned, progress: Progress = SILENT) -> CloneResult:
        """Makes one run; raises as `gitrun.clone` does.

        A run that is here already stays as it is; one whose directory is gone, or only half there, is restored.
        """
        if planned.failure is not None:
            raise planned.failure
        if planned.here:
            return _here(planned, self.address, self.settings, progress)
        _, _, cloned = clone_named(self.source, self.address, planned.name, planned.target, "", self.settings, progress)
        return replace(cloned, notes=(*cloned.notes, *planned.notes))


@contextmanager
def cloning(
    remote: RunArgument, run_ids: Sequence[str] = (), into: RunArgument = "", *, settings: Settings | None = None
) -> Iterator[Clones]:
    """Clones of several runs, which a block makes one by one, or in several processes; of all that have a lock by default.

    Each gets the name that it had, or its id where that is taken, in the directory `into`; without that a Guild run
    goes into the Guild home, another one into the current directory.  Raises UsageError for a remote with a repository for
    each run, RunNotFound where none has a lock, ToolFailed, SystemFailed.
    """
    known = settings or load()
    address, of = reach(remote, "", known)
    refs = of.refs()
    base = os.path.realpath(os.fsencode(into or "."))
    if not os.path.isdir(base):
        raise Refused("there is no such directory", path=base, hint="mkdir it first")
    wanted, failures = _wanted(address, refs, run_ids)
    if not (wanted or failures):
        raise RunNotFound(
            "no run has a lock there", path=display_address(address), hint="gitrun remote lists what is there"
        )
    here = _known_here(into, known)
    new = [name for name in wanted if name not in here]
    with ExitStack() as held:
        try:
            key = "\n".join([display_address(address), *wanted])
            staging = held.enter_context(scratch(base, b"clones", key))
            if new:
                locked = [name for name in new if address.tag(name) in refs]
                of.receive([*map(address.branch, new), *map(address.tag, locked)], staging)
            planned = [Planned(name, here[name], True) for name in wanted if name in here]
            planned += [*_places(address, staging, refs, new, into), *failures]
        except OSError as error:
            raise system_failed(error, "clone the runs", near=base) from error
        yield Clones(tuple(_noted(planned, address, refs)), Staged(of, refs, staging), address, known)


def _wanted(address: Address, refs: Mapping[str, str], run_ids: Sequence[str]) -> tuple[list[str], list[Planned]]:
    """Names on the remote; and what was asked for and is not there."""
    if not run_ids:
        names = (address.name_of(ref) for ref in refs)
        return sorted(name for name in names if name and "+" not in name and address.tag(name) in refs), []
    wanted: dict[str, None] = {}
    failures = []
    for told in run_ids:
        try:
            wanted[named(address, refs, told)] = None
        except GitrunError as error:
            failures.append(Planned(told, os.path.abspath(os.fsencode(told)), failure=error))
    return list(wanted), failures


def _known_here(into: RunArgument, settings: Settings) -> dict[str, bytes]:
    """Run id and path of every run in the stores that clones may go to."""
    parents = {parent_of(into, layout) for layout in ("plain", "guild")}
    known = {}
    for top in {settings.store or os.path.join(os.path.realpath(parent), store.STORE_NAME) for parent in parents}:
        for repository in store.repositories(top):
            record = store.read_record(repository)
            if record is not None:
                known[record.run_id] = store.run_path(repository) or repository
    return known


def _places(
    address: Address, staging: bytes, refs: Mapping[str, str], names: Sequence[str], into: RunArgument
) -> list[Planned]:
    if not names:
        return []
    with RunRepo(staging) as repo:
        layouts = [layout_of(repo.commit(refs[address.branch(name)]).message) for name in names]
    own = [own_place(into, layout, base_name(name)) for name, layout in zip(names, layouts, strict=True)]
    often = Counter(own)
    free = [
        often[path] == 1 and "+" not in name and not os.path.lexists(path)
        for name, path in zip(names, own, strict=True)
    ]
    return [
        Planned(name, path if is_free else os.path.join(os.path.dirname(path), os.fsencode(name)))
        for name, path, is_free in zip(names, own, free, strict=True)
    ]


def _noted(planned: Sequence[Planned], address: Address, refs: Mapping[str, str]) -> Iterator[Planned]:
    """With a word on other histories of the same run, which cannot be in the same place."""
    others = Counter(base_name(name) for name in map(address.name_of, refs) if name and "+" in name)
    for it in planned:
        told = "the remote has another history of this run: gitrun remote lists it, and it can be cloned elsewhere"
        yield it._replace(notes=(told,)) if others[it.name] and not it.failure else it


def _here(planned: Planned, address: Address, settings: Settings, progress: Progress) -> CloneResult:
    before = status(planned.target, settings=settings)
    gone = before.state in (ORPHANED, INTERRUPTED)
    if gone:  # as a clone that was killed leaves it; one that is at work still holds these
        parent = os.path.dirname(planned.target)
        with (
            scratch(parent, b"clone", base_name(planned.name)),
            scratch(parent, b"clone-to", os.fsdecode(planned.target)),
        ):
            restore(planned.target, settings=settings, progress=progress)
            if not verify(planned.target, settings=settings, progress=progress):
                raise RunChanged(
                    "the run is here, and was changed", path=planned.target, hint="gitrun verify tells how"
                )
    now = status(planned.target, settings=settings)
    return CloneResult(
        run=now.run,
        path=now.path,
        state=now.state,
        notes=planned.notes,
        remote=display_address(address),
        commit=now.commit,
        files=now.files,
        bytes=now.bytes,
        already=not gone,
    )
