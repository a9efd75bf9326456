"""P1 and P3 on a real file system: what is on the disk at the moment of a power cut, mounted again, is old or new.

The disk is an image that is mounted through a loop device.  What was not synced is not in the image yet, so a copy of
it, made at any moment, is what a power cut at that moment leaves.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import shim as s
from .harness import Lab, check_locked, current
from .sweep import (
    ALL,
    LOCK,
    RELOCK,
    REPORT,
    RESTORE,
    UNLOCK,
    Scenario,
    check_bytes,
    choose,
    follow,
    goal,
)


def has_loop_devices() -> bool:
    """Whether this machine can mount an image."""
    if os.geteuid() != 0:
        return False
    return subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not has_loop_devices(), reason="needs root and loop devices; test_fsync.py proves the order of syncs anywhere"
)


class Disk:
    """An ext4 image, mounted at `place`."""

    def __init__(self, base: Path) -> None:
        self.image, self.copies, self.place = base / "disk.img", base / "copies", base / "mounted"
        self.place.mkdir()
        self.copies.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(24 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", self.image], check=True)
        subprocess.run(["tune2fs", "-O", "has_journal", "-J", "size=4", self.image], check=True, capture_output=True)
        self.mount(self.image)

    def mount(self, image: Path) -> None:
        """Mounts an image; nothing but a sync writes to it in the next minutes."""
        subprocess.run(["mount", "-o", "loop,commit=300", image, self.place], check=True)

    def umount(self) -> None:
        """Unmounts what is mounted."""
        subprocess.run(["umount", self.place], check=True)

    def settle(self) -> None:
        """Writes everything to the image."""
        subprocess.run(["sync", "-f", self.place], check=True)

    def cut(self, name: str) -> Path:
        """What a power cut now would leave."""
        copy = self.copies / name
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        return copy

    def boot(self, copy: Path) -> None:
        """Checks the file system of a copy and mounts it."""
        checked = subprocess.run(["e2fsck", "-fy", copy], capture_output=True, text=True, check=False)
        assert checked.returncode in (0, 1), checked.stdout
        self.mount(copy)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """A mounted disk."""
    disk = Disk(tmp_path_factory.mktemp("disk"))
    yield disk
    subprocess.run(["umount", "-l", disk.place], check=False)


@pytest.fixture(scope="module")
def disk_lab(make_lab: Callable[..., Lab], disk: Disk) -> Lab:
    """A place on the disk."""
    return make_lab(current(), place=disk.place / "place")


def test_locked_survives(disk_lab: Lab, disk: Disk) -> None:
    """Cut at the very moment at which "locked" has been written to stdout."""
    lab = disk_lab
    wanted = goal(lab, LOCK)
    disk.settle()
    running = lab.start("lock", lab.run, below=[lab.base / "out"], at=1, fault=s.STOP_AFTER, calls=["write"])
    assert running.stopped() is not None, "nothing was printed"
    assert "locked" in (lab.base / "out").read_text()
    copy = disk.cut("locked")
    running.resume()
    assert running.finish().code == 0
    disk.umount()
    disk.boot(copy)
    try:
        assert not check_locked(lab, wanted)
    finally:
        disk.umount()
        copy.unlink()
        disk.mount(disk.image)


@pytest.mark.parametrize("scenario", [LOCK, RELOCK, UNLOCK, RESTORE], ids=lambda s: s.name)
def test_old_or_new(disk_lab: Lab, disk: Disk, scenario: Scenario) -> None:
    """Cut before many of the calls that change something: nothing is lost, and the next command ends cleanly."""
    lab = disk_lab
    goal(lab, scenario)
    points = choose(
        [c.number for c in lab.count_calls(scenario.verb, lab.run)], 16 if not ALL else 400, scenario.verb.count("o")
    )
    wanted = goal(lab, scenario)
    disk.settle()
    copies = list(_cut_at(lab, disk, scenario, points))
    disk.umount()
    wrong = {}
    for number, copy in copies:
        disk.boot(copy)
        try:
            if lines := _after_boot(lab, scenario, wanted, again=number % 2 == 0):
                wrong[number] = lines[:6]
        finally:
            disk.umount()
            copy.unlink()
    disk.mount(disk.image)
    REPORT.append(f"{scenario.name} × power cut: {len(copies)} points, {len(wrong)} failed")
    assert not wrong, "\n".join(f"cut before call {n}: {lines}" for n, lines in wrong.items())


def _cut_at(lab: Lab, disk: Disk, scenario: Scenario, points: list[int]) -> Iterator[tuple[int, Path]]:
    running = lab.start(scenario.verb, lab.run, at=points[0], fault=s.STOP_BEFORE)
    for times, point in enumerate(points, 1):
        if running.stopped(times) is None:
            break
        yield point, disk.cut(f"{scenario.name}-{point}")
        lab.shim.state.at = points[times] if times < len(points) else 0
        running.resume()
    outcome = running.finish()
    assert outcome.code == 0, outcome.tell()


def _after_boot(lab: Lab, scenario: Scenario, wanted: object, *, again: bool) -> list[str]:
    try:
        wrong = check_bytes(lab, scenario, wanted, litter=True)  # type: ignore[arg-type]
        state = lab.state()
        if state not in ("interrupted", "unlocked", "locked"):
            wrong.append(f"status says {state!r}")
        verb, after = (scenario.verb, scenario.after) if again else (scenario.other, scenario.other_after)
        return wrong + follow(lab, scenario, verb, after, wanted, clean=state)  # type: ignore[arg-type]
    except AssertionError as error:
        return [str(error)]
