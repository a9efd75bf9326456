"""remote: which runs a remote has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from gitrun.errors import GitrunError
from gitrun.fsio import remove_tree
from gitrun.ops._context import RunArgument
from gitrun.remotes import Transport
from gitrun.remotes.address import Address
from gitrun.remotes.locks import base_name, counts, large_objects, reach
from gitrun.repo import RunRepo
from gitrun.results.remote import COMPLETE, HISTORY, INCOMPLETE, RemoteRun
from gitrun.settings import Settings, load


def remote_runs(
    remote: RunArgument = "", run_id: str = "", *, settings: Settings | None = None
) -> tuple[RemoteRun, ...]:
    """Every run that a remote has, sorted by name; `run_id` for a remote with a repository for each run.

    Of a server only the newest commits are fetched, so that a lock whose large files are missing is not told from a complete
    one; `clone` and `push --verify` tell.  Raises UsageError, ToolFailed.
    """
    address, of = reach(remote, run_id, settings or load())
    refs = of.refs()
    branches = {ref: address.name_of(ref) for ref in refs}
    wanted = {ref: name if name else run_id for ref, name in branches.items() if name is not None}
    if not wanted:
        return ()
    if address.directory is not None:
        return tuple(_listed(address.directory, address, of, refs, wanted, deep=True))
    scratch = os.fsencode(tempfile.mkdtemp(prefix="gitrun-remote-"))
    try:
        tags = [address.tag(name) for name in wanted.values() if address.tag(name) in refs]
        of.receive([*wanted, *tags], os.path.join(scratch, b"git"), shallow=True)
        return tuple(_listed(os.path.join(scratch, b"git"), address, of, refs, wanted, deep=False))
    finally:
        remove_tree(scratch)


def _listed(
    repository: bytes, address: Address, of: Transport, refs: dict[str, str], wanted: dict[str, str], *, deep: bool
) -> Iterator[RemoteRun]:
    with RunRepo(repository) as repo:
        for ref, name in sorted(wanted.items(), key=lambda pair: pair[1]):
            commit = repo.commit(refs[ref])
            files, size = counts(commit.message)
            yield RemoteRun(
                run=base_name(name),
                path=b"",
                state=_state(repo, of, refs[ref], refs.get(address.tag(name), ""), deep=deep),
                name=name,
                commit=commit.oid,
                author=commit.author,
                locked_at=commit.when,
                subject=commit.message.partition("\n")[0],
                files=files,
                bytes=size,
            )


def _state(repo: RunRepo, of: Transport, branch: str, tag: str, *, deep: bool) -> str:
    if not tag:
        return HISTORY
    try:
        if repo.tag_object(tag).commit != branch:
            return INCOMPLETE
        objects = large_objects(repo, [repo.commit(branch)]) if deep else {}
    except GitrunError:
        return INCOMPLETE
    return INCOMPLETE if of.missing(objects) else COMPLETE
