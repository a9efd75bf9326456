"""A lock that stands: its tag, and the record that the tag vouches for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gitrun.entry import FILE, GIT_LINK, LOCK_FILE
from gitrun.errors import LockFileInvalid, NotLocked, RecordError, TagMismatch, TagMissing
from gitrun.fsio import read_file
from gitrun.lockfile import MAX_BYTES, LockFile
from gitrun.repo import LOCKED, MAIN, RunRepo, Tag
from gitrun.store import Place
from gitrun.walk import Node


class Standing(NamedTuple):
    """A lock and its record."""

    tag: Tag | None
    """None for the record of a copy, which only its own lock file vouches for."""
    record: LockFile
    data: bytes
    """The lock file as it was committed."""


def is_locked(place: Place) -> bool:
    """Whether the tag `locked` stands."""
    if place.repository is None:
        return False
    with RunRepo(place.repository) as repo:
        return repo.ref(LOCKED) is not None


def read_standing(place: Place) -> Standing:
    """The lock of a run, trusted only as far as tag, commit and lock file agree.

    Raises NotLocked; TagMissing when only the lock file stands; RecordError for what does not agree.
    """
    if place.repository is None:
        return _read_copy(place)
    with RunRepo(place.repository) as repo:
        tag = repo.tag()
        if tag is None:
            if place.exists and os.path.lexists(place.lock_file):
                raise TagMissing(
                    "the lock file stands but the tag `locked` is gone", path=place.run, hint="gitrun unlock"
                )
            raise NotLocked("the run is not locked", path=place.run, hint="gitrun lock seals it")
        data = repo.lock_file(tag.commit)
    return Standing(tag, _decode(place, data, tag.digest), data)


def read_newest(place: Place) -> Standing:
    """The standing lock or, of a run that was unlocked since, its newest one; raises NotLocked when it never was locked."""
    if place.repository is None:
        raise NotLocked(
            "there is no repository of this run",
            path=place.run,
            hint="it was never locked, or GITRUN_STORE points elsewhere",
        )
    with RunRepo(place.repository) as repo:
        tag = repo.tag() or _last_archived(repo)
        commit = tag.commit if tag else repo.ref(MAIN)
        if commit is None:
            raise NotLocked("the run was never locked", path=place.run, hint="gitrun lock seals it")
        if tag is None and repo.commit(commit).run_id not in ("", place.run_id):
            message = "the run was forked from a locked one, and never locked itself"
            raise NotLocked(
                message, path=place.run, hint="gitrun lock seals it; gitrun diff compares it with its origin"
            )
        data = repo.lock_file(commit)
    return Standing(tag, _decode(place, data, tag.digest if tag else ""), data)


def _last_archived(repo: RunRepo) -> Tag | None:
    archived = repo.archived()
    return repo.tag_object(archived[-1][1]) if archived else None


def _decode(place: Place, data: bytes, digest: str) -> LockFile:
    seen = sha256(data).hexdigest()
    if digest and seen != digest:
        raise TagMismatch(
            f"the committed lock file is not the one that the tag names: sha256 {digest} expected, {seen} seen",
            path=place.repository,
            hint="gitrun fsck",
        )
    record = LockFile.decode(data)
    if record.run_id != place.run_id:
        raise TagMismatch(
            f"the lock is one of another run: {place.run_id} expected, {record.run_id} seen",
            path=place.repository,
            hint="gitrun fsck",
        )
    return record


def _read_copy(place: Place) -> Standing:
    """The record of a run whose repository is not here: its lock file is all there is."""
    if not os.path.lexists(place.lock_file):
        raise NotLocked("the run is not locked", path=place.run, hint="gitrun lock seals it")
    data = read_file(place.lock_file, MAX_BYTES)
    if data is None:
        raise LockFileInvalid(
            "the lock file is not a regular file, or too large", path=place.lock_file, hint="gitrun restore"
        )
    try:
        return Standing(None, LockFile.decode(data), data)
    except RecordError as error:
        error.path = error.path or place.lock_file
        raise


def git_link_text(place: Place) -> bytes:
    """What gitrun's `.git` file points to: relative where run and store lie side by side, so that both can move."""
    assert place.repository is not None
    return os.path.relpath(place.repository, place.run) if place.beside else place.repository


def own_files_apart(place: Place, record: LockFile, nodes: Sequence[Node]) -> list[Node]:
    """The nodes without the lock file and the `.git` that gitrun made: all that a record lists."""
    has_own_git = any(entry.path == GIT_LINK for entry in record.entries)

    def is_gitruns(node: Node) -> bool:
        if node.path != GIT_LINK or has_own_git:
            return node.path == LOCK_FILE
        return node.kind == FILE and is_own_git_link(place, record)

    return [node for node in nodes if not is_gitruns(node)]


def is_own_git_link(place: Place, record: LockFile) -> bool:
    """Whether the run's `.git` is the file that gitrun wrote, now or before the run was moved."""
    known = [unquote_to_bytes(record.header("git-link"))] if record.header("git-link") else []
    if place.repository is not None:
        known.append(git_link_text(place))
    return read_file(os.path.join(place.run, GIT_LINK), 1 << 14) in [b"gitdir: " + text + b"\n" for text in known]
