"""A fork of a locked Guild run, restarted by real Guild: the restart that leaves the original alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guild.test_locking import call
from tests.support.guild import FINISHED, GuildHome
from tests.support.picture import picture
from tests.support.users import give


def forked(home: GuildHome, run: Path) -> Path:
    assert call(home, "lock", run).code == 0
    told = call(home, "fork", "--json", run.name)
    assert told.code == 0, told.err
    new = Path(told.object["path"])
    assert new.parent == run.parent and new.name == told.object["run"] and new.name != run.name
    return new


def test_guild_restarts_the_fork_and_not_the_origin(guild_home: GuildHome) -> None:
    run = guild_home.run("plain-label")
    new = forked(guild_home, run)
    before = picture(run)

    restarted = guild_home.guild("run", "-y", "--restart", new.name)
    assert restarted.returncode == 0, restarted.stderr
    shown = guild_home.guild("runs", "info", new.name).stdout
    assert "status: completed" in shown and f"id: {new.name}" in shown
    assert f"forked_from: {run.name}" in shown
    assert picture(run) == before
    assert call(guild_home, "verify", "--strict", run).code == 0

    locked = call(guild_home, "lock", new)
    assert locked.code == 0, locked.err
    first, origin = call(guild_home, "log", "--json", new).object["locks"]
    assert first["parents"] == [origin["commit"]]
    assert (first["run"], origin["run"]) == (new.name, run.name)


@pytest.mark.parametrize("kind", [kind for kind in FINISHED if kind not in ("batch-child", "pipeline-child")])
def test_every_kind_of_run_can_be_forked(guild_home: GuildHome, kind: str) -> None:
    new = forked(guild_home, guild_home.run(kind))
    assert (new / ".guild" / "attrs" / "forked_from").is_file()
    gone = ("initialized", "started", "exit_status", "stopped", "marked", "comments")
    assert not [name for name in gone if (new / ".guild" / "attrs" / name).exists()]
    if kind in ("batch", "pipeline", "staged-batch"):
        assert not [path for path in new.iterdir() if path.is_symlink()]
    assert f"forked_from: {guild_home.run(kind).name}" in guild_home.guild("runs", "info", new.name).stdout


def test_a_name_that_is_no_id_is_refused_among_guilds_runs(guild_home: GuildHome) -> None:
    run = guild_home.run("plain")
    assert call(guild_home, "lock", run).code == 0
    told = call(guild_home, "fork", run, run.parent / "better-name")
    assert told.code == 2 and "hint" in told.err
    assert not (run.parent / "better-name").exists()
    assert call(guild_home, "fork", run, guild_home.base / "better-name").code == 0


def test_diff_takes_the_beginning_of_an_id_for_a_run(guild_home: GuildHome) -> None:
    run, other = guild_home.run("plain"), guild_home.run("plain-label")
    assert call(guild_home, "lock", run, other).code == 0
    told = call(guild_home, "diff", "--json", run.name[:10], other.name[:10]).object
    assert (told["run"], told["old"]) == (run.name, "")
    assert ".guild/attrs/id" in {change["path"] for change in told["changes"]}
    of_a_lock = call(guild_home, "diff", "--json", run.name[:10], other.name[:10] + "~0").object
    assert of_a_lock["old"] == call(guild_home, "status", "--json", other).object["commit"]
    assert of_a_lock["changes"] == told["changes"]


def test_an_exported_run_is_guilds_own_again_in_another_home(guild_home: GuildHome) -> None:
    run = guild_home.run("pipeline")
    assert call(guild_home, "lock", run).code == 0
    archive = guild_home.base / "run.tar"
    assert call(guild_home, "export", "--format", "tar", run, archive).code == 0
    there = guild_home.base / "other" / "runs"
    there.mkdir(parents=True)
    give(there.parent)
    told = call(guild_home, "import", "--json", archive, there / run.name)
    assert told.code == 0, told.err
    assert told.object["run"] == run.name
    shown = guild_home.guild("-H", there.parent, "runs", "info").stdout
    assert f"id: {run.name}" in shown and "status: completed" in shown
