"""Acting as somebody who is not root, whom permission bits bind; and places that this somebody can reach.

Where the tests themselves run as an ordinary user, that user is the somebody, and nothing needs to be given away.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.tools import tool

UID = 65534 if os.geteuid() == 0 else os.geteuid()
GID = 65534 if os.geteuid() == 0 else os.getegid()


def as_user(argv: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Runs `argv` as the user UID, who is not root, without capabilities; `options` are those of `subprocess.run`."""
    return subprocess.run([*user_prefix(), *argv], **options)


def user_prefix() -> list[str]:
    """What to put before a command so that it runs as the user UID."""
    if os.geteuid() != 0:
        return []
    drop = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    # setpriv itself may still start a program where only root can reach; env, which it starts, may not.
    return ["setpriv", f"--reuid={UID}", f"--regid={GID}", *drop, "env", "--"]


def give(path: Path) -> None:
    """Makes the user UID the owner of `path` and of all that is below it."""
    if os.geteuid() == 0:
        subprocess.run(["chown", "-hR", f"{UID}:{GID}", "--", path], check=True)


@cache
def user_python() -> str:
    """A Python that has gitrun and that the user UID can run: the one of the tests where that one will do."""
    probe = as_user([sys.executable, "-c", "import gitrun"], capture_output=True, cwd="/")
    return sys.executable if probe.returncode == 0 else str(tool("gitrun/bin/python"))


@cache
def shared_directory() -> str:
    """A directory for temporary files that the user UID can write to."""
    for directory in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if as_user(["test", "-w", directory, "-a", "-x", directory]).returncode == 0:
            return directory
    raise RuntimeError("no directory for temporary files that every user can write to")


def remove_tree(root: Path) -> None:
    """Removes a tree whatever its permission bits and immutable flags."""
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-R", "-f", "-i", "-a", root], check=False, stderr=subprocess.DEVNULL)
    for directory, names, _ in os.walk(root):
        for name in [".", *names]:
            _open_up(os.path.join(directory, name))
    shutil.rmtree(root)


def _open_up(directory: str) -> None:
    mode = os.lstat(directory).st_mode
    if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
        os.chmod(directory, 0o700)
