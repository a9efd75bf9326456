"""What the tests of bad input, fidelity and damage share: refusals, the round trip, and stock tools as judges."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import gitrun
from gitrun.lockfile import LockFile
from tests.support.program import Told
from tests.support.program import gitrun as start
from tests.support.snapshots import Snapshot, snapshot

LARGE = 1 << 20
"""The size from which on files are git-lfs's."""

Argument = str | bytes | os.PathLike[str]


def program(*arguments: Argument, env: Mapping[str, str] | None = None, **options: Any) -> Told:
    """`tests.support.program.gitrun` with variables added to the environment."""
    return start(*arguments, env={**os.environ, **(env or {})}, **options)


def error_lines(told: Told) -> list[str]:
    """The lines on stderr, every one free of control characters."""
    lines = told.err.splitlines()
    assert all(line.isprintable() for line in lines), lines
    return lines


def assert_refused(
    verb: str,
    run: Path,
    *,
    code: str,
    path: Path | bytes,
    exit_code: int = 5,
    says: str = "",
    options: Iterable[str] = (),
    user: bool = False,
    env: Mapping[str, str] | None = None,
) -> None:
    """Asserts that gitrun fails as it promises, and that the run and all beside it stay as they were.

    On stderr stand one line that says what failed and where, and one with a hint; in JSON the error `code` of
    docs/exit-codes.md, and the path.
    """
    before = snapshot(run.parent)
    told = program(verb, *options, "--", run, user=user, env=env)
    answer = program(verb, *options, "--json", "--", run, user=user, env=env)
    assert (told.code, answer.code) == (exit_code, exit_code), told.err
    lines = error_lines(told)
    assert len(lines) == 2, lines
    failure, hint = lines
    assert failure.startswith("gitrun: ") and hint.startswith("hint: ")
    assert says in failure
    error = answer.object["error"]
    assert error["code"] == code
    assert error["message"] and failure.startswith(f"gitrun: {error['message']}: ")
    assert error["hint"] and hint == f"hint: {error['hint']}"
    expected = path if isinstance(path, bytes) else os.fsencode(path)
    assert error["path"].encode("utf-8", "replace") == expected.decode("utf-8", "replace").encode()
    assert_unchanged(before, run.parent)


def assert_unchanged(before: Mapping[bytes, Any], top: Path) -> None:
    """Asserts that a tree is as in the picture; of `top` itself, where a store came and went, the time may differ."""
    after = snapshot(top)
    times = {b".": after[b"."]._replace(mtime_ns=before[b"."].mtime_ns)}
    assert {**after, **times} == dict(before)


# -- the round trip --


def round_trip(run: Path, *, large_threshold: int | None = None, judged: bool = True) -> gitrun.LockResult:
    """Locks, verifies, deletes, restores, verifies and unlocks a run, and asserts that it is what it was.

    With `judged`, stock tools look at the locked run too.
    """
    before = snapshot(run)
    result = gitrun.lock(run, large_threshold=large_threshold)
    if judged:
        assert_stock_tools_agree(run)
    assert_untouched(run)
    sealed = sealed_snapshot(run)
    remove(run)
    gitrun.restore(run)
    assert sealed_snapshot(run) == sealed
    assert_untouched(run)
    assert gitrun.unlock(run).differences == ()
    assert snapshot(run) == before
    return result


def sealed_snapshot(run: Path) -> Snapshot:
    """A picture of a locked run without the times and inherited attributes of gitrun's own files: no lock records them."""
    seen = snapshot(run)
    own = {name: seen[name]._replace(mtime_ns=0, xattrs=()) for name in (b".gitrun.lock", b".git") if name in seen}
    return {**seen, **own}


def remove(run: Path) -> None:
    """Removes a run, whatever its permission bits and however long its paths."""
    if os.geteuid() != 0:
        stock("chmod", "-R", "u+rwx", run)
    stock("rm", "-rf", run)


def assert_untouched(run: Path) -> None:
    """Asserts that the strictest verification finds nothing."""
    verdict = gitrun.verify(run, strict=True)
    assert verdict.ok and not verdict.mutable, verdict.differences


def record(run: Path) -> LockFile:
    """The lock file of a locked run."""
    return LockFile.decode((run / ".gitrun.lock").read_bytes())


def entry_of(run: Path, path: bytes) -> Any:
    """What the lock file of a locked run says of one path."""
    return next(entry for entry in record(run).entries if entry.path == path)


# -- stock tools --


def assert_stock_tools_agree(run: Path) -> None:
    """Asserts that sha256sum, git and git-lfs find nothing wrong with a locked run and its repository."""
    if record(run).files:
        checked = stock("sha256sum", "--strict", "--quiet", "-c", ".gitrun.lock", cwd=run)
        assert checked == b""
    repository = gitrun.path(run)
    assert stock("git", "--git-dir", repository, "fsck", "--strict", "--no-progress") == b""
    stock("git", "--git-dir", repository, "lfs", "fsck")


def clone(run: Path, directory: Path) -> Path:
    """A clone of a locked run, made with stock git and git-lfs alone."""
    stock("git", "clone", "--quiet", f"file://{gitrun.path(run)}", directory)
    stock("git", "lfs", "install", "--local", cwd=directory)
    stock("git", "lfs", "pull", cwd=directory)
    return directory


def assert_clone_has_all_bytes(run: Path, directory: Path) -> None:
    """Asserts that stock tools give every byte of a locked run back: under its own name, or the one in the lock file."""
    cloned = snapshot(clone(run, directory))
    here = snapshot(run)
    for entry in record(run).entries:
        if entry.kind in "fl":
            there = cloned[entry.tree_path or entry.path]
            assert (there.kind, there.content, there.target) == here[entry.path][0:1] + here[entry.path][5:7]


def stock(*command: Argument, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> bytes:
    """What a program prints; it must exist and succeed, and its own settings are out of its reach."""
    if shutil.which(os.fsdecode(command[0])) is None:
        pytest.fail(f"{command[0]!r} is missing: run scripts/setup_tools.sh", pytrace=False)
    done = subprocess.run(
        command,
        cwd=cwd or "/",
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    assert done.returncode == 0, (command, done.stdout)
    return done.stdout


# -- trees --


def write(path: Path, content: bytes | str = b"data\n", mode: int = 0o644) -> Path:
    """A file with this content, its directories made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def put(run: Path, name: bytes, content: bytes = b"data\n") -> bytes:
    """A file of any name below `run`, its directories made; the value is its path."""
    path = os.path.join(os.fsencode(run), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return path
