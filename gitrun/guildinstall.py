"""Puts the hook (`guildhook`) into Guild's environment, as a small distribution of its own, and takes it out again.

pip lists it as `gitrun-guild` and can uninstall it: all that pip wants to know stands beside it.
https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

from gitrun import __version__
from gitrun.errors import SystemFailed, ToolFailed, system_failed
from gitrun.fsio import make_directories, remove_file, remove_tree, write_file
from gitrun.gitcmd import find_program

PACKAGE = "gitrun_guild"
_PTH = f"{PACKAGE}.pth"
_DIST_INFO = re.compile(rf"{PACKAGE}-.*\.dist-info")
_CONFIGURED = "gitrun.json"
_SHEBANG = re.compile(rb"#!\s*(/[^\n]*?python[^\n/]*?)(?:\s+-\S+)*\s*\n")
_LONG_SHEBANG = re.compile(rb"#!/bin/sh\n'''exec' \"?([^\"\n]+?)\"? \"\$0\" \"\$@\"\n")
_PROBE = """
import json, sys, sysconfig
from importlib.metadata import PackageNotFoundError, version
def known(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
print(json.dumps([sysconfig.get_paths()["purelib"], known("guildai"), known("gitrun-guild"), list(sys.version_info[:3])]))
"""
_OLDEST_PYTHON = [3, 8]


class GuildEnvironment(NamedTuple):
    """The Python environment that Guild is installed in."""

    python: str
    """Absolute path of its interpreter."""
    packages: bytes
    """The directory of its packages."""
    guild: str
    """Guild's version."""
    hook: str
    """The version of the hook that is installed there; empty for none."""


def find_environment(python: str = "") -> GuildEnvironment:
    """Guild's environment: that of the interpreter `python`, else of the `guild` on PATH.

    Raises ToolFailed where there is no Guild.
    """
    interpreter = os.path.abspath(python) if python else _interpreter_of(find_program("guild"))
    packages, guild, hook, version = _probe(interpreter)
    if not guild:
        raise ToolFailed("Guild AI is not installed in this environment", path=interpreter, hint="pip install guildai")
    if version[:2] < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        raise ToolFailed(f"its Python is too old for the hook, which needs {wanted}", path=interpreter)
    return GuildEnvironment(interpreter, os.fsencode(packages), guild, hook)


def install(environment: GuildEnvironment) -> None:
    """Writes the hook, in place of an older one.  Raises SystemFailed."""
    uninstall(environment)
    try:
        for name, data in _distribution():
            path = os.path.join(environment.packages, os.fsencode(name))
            make_directories(os.path.dirname(path))
            write_file(path, data, sync=False)
    except OSError as error:
        uninstall(environment)
        raise _cannot(error, environment) from error


def uninstall(environment: GuildEnvironment) -> bool:
    """Removes all of the hook, the `.pth` file first; whether there was one.  Raises SystemFailed."""
    top = environment.packages
    try:
        found = remove_file(os.path.join(top, os.fsencode(_PTH)))
        for name in os.listdir(top):
            if name == PACKAGE.encode() or _DIST_INFO.fullmatch(os.fsdecode(name)):
                remove_tree(os.path.join(top, name))
                found = True
    except OSError as error:
        raise _cannot(error, environment) from error
    return found


def _cannot(error: OSError, environment: GuildEnvironment) -> SystemFailed:
    return system_failed(error, "change Guild's environment", environment.packages)


def _interpreter_of(guild: str) -> str:
    """What the script `guild` starts with, as pip writes it."""
    with open(guild, "rb") as script:
        head = script.read(4096)
    found = _SHEBANG.match(head) or _LONG_SHEBANG.match(head)
    if not found:
        raise ToolFailed(
            "this does not tell which Python it runs with", path=guild, hint="gitrun guild install --python PYTHON"
        )
    return os.fsdecode(found[1])


def _probe(python: str) -> tuple[str, str, str, list[int]]:
    import subprocess

    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            [python, "-c", _PROBE], env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        told: Any = json.loads(done.stdout)
    except (OSError, ValueError) as error:
        raise ToolFailed("this is no Python that works", path=python, hint="name one with --python") from error
    packages, guild, hook, version = told
    return packages, guild, hook, version


# -- the distribution --


def _distribution() -> Iterator[tuple[str, bytes]]:
    """The files of the distribution below the directory of packages; the `.pth` file, which turns it on, comes last."""
    info = f"{PACKAGE}-{__version__}.dist-info"
    told = dict(_package())
    told |= {
        f"{info}/METADATA": _METADATA.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: gitrun\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/INSTALLER": b"gitrun\n",
        f"{info}/entry_points.txt": f"[guild.plugins]\ngitrun = {PACKAGE}.plugin:GitrunPlugin\n".encode(),
        f"{info}/top_level.txt": f"{PACKAGE}\n".encode(),
        _PTH: f"import {PACKAGE}; {PACKAGE}.install()\n".encode(),
    }
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in sorted(told.items()))
    pth = told.pop(_PTH)
    yield from told.items()
    yield f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode()
    yield _PTH, pth


_METADATA = f"""Metadata-Version: 2.1
Name: gitrun-guild
Version: {__version__}
Summary: Locked runs as Guild AI's own: put here by `gitrun guild install`, removed by `gitrun guild uninstall`
Requires-Dist: guildai
"""


def _package() -> Iterator[tuple[str, bytes]]:
    for file in files("gitrun.guildhook").iterdir():
        if file.name.endswith(".py"):
            yield f"{PACKAGE}/{file.name}", file.read_bytes()
    yield f"{PACKAGE}/{_CONFIGURED}", json.dumps({"command": _this_gitrun()}, indent=1).encode() + b"\n"


def _this_gitrun() -> list[str]:
    """What starts this gitrun from anywhere; isolated, so that nothing in the current directory is taken for a module."""
    return [sys.executable, "-I", "-m", "gitrun"]


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
