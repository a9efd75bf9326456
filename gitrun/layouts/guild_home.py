"""Where Guild keeps its runs, by Guild's own rules, and which runs there an id or its beginning names.

The rules are those of Guild 0.9 (`guild/config.py`), but for one: every run holds a `.guild` directory of its own,
which Guild, called inside a run, takes for its home and writes into.  Here it is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gitrun.errors import UsageError, system_failed
from gitrun.layouts import guild, text

_HOME = ".guild"
_CONFIG_LIMIT = 1 << 16
_REPOSITORIES = ".gitrun"
_REPOSITORY = ".git"


def find_home(environment: Mapping[str, str], directory: Path) -> Path | None:
    """The Guild home for a command that is called in `directory` under `environment`; None where there is none.

    Raises UsageError when GUILD_HOME names no directory, as Guild does.
    """
    if environment.get("GUILD_HOME"):
        return _named_home(directory / environment["GUILD_HOME"])
    start = Path(os.path.abspath(directory))
    if _scheme(environment, start) == "pre-0.9":
        return _if_home(_active_environment(environment) or _user_home(environment))
    active = _active_environment(environment)
    homes = (_if_home(active) if active else None, _nearest_home(start, _user_home(environment)))
    return next(filter(None, homes), None) or _if_home(_user_home(environment))


def find_runs(home: Path, prefix: str) -> list[Path]:
    """The run directories in `home` whose ids begin with `prefix`, sorted; the one alone whose id it is in full.

    One whose directory is gone counts as long as its repository is there, so that it can be restored.  Raises
    SystemFailed when the runs cannot be listed.
    """
    if not prefix or prefix.startswith(".") or "/" in prefix:
        return []
    runs = home / "runs"
    names = {name for name in _names(runs) if name.startswith(prefix) and guild.detect(runs / name)}
    names.update(name for name in _stored_names(runs / _REPOSITORIES) if name.startswith(prefix))
    return [runs / prefix] if prefix in names else [runs / name for name in sorted(names)]


def _named_home(named: Path) -> Path:
    home = Path(os.path.abspath(named))
    if not home.is_dir():
        raise UsageError("GUILD_HOME is not a directory", path=home, hint="set it to a Guild home, or unset it")
    return home


def _active_environment(environment: Mapping[str, str]) -> Path | None:
    """The first of the two that is set, as in Guild: without `.guild` in it the other one is not asked."""
    named = environment.get("CONDA_PREFIX") or environment.get("VIRTUAL_ENV")
    return Path(named) if named else None


def _user_home(environment: Mapping[str, str]) -> Path:
    # Without HOME the account's own directory counts, which expanduser looks up.
    return Path(environment.get("HOME") or os.path.expanduser("~"))


def _nearest_home(start: Path, last: Path) -> Path | None:
    """The home in `start` or the nearest directory above it, up to the user's home `last` or `/`."""
    stop = os.path.realpath(last)
    for directory in (start, *start.parents):
        if found := _if_home(directory):
            return found
        if os.path.realpath(directory) == stop:
            return None
    return None


def _if_home(parent: Path) -> Path | None:
    """`.guild` in `parent`, if it is a directory and not a run's own."""
    home = parent / _HOME
    return home if os.path.isdir(home) and not os.path.lexists(home / "opref") else None


def _scheme(environment: Mapping[str, str], directory: Path) -> str:
    """Which generation's rules the user asked Guild to follow; empty for the present ones."""
    if environment.get("GUILD_HOME_SCHEME"):
        return environment["GUILD_HOME_SCHEME"]
    config = text.read_start(os.path.realpath(_config(environment, directory)), _CONFIG_LIMIT) or b""
    return _asked_scheme(config.decode("utf-8", "replace").splitlines())


def _asked_scheme(lines: Iterable[str]) -> str:
    """The value of `guild-home` in the section `legacy`; a config file that says it is two lines long there."""
    section = ""
    for line in lines:
        key, _, value = line.partition(":")
        if key[:1].strip():
            section = key.strip()
        elif section == "legacy" and key.strip() == "guild-home":
            return text.scalar(value.partition(" #")[0].encode())
    return ""


def _config(environment: Mapping[str, str], directory: Path) -> Path:
    if environment.get("GUILD_CONFIG"):
        return directory / environment["GUILD_CONFIG"]
    beside = directory / "guild-config.yml"
    return beside if beside.exists() else _user_home(environment) / _HOME / "config.yml"


def _stored_names(store: Path) -> Iterator[str]:
    """The names of the runs that have a repository in `store`."""
    return (name.removesuffix(_REPOSITORY) for name in _names(store) if name.endswith(_REPOSITORY))


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise system_failed(error, "list the runs") from error
