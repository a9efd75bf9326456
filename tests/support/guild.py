"""Real Guild runs for tests: one home with a run of every kind, made once, and copied for each test that writes.

Guild writes and runs as the user whom `as_user` plays, since root is not held by permission bits.  A missing Guild
fails the tests that ask for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.tools import CHECKOUT, tool
from tests.support.users import as_user, give

FINISHED = (
    "plain",
    "plain-label",
    "upstream-link",
    "upstream-copy",
    "batch",
    "batch-child",
    "error",
    "terminated",
    "dep-failed",
    "staged-batch",
    "pipeline",
    "pipeline-child",
    "srcdir",
    "restarted",
    "proto",
)
"""The kinds of runs that can be locked: Guild is done with them."""

ACTIVE = ("staged", "staged-batch-child", "running")
"""The kinds of runs that must not be locked."""


@dataclass(frozen=True)
class GuildHome:
    """A Guild home with runs of every kind; `base` holds it, its project and the list of its runs."""

    base: Path
    ids: dict[str, tuple[str, ...]]
    """Run ids by kind; several for `batch-child`, `staged-batch-child` and `pipeline-child`."""

    @property
    def home(self) -> Path:
        """What GUILD_HOME names."""
        return self.base / "home"

    @property
    def runs(self) -> Path:
        """The directory of the runs."""
        return self.home / "runs"

    def run(self, kind: str) -> Path:
        """The directory of the (first) run of this kind."""
        return self.runs / self.ids[kind][0]

    def guild(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs Guild in the project, as the user whom `as_user` plays; what it prints is in `stdout` and `stderr`."""
        command = [str(tool("guild/bin/guild")), *arguments]
        options = {"cwd": self.base / "project", "env": guild_environment(self.base), "text": True}
        return as_user(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=120, **options)


def guild_environment(base: Path) -> dict[str, str]:
    """The whole environment for Guild with the home in `base`."""
    path = f"{tool('guild/bin')}:/usr/bin:/bin"
    return {
        "PATH": path,
        "HOME": str(base),
        "GUILD_HOME": str(base / "home"),
        "NO_PIP_FREEZE": "1",
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture(scope="session")
def guild_made(shared_session: Path) -> Iterator[GuildHome]:
    """A Guild home with runs of every kind, for tests that only read it; it takes some 12 s to make."""
    base = shared_session / "guild"
    base.mkdir(mode=0o755)
    give(base)
    script = CHECKOUT / "tests" / "guild" / "make_runs.sh"
    made = as_user(
        ["bash", "-s", base], input=script.read_bytes(), capture_output=True, env=guild_environment(base), cwd=base
    )
    if made.returncode != 0:
        pytest.fail(f"Guild could not make its runs:\n{(made.stdout + made.stderr).decode()}", pytrace=False)
    found = GuildHome(base, _ids(base / "ids"))
    yield found
    with suppress(ProcessLookupError):
        os.kill(int((found.run("running") / ".guild" / "LOCK").read_text()), signal.SIGTERM)


@pytest.fixture
def guild_home(guild_made: GuildHome, shared_tmp: Path) -> GuildHome:
    """A copy of the Guild home that the test may write to; its process that runs is the one of the original."""
    base = shared_tmp / "guild"
    subprocess.run(["cp", "-a", "--", guild_made.base, base], check=True)
    return GuildHome(base, guild_made.ids)


def _ids(listed: Path) -> dict[str, tuple[str, ...]]:
    ids: dict[str, tuple[str, ...]] = {}
    for kind, run in (line.split("\t") for line in listed.read_text().splitlines()):
        ids[kind] = (*ids.get(kind, ()), run)
    return ids
