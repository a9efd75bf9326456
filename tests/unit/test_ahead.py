"""Reading ahead: what is told is what was there, and whatever cannot be told safely is left to a later read."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from blake3 import blake3

import gitrun
from gitrun import ahead
from gitrun.ahead import LARGE, Ahead, Stat

MANY = 700
"""Enough files that reading them in other processes pays."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of many files of several sizes, older than a clock tick."""
    top = tmp_path / "run"
    for number in range(MANY):
        directory = top / f"d{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(os.urandom(number * 40))
    time.sleep(0.05)
    return top


def names(run: Path) -> list[bytes]:
    return sorted(os.fsencode(path.relative_to(run)) for path in run.rglob("*") if not path.is_dir())


def seen(run: Path, paths: list[bytes]) -> dict[bytes, tuple[bytes, Stat]]:
    with Ahead(os.fsencode(run), paths, jobs=2) as reading:
        assert reading.pays
        return {path: (digest, stat) for path, digest, stat, _ in reading.seen()}


def test_every_file_is_told_with_one_of_its_digests(run: Path) -> None:
    found = seen(run, names(run))
    assert sorted(found) == names(run)
    for path, (digest, stat) in found.items():
        data = (run / os.fsdecode(path)).read_bytes()
        assert digest in (hashlib.sha256(data).digest(), blake3(data).digest())
        was = (run / os.fsdecode(path)).stat()
        assert stat == (was.st_dev, was.st_ino, was.st_size, was.st_mtime_ns, was.st_ctime_ns)


def test_nothing_outside_the_run_is_read(run: Path) -> None:
    (run.parent / "secret").write_bytes(b"secret")
    (run / "d0" / "link").symlink_to(run.parent / "secret")
    (run / "way").symlink_to(run.parent)
    time.sleep(0.05)
    odd = [b"../secret", b"d0/../../secret", b"d0/link", b"way/secret", os.fsencode(run.parent / "secret"), b"", b"d0"]
    assert not set(odd) & set(seen(run, [*names(run), *odd]))


def test_what_changed_just_now_is_left_to_a_later_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one tick of the clock it could change again without another ctime."""
    monkeypatch.setattr(ahead, "_SETTLED_NS", 3600 * 10**9)  # all files are younger than an hour
    assert not seen(run, names(run))


def test_large_files_and_what_is_no_file_are_left_out(run: Path) -> None:
    (run / "large").write_bytes(bytes(LARGE))
    os.mkfifo(run / "fifo")
    time.sleep(0.05)
    assert not {b"large", b"fifo", b"gone"} & set(seen(run, [*names(run), b"gone"]))


def test_a_forged_lock_file_changes_no_verdict(run: Path) -> None:
    """It is not even what `verify` compares with: it only says where to begin to read."""
    gitrun.lock(run)
    lock_file = run / ".gitrun.lock"
    run.chmod(0o755)
    lock_file.chmod(0o644)
    lines = lock_file.read_bytes().splitlines(keepends=True)
    lock_file.write_bytes(b"".join(line.replace(b"  d3/", b"  ../d3/") for line in lines))
    victim = run / "d3" / "f10"
    victim.chmod(0o644)
    victim.write_bytes(b"x" * 400)
    with Ahead.of_lock_file(str(run), jobs=2) as reading:
        verdict = gitrun.verify(run, ahead=reading)
    assert [(found.path, found.kind) for found in verdict.differences] == [
        (b".gitrun.lock", "modified"),
        (b"d3/f10", "modified"),
    ]


def test_a_change_after_reading_ahead_is_seen(run: Path) -> None:
    gitrun.lock(run)
    victim = run / "d3" / "f10"
    before = victim.stat()
    with Ahead.of_lock_file(str(run), jobs=2) as reading:
        time.sleep(0.3)
        victim.chmod(0o644)
        victim.write_bytes(b"x" * 400)
        os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
        victim.chmod(0o444)
        verdict = gitrun.verify(run, ahead=reading)
    assert [(found.path, found.kind) for found in verdict.differences] == [(b"d3/f10", "modified")]


@pytest.mark.parametrize("path", ["nothing", "d0/f7", "."])
def test_what_is_no_locked_run_is_read_by_nobody(run: Path, path: str) -> None:
    with Ahead.of_lock_file(str(run / path), jobs=2) as reading:
        assert not reading.pays and not list(reading.seen())
