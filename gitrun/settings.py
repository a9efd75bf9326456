"""What the user set outside the command line: environment variables and git's own configuration.

git itself is asked for its configuration, so that includes, scopes and precedence are its own.  It is asked from
outside any repository: configuration that lies in a run, or in the directory one happens to stand in, counts nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gitrun.errors import UsageError

MEBIBYTE = 1 << 20
_UNITS = {"": 1, "k": 1 << 10, "m": MEBIBYTE, "g": 1 << 30, "t": 1 << 40}
_PASSED_ON = ("PATH", "HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who locks, as git writes it into commits."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is configured; docs/configuration.md lists the keys."""

    store: bytes | None = None
    """`GITRUN_STORE` or `gitrun.store`: where all stores lie, absolute; None: beside each run."""
    large_threshold: int = MEBIBYTE
    """`gitrun.largeThreshold`: files of at least so many bytes become git-lfs objects."""
    git_link: bool = True
    """`gitrun.gitLink`: write a `.git` file into locked runs."""
    remote: str = ""
    """`gitrun.remote`: the remote where none is named."""
    stall_timeout: int = 300
    """`gitrun.stallTimeout`: seconds in which a server must move something."""
    author: Identity = Identity("unknown", "unknown@localhost")
    committer: Identity = Identity("unknown", "unknown@localhost")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this user, from `environ` (default: this process's) and git's configuration.

    Raises UsageError for a value that makes no sense.
    """
    env = os.environ if environ is None else environ
    config = _git_config(env)
    store = env.get("GITRUN_STORE") or config.get("gitrun.store")
    return Settings(
        store=os.path.realpath(os.path.expanduser(os.fsencode(store))) if store else None,
        large_threshold=_size("gitrun.largeThreshold", config.get("gitrun.largethreshold", "1m")),
        git_link=_boolean("gitrun.gitLink", config.get("gitrun.gitlink", "true")),
        remote=config.get("gitrun.remote", ""),
        stall_timeout=_seconds("gitrun.stallTimeout", config.get("gitrun.stalltimeout", "300")),
        author=_identity("AUTHOR", env, config),
        committer=_identity("COMMITTER", env, config),
    )


def parse_size(text: str) -> int:
    """Bytes, from `1048576`, `512k`, `1 MiB` or `2.5G`; all units are powers of 1024.  Raises UsageError."""
    found = re.fullmatch(r"([0-9]{1,18})(\.[0-9]{1,9})? ?([kmgt]?)(?:i?b)?", text.strip().lower(), re.ASCII)
    if found:
        unit = _UNITS[found[3]]
        size = int(found[1]) * unit + (int(float(found[2]) * unit) if found[2] else 0)
        if 0 < size < 1 << 62:
            return size
    raise UsageError(f"not a size: {text!r}", hint="write it like 512K, 1MiB or 1048576")


def _size(key: str, value: str) -> int:
    try:
        return parse_size(value)
    except UsageError:
        raise UsageError(f"not a size: {key} = {value!r}", hint=f"git config --global {key} 1MiB") from None


def _seconds(key: str, value: str) -> int:
    if re.fullmatch(r"[1-9][0-9]{0,5}", value):
        return int(value)
    raise UsageError(f"not a number of seconds: {key} = {value!r}", hint=f"git config --global {key} 300")


def _boolean(key: str, value: str) -> bool:
    if value.lower() in ("true", "yes", "on", "1"):
        return True
    if value.lower() in ("false", "no", "off", "0", ""):
        return False
    raise UsageError(f"not true or false: {key} = {value!r}", hint=f"git config --global {key} false")


def _git_config(env: Mapping[str, str]) -> dict[str, str]:
    import subprocess

    child_env = {name: env[name] for name in _PASSED_ON if name in env}
    child_env |= {"LC_ALL": "C", "GIT_CEILING_DIRECTORIES": "/", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "config", "--includes", "-z", "--get-regexp", r"^(gitrun|user|author|committer)\."]
    try:
        answer = subprocess.run(
            command, env=child_env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError:
        return {}  # no git here: nothing is configured
    # A key without `=` has no newline behind it, and means true.
    items = (item.partition("\n") for item in os.fsdecode(answer.stdout).split("\0") if item)
    return {key: value if separator else "true" for key, separator, value in items}


def _identity(role: str, env: Mapping[str, str], config: Mapping[str, str]) -> Identity:
    user, host = _login(env), os.uname().nodename or "localhost"
    name = env.get(f"GIT_{role}_NAME") or config.get(f"{role.lower()}.name") or config.get("user.name") or user
    told = config.get(f"{role.lower()}.email") or config.get("user.email")
    email = env.get(f"GIT_{role}_EMAIL") or told or env.get("EMAIL") or f"{user}@{host}"
    return Identity(_cleaned(name) or user, _cleaned(email))


def _login(env: Mapping[str, str]) -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        # A container's uid without a passwd entry.
        return _cleaned(env.get("USER", "")) or f"uid{os.geteuid()}"


def _cleaned(text: str) -> str:
    """As git cleans it: nothing that would break the line of a commit."""
    return "".join(char for char in text if char not in "<>\n\r\0").strip(" .,:;\"'\\")
