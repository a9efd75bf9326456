"""What every test can rely on: nothing of the machine's or the user's settings reaches it.

The `hermetic` fixture, which every test gets, promises: an empty HOME that every user of the machine can enter and
write to, and no other settings for git, XDG, Guild, Python environments or gitrun; UTC; English messages in UTF-8;
umask 022.  All of it is inherited by the processes that a test starts.  libgit2 keeps the HOME that it saw when it was
loaded, so that it sees no user configuration at all: a test about that starts a process.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tools import TOOLS
from tests.support.users import give, remove_tree, shared_directory

pytest_plugins = ["tests.support.guild", "tests.support.hook", "tests.support.sshd", "tests.support.lfs_server"]

_FOREIGN = ("GIT_", "GITRUN_", "GUILD_", "XDG_", "CONDA_", "LC_")
_FOREIGN_NAMES = ("VIRTUAL_ENV", "EMAIL", "LANGUAGE", "NO_COLOR", "COLUMNS", "PYTHONPATH", "TMPDIR")


def pytest_configure() -> None:
    """Hides the user's configuration from what reads it when it is loaded, before any test module is."""
    os.environ.update(HOME="/nonexistent", XDG_CONFIG_HOME="/nonexistent", GIT_CONFIG_NOSYSTEM="1")


@pytest.fixture(scope="session")
def shared_session() -> Iterator[Path]:
    """A directory for the whole session that every user of the machine can enter and write to."""
    directory = Path(tempfile.mkdtemp(prefix="gitrun-tests-", dir=shared_directory()))
    directory.chmod(0o1777)
    yield directory
    remove_tree(directory)


@pytest.fixture(autouse=True)
def hermetic(shared_session: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The surroundings that this module promises; the value is HOME."""
    for name in os.environ:
        if name.startswith(_FOREIGN) or name in _FOREIGN_NAMES:
            monkeypatch.delenv(name)
    home = Path(tempfile.mkdtemp(prefix="home-", dir=shared_session))
    home.chmod(0o777)
    settings = {"HOME": home, "XDG_CONFIG_HOME": home / ".config", "GIT_CONFIG_GLOBAL": home / ".gitconfig"}
    for name, value in {
        **settings,
        "GIT_CONFIG_NOSYSTEM": 1,
        "GITRUN_TOOLS": TOOLS,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }.items():
        monkeypatch.setenv(name, str(value))
    time.tzset()
    umask = os.umask(0o022)
    yield home
    os.umask(umask)


@pytest.fixture
def shared_tmp(shared_session: Path) -> Iterator[Path]:
    """Like `tmp_path`, but one that every user can reach, and that belongs to the user whom `as_user` plays."""
    directory = Path(tempfile.mkdtemp(prefix="tmp-", dir=shared_session))
    directory.chmod(0o755)
    give(directory)
    yield directory
    remove_tree(directory)
