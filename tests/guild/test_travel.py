"""Locked runs that Guild copies: export, import, zip, merge, push and pull, view and TensorBoard."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.hook import HookedGuild
from tests.support.picture import picture
from tests.support.sshd import Ssh, free_port
from tests.support.users import give, user_python


@pytest.fixture
def locked(bare_guild: HookedGuild) -> HookedGuild:
    """Guild without the hook, and one run that is locked."""
    assert bare_guild.gitrun("lock", bare_guild.home.run("plain").name).code == 0
    return bare_guild


def run_of(guild: HookedGuild) -> Path:
    return guild.home.run("plain")


def other_home(guild: HookedGuild, name: str = "other") -> Path:
    home = guild.home.base / name
    home.mkdir()
    give(home)
    return home


def kinds(guild: HookedGuild, run: Path) -> tuple[int, set[str]]:
    told = guild.gitrun("verify", "--json", run)
    return told.code, {one["kind"] for one in (*told.object["differences"], *told.object["warnings"])}


class TestCopies:
    def test_exported_to_a_directory_and_imported_again(self, locked: HookedGuild) -> None:
        run = run_of(locked)
        archive = locked.home.base / "archive"
        assert locked.guild("export", "-y", str(archive), run.name).code == 0
        assert kinds(locked, archive / run.name)[0] == 0
        home = other_home(locked)
        assert locked.guild("-H", str(home), "import", "-y", str(archive)).code == 0
        copy = home / "runs" / run.name
        told = locked.gitrun("verify", "--json", copy).object
        assert (told["exit"], told["state"]) == (0, "detached")
        assert locked.gitrun("unlock", copy).code == 0
        assert locked.gitrun("lock", copy).code == 0 and kinds(locked, copy) == (0, set())

    def test_a_zip_loses_modes_which_verify_says_and_reseal_mends(self, locked: HookedGuild) -> None:
        """A run without links: those a zip turns into files, and no one can mend that."""
        run = locked.home.run("error")
        assert locked.gitrun("lock", run.name).code == 0
        archive = locked.home.base / "archive.zip"
        assert locked.guild("export", "-y", str(archive), run.name).code == 0
        home = other_home(locked)
        assert locked.guild("-H", str(home), "import", "-y", str(archive)).code == 0
        copy = home / "runs" / run.name
        code, found = kinds(locked, copy)
        assert (code, "writable" in found) == (0, True)
        assert locked.gitrun("lock", "--reseal", copy).code == 0
        assert "writable" not in kinds(locked, copy)[1]

    def test_a_zip_turns_links_into_files_which_verify_names(self, locked: HookedGuild) -> None:
        run = run_of(locked)  # its `data` is a link to a directory of the project
        archive = locked.home.base / "archive.zip"
        assert locked.guild("export", "-y", str(archive), run.name).code == 0
        home = other_home(locked)
        assert locked.guild("-H", str(home), "import", "-y", str(archive)).code == 0
        code, found = kinds(locked, home / "runs" / run.name)
        assert code == 4 and "type" in found
        assert locked.gitrun("lock", "--reseal", home / "runs" / run.name).code == 5

    @pytest.mark.parametrize("with_hook", [False, True], ids=["bare", "hooked"])
    def test_merge_into_a_project(self, locked: HookedGuild, with_hook: bool) -> None:
        if with_hook:
            assert locked.gitrun("guild", "install").code == 0
        target = other_home(locked, "project-2")
        assert locked.guild("merge", "-y", "-t", str(target), run_of(locked).name).code == 0
        assert (target / "train.py").exists()
        assert bool((target / "train.py").stat().st_mode & 0o200) == with_hook
        assert kinds(locked, run_of(locked)) == (0, set())


class TestReaders:
    @pytest.mark.parametrize(
        "words",
        [
            ["compare", "-t"],
            ["ls"],
            ["cat", "-p", "metrics.json"],
            ["diff", "--output"],
            ["runs", "info"],
            ["check", "-h"],
        ],
        ids=lambda words: words[0],
    )
    def test_they_change_nothing(self, locked: HookedGuild, words: list[str]) -> None:
        before = picture(run_of(locked))
        locked.guild(*words, *([] if words[0] in ("compare", "diff", "check") else [run_of(locked).name]))
        assert picture(run_of(locked)) == before

    @pytest.mark.parametrize("command", ["view", "tensorboard"])
    def test_the_servers(self, locked: HookedGuild, command: str) -> None:
        before, port = picture(run_of(locked)), free_port()
        with subprocess.Popen(
            [user_python(), "-c", _AS_USER, locked.environment / "bin" / "guild", command, "-n", "-p", str(port)],
            cwd=locked.home.base / "project",
            env=locked.variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as server:
            try:
                page = _page(f"http://127.0.0.1:{port}/{'runs' if command == 'view' else ''}")
            finally:
                os.killpg(server.pid, 9)
        if command == "view":
            assert run_of(locked).name in {run["id"] for run in json.loads(page)}
        assert picture(run_of(locked)) == before


_AS_USER = """
import os, sys
if os.geteuid() == 0:
    os.setgroups([])
    os.setregid(65534, 65534)
    os.setreuid(65534, 65534)
