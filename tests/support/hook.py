"""Real Guild with gitrun's hook, in an environment of its own: the one that all tests share stays as it is."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.guild import GuildHome, guild_environment
from tests.support.program import Told
from tests.support.tools import tool
from tests.support.users import as_user, give, remove_tree, user_python


@dataclass(frozen=True)
class HookedGuild:
    """A Guild home, and a Guild environment that the hook can be put into."""

    home: GuildHome
    environment: Path

    @property
    def packages(self) -> Path:
        """Where the environment's packages are."""
        (found,) = (self.environment / "lib").glob("python*/site-packages")
        return found

    def guild(self, *words: str | Path, env: Mapping[str, str] | None = None, root: bool = False) -> Told:
        """Runs Guild in the project, as the user whom `as_user` plays, or as root."""
        return self._run([self.environment / "bin" / "guild", *words], env, root)

    def gitrun(self, *words: str | Path, env: Mapping[str, str] | None = None, root: bool = False) -> Told:
        """Runs gitrun likewise."""
        return self._run([user_python(), "-m", "gitrun", *words], env, root)

    def _run(self, command: list[str | Path], env: Mapping[str, str] | None, root: bool) -> Told:
        options = {
            "cwd": self.home.base / "project",
            "env": {**self.variables, **(env or {})},
            "capture_output": True,
            "stdin": subprocess.DEVNULL,
            "timeout": 120,
        }
        done = subprocess.run(command, **options) if root else as_user(command, **options)  # type: ignore[call-overload]
        return Told(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment of both programs."""
        told = guild_environment(self.home.base)
        return {**told, "PATH": f"{self.environment / 'bin'}:{told['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *words: str) -> Path:
        """Has Guild run something, and returns the newest run's directory."""
        told = self.guild("run", "-y", *words)
        assert told.code == 0, told.err
        return self.newest()

    def newest(self) -> Path:
        """The newest run's directory."""
        return self.home.runs / self.guild("select").out.strip()


@pytest.fixture
def bare_guild(guild_home: GuildHome, shared_tmp: Path) -> Iterator[HookedGuild]:
    """Guild without the hook."""
    environment = shared_tmp / "environment"
    shared = tool("guild/bin/python")
    subprocess.run([shared, "-m", "venv", "--without-pip", environment], check=True)
    found = HookedGuild(guild_home, environment)
    (packages,) = (shared.parent.parent / "lib").glob("python*/site-packages")
    (found.packages / "guild-is-there.pth").write_text(f"{packages}\n")
    script = environment / "bin" / "guild"
    lines = tool("guild/bin/guild").read_text().splitlines(keepends=True)
    script.write_text("".join([f"#!{environment / 'bin' / 'python'}\n", *lines[1:]]))
    script.chmod(0o755)
    give(environment)
    yield found
    _wait_for_what_it_began(guild_home.home)
    remove_tree(environment)


def _wait_for_what_it_began(home: Path) -> None:
    """Until no gitrun works in the background on the runs of a home."""
    for _ in range(600):
        if not any(_works_on(process, os.fsencode(home)) for process in Path("/proc").glob("[0-9]*")):
            return
        time.sleep(0.05)
    pytest.fail("a gitrun in the background does not end", pytrace=False)


def _works_on(process: Path, home: bytes) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"--finished" in words and any(word.startswith(home) for word in words)


@pytest.fixture
def hooked(bare_guild: HookedGuild) -> HookedGuild:
    """Guild with the hook."""
    told = bare_guild.gitrun("guild", "install")
    assert told.code == 0, told.err
    return bare_guild
