"""Restart in place: unlock, let real Guild run it again, lock; both locks stay, and the second knows the first."""

from __future__ import annotations

from pathlib import Path

from tests.guild.test_locking import call
from tests.support.guild import GuildHome
from tests.support.program import Told


def test_a_restart_between_two_locks(guild_home: GuildHome) -> None:
    run = guild_home.run("plain")

    def ended(told: Told) -> Told:
        assert told.code == 0, told.err
        return told

    ended(call(guild_home, "lock", "-m", "first", run))
    refused = guild_home.guild("run", "-y", "--restart", run.name)
    assert refused.returncode != 0 and "Permission denied" in refused.stderr
    ended(call(guild_home, "verify", "--strict", run))

    ended(call(guild_home, "unlock", run))
    restarted = guild_home.guild("run", "-y", "--restart", run.name)
    assert restarted.returncode == 0, restarted.stderr
    ended(call(guild_home, "lock", "-m", "second", run))
    ended(call(guild_home, "verify", "--strict", run))

    second, first = ended(call(guild_home, "log", "--json", run)).object["locks"]
    assert (second["subject"], first["subject"]) == ("second", "first")
    assert second["parents"] == [first["commit"]]
    changed = {change["path"]: change["kind"] for change in second["changes"]}
    assert changed[str(Path(".guild", "attrs", "started"))] == "modified"
    assert changed[str(Path(".guild", "attrs", "stopped"))] == "modified"
    assert "added" in changed.values()  # one more events file
    assert not any(path.endswith(".py") for path in changed)


def test_what_people_note_on_a_locked_run_is_shown_apart(guild_home: GuildHome) -> None:
    run = guild_home.run("plain")
    assert call(guild_home, "lock", run).code == 0
    assert guild_home.guild("label", "-y", "--set", "best so far", run.name).returncode == 0
    told = call(guild_home, "diff", "--exit-code", "--json", run)
    assert told.code == 0 and told.object["changes"] == []
    assert [change["path"] for change in told.object["mutable"]] == [".guild/attrs/label"]
