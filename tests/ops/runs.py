"""Small runs, and what people do to them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

LARGE = 1 << 20
"""From this size on a file goes to git-lfs."""
MODEL = bytes(range(256)) * (LARGE // 256)


def fill(run: Path) -> Path:
    """Makes a small run with an entry of every usual sort."""
    (run / "sub" / "deep").mkdir(parents=True)
    for name, content, mode in [
        ("config.yaml", b"lr: 0.1\n", 0o644),
        ("model.bin", MODEL, 0o640),
        ("go.sh", b"#!/bin/sh\r\n", 0o755),
        ("empty", b"", 0o664),
        ("sub/secret", b"s3cret", 0o600),
        ("sub/deep/sealed", b"read-only before", 0o444),
    ]:
        (run / name).write_bytes(content)
        (run / name).chmod(mode)
    (run / "hollow").mkdir()
    (run / "hollow").chmod(0o700)
    (run / "link").symlink_to("sub/secret")
    for number, path in enumerate(sorted([run, *run.rglob("*")], reverse=True)):
        os.utime(path, ns=(10**18 + number, 10**18 + number), follow_symlinks=False)
    return run


def repository_of(run: Path) -> Path:
    """Where a run has its repository by default."""
    return run.parent / ".gitrun" / f"{run.name}.git"


def large_object(top: Path, data: bytes = MODEL) -> Path:
    """Where git-lfs looks for a large file below a repository or a store."""
    oid = hashlib.sha256(data).hexdigest()
    return top / "lfs" / "objects" / oid[:2] / oid[2:4] / oid


def overwrite(path: Path, data: bytes) -> None:
    """Changes a sealed file as somebody in a hurry does: chmod, write; the mode is put back."""
    mode = path.stat().st_mode & 0o7777
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


def loosen(*directories: Path) -> None:
    """Gives sealed directories their owner's write bit back."""
    for directory in directories:
        directory.chmod(directory.stat().st_mode & 0o7777 | 0o200)


def copy(run: Path, target: Path) -> Path:
    """`cp -a`."""
    subprocess.run(["cp", "-a", "--", run, target], check=True)
    return target


def remove(tree: Path) -> None:
    """Removes a run, locked or not."""
    loosen(tree, *(path for path in tree.rglob("*") if path.is_dir() and not path.is_symlink()))
    shutil.rmtree(tree)
