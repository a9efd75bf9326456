"""A disk that is really full, by bytes and by files, and the limits of a process: exit 8, and all is as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import Account, Lab, check_locked, current, differences, remove, snapshot
from .sweep import ALL, LOCK, RELOCK, REPORT, RESTORE, SCENARIOS, UNLOCK, Scenario, after_error, choose, goal

IN_NAMESPACE = "GITRUN_TESTS_IN_NAMESPACE"
MIB = 1 << 20
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="runs in a user namespace, see test_in_a_namespace_of_its_own")


@pytest.mark.skipif(os.geteuid() == 0, reason="root needs no namespace")
def test_in_a_namespace_of_its_own() -> None:
    """Whoever may not mount, does so in a user namespace."""
    command = ["unshare", "-Urm", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env={**os.environ, IN_NAMESPACE: "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def small_disk(fault_base: Path) -> Iterator[Path]:
    """A tmpfs of 8 MiB and 400 files."""
    disk = fault_base / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=400,mode=755", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture(scope="module")
def small_lab(make_lab: Callable[..., Lab], small_disk: Path) -> Lab:
    """A place on the small disk."""
    return make_lab(current(), place=small_disk / "place")


def leave(disk: Path, free: int) -> Path:
    """Fills the disk until `free` bytes are left."""
    ballast = disk / "ballast"
    about = os.statvfs(disk)
    size = about.f_bavail * about.f_frsize - free
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    assert os.statvfs(disk).f_bavail * about.f_frsize <= free
    return ballast


def leave_inodes(disk: Path, free: int) -> Path:
    """Fills the disk with empty files until `free` more can be made."""
    ballast = disk / "ballast"
    ballast.mkdir()
    for number in range(os.statvfs(disk).f_ffree - free):
        (ballast / str(number)).touch()
    return ballast


def fill(lab: Lab, scenario: Scenario, amount: int, how: Callable[[Path, int], Path]) -> tuple[bool, list[str]]:
    """Runs the scenario on a disk with so little left; whether it failed, and what is wrong."""
    wanted = goal(lab, scenario)
    ballast = how(lab.parent.parent, amount)
    try:
        outcome = lab.gitrun(scenario.verb, lab.run)
        before = lab.originals[scenario.start]
        wrong = []
        if outcome.code and scenario is not RESTORE:
            wrong = [f"while the disk is full: {line}" for line in differences(before, snapshot(lab.run))]
    finally:
        remove(ballast)
    return outcome.code != 0, wrong + after_error(lab, scenario, outcome, wanted)


@as_root
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_disk_full_by_bytes(small_lab: Lab, scenario: Scenario) -> None:
    sizes = [*range(0, 15 * 4096, 4096), 64 << 10, 256 << 10, MIB, *range(MIB + 4096, MIB + 40 * 4096, 2 * 4096)]
    _fill_all(small_lab, scenario, choose(sizes, 12, 1), leave, "bytes")


@as_root
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_disk_full_by_files(small_lab: Lab, scenario: Scenario) -> None:
    _fill_all(small_lab, scenario, choose(range(40), 10, 2), leave_inodes, "files")


def _fill_all(lab: Lab, scenario: Scenario, amounts: list[int], how: Callable[[Path, int], Path], unit: str) -> None:
    results = {amount: fill(lab, scenario, amount, how) for amount in amounts}
    failed = sum(failed for failed, _ in results.values())
    REPORT.append(f"{scenario.name} on a full disk ({unit}): {len(results)} sizes, {failed} of them too small")
    wrong = {amount: lines for amount, (_, lines) in results.items() if lines}
    assert not wrong, "\n".join(f"{a} {unit} left: {lines[:6]}" for a, lines in wrong.items())
    assert failed or scenario is UNLOCK, "no size was too small: this proves nothing"
    assert failed < len(results) or ALL, "no size was enough"


@pytest.mark.parametrize("scenario", [LOCK, RELOCK, RESTORE], ids=lambda s: s.name)
def test_limit_of_file_size(lab: Lab, scenario: Scenario) -> None:
    """RLIMIT_FSIZE: a short write, then EFBIG."""
    wanted = goal(lab, scenario)
    outcome = lab.gitrun(scenario.verb, lab.run, limits={"FSIZE": 600_000})
    assert outcome.code == 8, outcome.tell()
    assert not after_error(lab, scenario, outcome, wanted)


@pytest.mark.parametrize("limit", [4, 6, 8, 10, 12, 14])
def test_limit_of_open_files(lab: Lab, limit: int) -> None:
    wanted = goal(lab, LOCK)
    outcome = lab.gitrun("lock", lab.run, limits={"NOFILE": limit})
    assert not after_error(lab, LOCK, outcome, wanted, codes=(5, 8))


def test_store_on_another_full_disk(fault_base: Path, lab: Lab) -> None:
    """A store that cannot even be made: nothing is changed."""
    wanted = goal(lab, LOCK)
    (lab.parent / ".gitrun").write_text("a file is in the way")
    outcome = lab.gitrun("lock", lab.run)
    assert outcome.code in (5, 8), outcome.tell()
    assert not differences(wanted, snapshot(lab.run))
    (lab.parent / ".gitrun").unlink()
    lab.must("lock", lab.run)
    assert not check_locked(lab, wanted)


@as_root
def test_read_only_file_system(fault_base: Path, make_lab: Callable[..., Lab]) -> None:
    """The run and its store lie on a file system that is read-only: lock says so, and what was locked verifies."""
    disk = fault_base / "read-only"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", disk], check=True)
    try:
        lab = make_lab(Account(os.geteuid(), os.getegid(), sys.executable), place=disk / "place")
        wanted = goal(lab, LOCK)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        outcome = lab.gitrun("lock", lab.run)
        assert outcome.code == 8, outcome.tell()
        assert not differences(wanted, snapshot(lab.run))
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        lab.must("lock", lab.run)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert lab.state() == "locked"
        assert lab.gitrun("verify", lab.run).code == 0
        outcome = lab.gitrun("unlock", lab.run)
        assert outcome.code == 8, outcome.tell()
        assert lab.state() == "locked"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
