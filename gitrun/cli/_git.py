"""Becomes git, on one run repository, with nothing in the way that somebody else may have put there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from gitrun.errors import RecordError, system_failed
from gitrun.gitcmd import HARMLESS, find_program
from gitrun.names import display

_KEPT = re.compile(
    r"GIT_((AUTHOR|COMMITTER)_.*|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)|PAGER|EDITOR|SEQUENCE_EDITOR|ASKPASS|SSH|SSH_COMMAND"
    r"|SSH_VARIANT|TERMINAL_PROMPT|TRACE.*|CURL_VERBOSE|ALLOW_PROTOCOL|PROTOCOL.*|SSL_.*|HTTP_.*|LFS_.*)"
)
"""The user's own wishes; all others say which repository git is to work on, and are ours to say."""

_HINT = "somebody changed the repository: `gitrun fsck` checks it, and its `config` can be edited"


def become_git(repository: bytes, args: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Replaces this process by `git ARG…`.

    Raises RecordError when the repository's configuration has keys by which git could be made to run something,
    ToolFailed when there is no git.
    """
    git = find_program("git", environ.get("PATH", os.defpath))
    environment = git_environment(repository, environ)
    _check_configuration(git, repository, {**environment, "GIT_DIR": os.devnull})  # nothing of it in force yet
    try:
        os.execve(git, ["git", *args], environment)
    except OSError as error:
        raise system_failed(error, "start git", git) from error


def outside_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which git works on no repository, as the user has configured it."""
    return {**_wishes(environ), "GIT_CEILING_DIRECTORIES": "/"}


def _wishes(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith("GIT_") or _KEPT.fullmatch(name)}


def git_environment(repository: bytes, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which git works on `repository`, whatever it was called from, and runs none of its hooks."""
    return {
        **_wishes(environ),
        "GIT_DIR": os.fsdecode(repository),
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": os.devnull,
        "GIT_CONFIG_KEY_1": "core.fsmonitor",
        "GIT_CONFIG_VALUE_1": "false",
    }


def _check_configuration(git: str, repository: bytes, environment: Mapping[str, str]) -> None:
    import subprocess

    config = os.fsdecode(os.path.join(repository, b"config"))
    command = [git, "config", "--file", config, "--no-includes", "--name-only", "--null", "--list"]
    listed = subprocess.run(
        command, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if listed.returncode:
        raise RecordError("git cannot read the repository's configuration", path=config, hint=_HINT)
    for key in os.fsdecode(listed.stdout).split("\0"):
        if key and not HARMLESS.fullmatch(key):
            told = display(os.fsencode(key))
            raise RecordError(
                f"the repository's configuration has {told}, which git would obey", path=config, hint=_HINT
            )
