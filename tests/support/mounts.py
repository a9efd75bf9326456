"""Small file systems of a wanted type, in a file; only root can mount them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MAKE = {
    "ext4": (32, ["mkfs.ext4", "-q", "-F"]),
    "btrfs": (128, ["mkfs.btrfs", "-q", "-f"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"]),
}


def needs_root() -> None:
    """Nobody else can mount, set the immutable flag, or give files away."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


@contextmanager
def mounted(kind: str, base: Path) -> Iterator[Path]:
    """A file system of that kind (or `tmpfs`, or `bindfs` options) at a directory below `base`, writable for all."""
    needs_root()
    point = base / kind
    point.mkdir()
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", "size=32m,mode=1777", "tmpfs", point)
    else:
        _mount_image(kind, base / f"{kind}.img", point)
    try:
        yield point
    finally:
        _run("umount", point)


@contextmanager
def bound(options: list[str], source: Path, point: Path) -> Iterator[Path]:
    """`source` seen through bindfs with these options at `point`."""
    needs_root()
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this kernel has no FUSE (no /dev/fuse), by which bindfs mounts")
    point.mkdir()
    _run("bindfs", *options, source, point)
    try:
        yield point
    finally:
        _run("umount", point)


def _mount_image(kind: str, image: Path, point: Path) -> None:
    if kind not in Path("/proc/filesystems").read_text().split():
        subprocess.run(["modprobe", kind], check=False, capture_output=True)
    if kind not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {kind}")
    mebibytes, command = _MAKE[kind]
    with open(image, "wb") as file:
        file.truncate(mebibytes << 20)
    _run(*command, image)
    _run("mount", "-o", "loop", image, point)
    point.chmod(0o1777)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
