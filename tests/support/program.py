"""gitrun as people and scripts call it: in a process of its own, perhaps as another user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.tools import CHECKOUT
from tests.support.users import as_user, user_python

SCHEMA = CHECKOUT / "docs" / "json-schema.json"


class Told(NamedTuple):
    """How a command ended, and what it told."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        """The one object that `--json` printed."""
        (only,) = self.objects
        return only


def gitrun(
    *arguments: str | bytes | os.PathLike[str],
    cwd: str | os.PathLike[str] = "/",
    env: Mapping[str, str] | None = None,
    user: bool = False,
    before: Sequence[str | os.PathLike[str]] = (),
) -> Told:
    """Runs `gitrun ARGUMENTS`; `user`: as the user whom `as_user` plays; `before`: words such as those of strace."""
    words = [*before, user_python() if user else sys.executable, "-m", "gitrun", *arguments]
    options: dict[str, Any] = {
        "cwd": cwd,
        "env": {**(os.environ if env is None else env), "PYTHONPATH": str(CHECKOUT)},
        "capture_output": True,
        "stdin": subprocess.DEVNULL,
        "timeout": 60,
    }
    done = as_user(words, **options) if user else subprocess.run(words, **options)
    return Told(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


def git(repository: Path, *arguments: str) -> str:
    """What stock git prints of a bare repository; it must succeed."""
    command = ["git", f"--git-dir={repository}", *arguments]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
