"""Runs gitrun, which lives in another environment, and tells what can be told of a run without it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

LOCK_FILE = ".gitrun.lock"
_CONFIGURED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gitrun.json")
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "RUN_DIR", "RUN_ID")


class Missing(Exception):
    """gitrun is not where it was when the hook was installed."""


def is_locked(run_dir: str) -> bool:
    """Whether a run directory is locked, or a copy of a locked one."""
    return os.path.lexists(os.path.join(run_dir, LOCK_FILE))


def locked_around(path: str) -> bool:
    """Whether `path` lies in a locked run."""
    path = os.path.realpath(path)
    while path != os.path.dirname(path):
        if is_locked(path):
            return True
        path = os.path.dirname(path)
    return False


def call(arguments: Sequence[str]) -> int:
    """Runs gitrun before the user's eyes; its exit code.  Raises Missing."""
    return _run(arguments)[0]


def ask(arguments: Sequence[str]) -> dict[str, Any]:
    """What `gitrun --json` says, as its first object, or nothing where it says nothing.  Raises Missing."""
    code, told, said = _run([arguments[0], "--json", *arguments[1:]], capture=True)
    for line in told.splitlines():
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return {"exit": code, "error": {"message": said.strip()}}


def begin(arguments: Sequence[str]) -> None:
    """Starts gitrun in the background, unheard; whatever fails is left to `gitrun doctor`."""
    with suppress(OSError, Missing):
        subprocess.Popen(
            [*_command(), *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def setting(name: str, default: str = "") -> str:
    """The user's setting `gitrun.<name>` in git's configuration; the environment's `GITRUN_<NAME>` goes before it."""
    told = os.environ.get("GITRUN_" + name.upper())
    if told is not None:
        return told
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or "CONFIG" in key}
    environment["GIT_CEILING_DIRECTORIES"] = "/"
    try:
        done = subprocess.run(
            ["git", "config", "--includes", "--get", "gitrun." + name],
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return default
    return done.stdout.strip() or default


def is_on(name: str) -> bool:
    """Whether a setting says yes."""
    return setting(name).lower() in ("1", "true", "yes", "on")


def _run(arguments: Sequence[str], *, capture: bool = False) -> tuple[int, str, str]:
    pipe: int | None = subprocess.PIPE if capture else None
    try:
        done = subprocess.run(
            [*_command(), *arguments],
            env=_environment(),
            stdout=pipe,
            stderr=pipe,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        raise Missing(_MISSING + ": " + str(error)) from error
    return done.returncode, done.stdout or "", done.stderr or ""


_MISSING = "gitrun cannot be started; run `gitrun guild install` again, or `pip uninstall gitrun-guild`"


def _command() -> list[str]:
    try:
        with open(_CONFIGURED, encoding="utf-8") as file:
            return list(json.load(file)["command"])
    except (OSError, ValueError, KeyError) as error:
        raise Missing(_MISSING) from error


def _environment() -> dict[str, str]:
    """What gitrun shall see: not Guild's own Python, nor what it has set for one run."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN}
