"""The history of a run: which locks it has, and which of them somebody means.

A revision is written as git writes it: `locked`, `main` or `HEAD` (the newest lock), a commit id or the beginning of
one, `refs/gitrun/locks/<n>` (a lock that was unlocked since), `origin` (the lock that the run was forked from), each with
`~N` behind it for the N-th lock before.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

from gitrun.errors import NotLocked, TagMismatch
from gitrun.lockfile import LockFile
from gitrun.repo import ARCHIVE, DIGEST_TRAILER, LOCKED, MAIN, Commit, RunRepo, Tag
from gitrun.store import read_record

_REVISION = re.compile(r"(.*?)(?:~([0-9]{0,9})|(\^+))?", re.DOTALL)
ORIGIN = "origin"
_NEWEST = frozenset(("", "@", "HEAD", "main", MAIN))
_COMMIT_ID = re.compile(r"[0-9a-f]{4,40}")
_DIGEST = re.compile(rf"^{DIGEST_TRAILER}: ([0-9a-f]{{64}})$", re.MULTILINE)


class Locked(NamedTuple):
    """One lock of a run's history."""

    commit: Commit
    tag: Tag | None
    """The tag that vouches for it: `locked`, or one kept when the run was unlocked; None for a lock without one."""
    standing: bool
    """The run is locked by it now."""


def locks(repo: RunRepo) -> list[Locked]:
    """The locks of a run, newest first, those of its origin after its own."""
    standing = repo.tag()
    tags = {tag.commit: tag for tag in (repo.tag_object(oid) for _, oid in repo.archived())}
    if standing is not None:
        tags[standing.commit] = standing
    return [
        Locked(commit, tags.get(commit.oid), standing is not None and standing.commit == commit.oid)
        for commit in repo.history()
    ]


def resolve(repo: RunRepo, revision: str) -> str:
    """The commit that a revision names.  Raises NotLocked when the run has no such lock."""
    found = _REVISION.fullmatch(revision)
    assert found is not None  # it matches any text
    back = len(found[3]) if found[3] else int(found[2] or "1") if found[2] is not None else 0
    start = _start(repo, found[1])
    for number, commit in enumerate(repo.history(start) if start else ()):
        if number == back:
            return commit.oid
    raise NotLocked(f"the run has no lock {revision!r}", path=repo.path, hint="gitrun log lists its locks")


def _start(repo: RunRepo, name: str) -> str | None:
    if name in _NEWEST:
        return repo.ref(MAIN)
    if name in ("locked", LOCKED):
        tag = repo.tag()
        return tag.commit if tag else None
    if name == ORIGIN:
        return _origin(repo)
    if name.startswith(ARCHIVE):
        oid = repo.ref(name)
        return repo.tag_object(oid).commit if oid else None
    if _COMMIT_ID.fullmatch(name):
        known = {commit.oid for commit in repo.history()} | {repo.tag_object(oid).commit for _, oid in repo.archived()}
        fitting = [oid for oid in known if oid.startswith(name)]
        return fitting[0] if len(fitting) == 1 else None
    return None


def _origin(repo: RunRepo) -> str | None:
    known = read_record(repo.path)
    own = ("", known.run_id if known else "")
    return next((commit.oid for commit in repo.history() if commit.run_id not in own), None)


def record_at(repo: RunRepo, commit: str) -> LockFile:
    """The record of a lock, checked against the digest in the commit's message; raises RecordError."""
    data = repo.lock_file(commit)
    told = _DIGEST.findall(repo.commit(commit).message)
    seen = sha256(data).hexdigest()
    if told[-1:] != [seen]:
        raise TagMismatch(
            f"the lock file of commit {commit} is not the one that its message names: "
            f"sha256 {told[-1] if told else 'none'} expected, {seen} seen",
            path=repo.path,
            hint="gitrun fsck",
        )
    return LockFile.decode(data)