os.execv(sys.argv[1], sys.argv[1:])
"""


def _page(url: str) -> bytes:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                page: bytes = answer.read()
                return page
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


class TestRemote:
    @pytest.fixture
    def remote(self, locked: HookedGuild, ssh: Ssh) -> Path:
        """A Guild home behind ssh, which Guild knows as `there`."""
        home = other_home(locked, "there")
        (locked.home.base / ".guild").mkdir(exist_ok=True)
        (locked.home.base / ".guild" / "config.yml").write_text(
            f"remotes:\n  there:\n    type: ssh\n    host: there\n    port: {ssh.port}\n    user: {ssh.user}\n"
            f"    private-key: {ssh.directory / 'user_key'}\n    guild-home: {home}\n"
        )
        (locked.home.base / ".ssh").mkdir(mode=0o700)
        (locked.home.base / ".ssh" / "config").write_text((ssh.directory / "config").read_text())
        programs = locked.home.base / "bin"
        programs.mkdir()
        # OpenSSH looks up the home of the account, not HOME.
        (programs / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {ssh.directory / "config"} "$@"\n')
        (programs / "ssh").chmod(0o755)
        give(locked.home.base / ".guild")
        give(programs)
        return home

    def test_pushed_and_pulled(self, locked: HookedGuild, remote: Path) -> None:
        run = run_of(locked)
        env = {"PATH": f"{locked.home.base / 'bin'}:{locked.variables['PATH']}"}
        told = locked.guild("push", "-y", "there", run.name, env=env)
        assert told.code == 0, told.err
        assert kinds(locked, remote / "runs" / run.name)[0] == 0
        home = other_home(locked, "third")
        told = locked.guild("-H", str(home), "pull", "-y", "there", run.name, env=env)
        assert told.code == 0, told.err
        code, _ = kinds(locked, home / "runs" / run.name)
        assert code == 0

    def test_a_pull_over_a_locked_run_breaks_the_lock_and_verify_tells(self, locked: HookedGuild, remote: Path) -> None:
        run = run_of(locked)
        env = {"PATH": f"{locked.home.base / 'bin'}:{locked.variables['PATH']}"}
        assert locked.guild("push", "-y", "there", run.name, env=env).code == 0
        there = remote / "runs" / run.name
        assert locked.gitrun("unlock", there).code == 0
        (there / "metrics.json").write_text('{"loss": 0}')
        assert locked.guild("pull", "-y", "there", run.name, env=env).code == 0
        code, found = kinds(locked, run)
        assert code == 4 and "modified" in found
        assert locked.gitrun("restore", run).code == 0 and kinds(locked, run)[0] == 0


class TestGitrunsOwnWay:
    """`gitrun push` and `clone`, which lose nothing."""

    def test_cloned_into_another_home_it_is_guilds_run(self, locked: HookedGuild) -> None:
        run = run_of(locked)
        remote = locked.home.base / "remote.git"
        assert locked.gitrun("push", run.name, remote).code == 0
        home = other_home(locked)
        env = {"GUILD_HOME": str(home)}
        (home / "runs").mkdir()
        give(home)
        told = locked.gitrun("clone", "--json", remote, run.name[:8], env=env)
        assert told.code == 0, told.err
        assert Path(told.object["path"]) == home / "runs" / run.name
        shown = locked.guild("-H", str(home), "runs", "info").out
        assert f"id: {run.name}" in shown and "status: completed" in shown
        assert kinds(locked, home / "runs" / run.name) == (0, set())
        again = locked.gitrun("clone", "--json", remote, run.name, env=env)
        assert again.code == 5  # it is the same run
