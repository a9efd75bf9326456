"""Where the Guild home is, with Guild itself as the judge, and which runs an id names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gitrun.errors import SystemFailed, UsageError
from gitrun.layouts.guild_home import find_home, find_runs
from tests.layouts.runs import GUILD_ID, make_guild
from tests.support.guild import GuildHome
from tests.support.tools import tool

OTHER_ID = "0123f" + "0" * 27


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The home directory of a user, with a project in it."""
    (tmp_path / "user" / "project" / "sub").mkdir(parents=True)
    return tmp_path / "user"


def guilds_own(environment: dict[str, str], directory: Path) -> Path:
    """What Guild itself takes for its home."""
    python = tool("guild/bin/python")
    ask = "from guild import config, log; print(config.guild_home())"
    told = subprocess.run(
        [python, "-c", ask], env=environment, cwd=directory, capture_output=True, text=True, check=True
    )
    return Path(told.stdout.rstrip("\n"))


class TestFindHome:
    def check(self, environment: dict[str, str], directory: Path, expected: Path) -> None:
        """gitrun finds `expected`, and so does Guild."""
        assert find_home(environment, directory) == expected
        assert guilds_own(environment, directory) == expected

    def test_the_variable_comes_first(self, user: Path) -> None:
        (user / "project" / ".guild").mkdir()
        (user / "named").mkdir()
        self.check({"HOME": str(user), "GUILD_HOME": str(user / "named")}, user / "project", user / "named")

    def test_a_variable_that_names_nothing_is_an_error(self, user: Path) -> None:
        with pytest.raises(UsageError, match="GUILD_HOME is not a directory") as told:
            find_home({"HOME": str(user), "GUILD_HOME": str(user / "missing")}, user)
        assert told.value.path == bytes(user / "missing")

    def test_a_relative_variable_starts_at_the_directory(self, user: Path) -> None:
        (user / "named").mkdir()
        assert find_home({"HOME": str(user), "GUILD_HOME": "../named"}, user / "project") == user / "named"

    def test_an_empty_variable_is_none(self, user: Path) -> None:
        (user / ".guild").mkdir()
        self.check({"HOME": str(user), "GUILD_HOME": ""}, user, user / ".guild")

    @pytest.mark.parametrize("variable", ["CONDA_PREFIX", "VIRTUAL_ENV"])
    def test_the_active_environment_comes_next(self, user: Path, variable: str) -> None:
        (user / "env" / ".guild").mkdir(parents=True)
        (user / "project" / ".guild").mkdir()
        self.check({"HOME": str(user), variable: str(user / "env")}, user / "project", user / "env" / ".guild")

    def test_an_environment_without_a_home_is_passed_over(self, user: Path) -> None:
        (user / "env").mkdir()
        (user / "project" / ".guild").mkdir()
        self.check({"HOME": str(user), "VIRTUAL_ENV": str(user / "env")}, user / "project", user / "project" / ".guild")

    def test_conda_without_a_home_hides_the_virtual_environment(self, user: Path) -> None:
        (user / "env" / ".guild").mkdir(parents=True)
        (user / ".guild").mkdir()
        environment = {"HOME": str(user), "CONDA_PREFIX": str(user), "VIRTUAL_ENV": str(user / "env")}
        self.check(environment, user / "project", user / ".guild")

    def test_the_nearest_directory_above_comes_next(self, user: Path) -> None:
        (user / "project" / ".guild").mkdir()
        (user / ".guild").mkdir()
        self.check({"HOME": str(user)}, user / "project" / "sub", user / "project" / ".guild")

    def test_the_search_ends_at_the_users_home(self, user: Path) -> None:
        (user.parent / ".guild").mkdir()
        assert find_home({"HOME": str(user)}, user / "project") is None

    def test_the_users_own_comes_last(self, user: Path, tmp_path: Path) -> None:
        (user / ".guild").mkdir()
        (tmp_path / "away").mkdir()
        self.check({"HOME": str(user)}, tmp_path / "away", user / ".guild")

    def test_without_any_there_is_none(self, user: Path) -> None:
        assert find_home({"HOME": str(user)}, user / "project") is None

    def test_a_file_is_no_home(self, user: Path) -> None:
        (user / "project" / ".guild").touch()
        (user / ".guild").mkdir()
        self.check({"HOME": str(user)}, user / "project", user / ".guild")

    def test_inside_a_run_its_own_directory_is_no_home(self, user: Path) -> None:
        home = user / "project" / ".guild"
        run = make_guild(home / "runs")
        environment = {"HOME": str(user)}
        assert guilds_own(environment, run) == run / ".guild"
        assert find_home(environment, run) == home
        assert find_home(environment, run / ".guild" / "attrs") == home

    @pytest.mark.parametrize("base", ["VIRTUAL_ENV", "HOME"])
    def test_the_rules_before_0_9_on_demand(self, user: Path, base: str) -> None:
        (user / "env" / ".guild").mkdir(parents=True)
        (user / ".guild").mkdir()
        (user / "project" / ".guild").mkdir()
        places = {"HOME": user, "VIRTUAL_ENV": user / "env"}
        environment = {"HOME": str(user), base: str(places[base]), "GUILD_HOME_SCHEME": "pre-0.9"}
        self.check(environment, user / "project", places[base] / ".guild")

    @pytest.mark.parametrize(
        ("config", "is_old"),
        [
            ("legacy:\n  guild-home: pre-0.9\n", True),
            ("run:\n  x: 1\n\nlegacy: # old\n  # why\n  other: 1\n  guild-home: 'pre-0.9' # yes\n", True),
            ("legacy:\n  other: 1\nrun:\n  guild-home: pre-0.9\n", False),
            ("legacy:\n  guild-home: later\n", False),
            ("# legacy:\n#  guild-home: pre-0.9\n", False),
        ],
    )
    @pytest.mark.parametrize("place", ["project/guild-config.yml", ".guild/config.yml", "named.yml"])
    def test_the_rules_before_0_9_by_configuration(self, user: Path, config: str, is_old: bool, place: str) -> None:
        (user / ".guild").mkdir()
        (user / "project" / ".guild").mkdir()
        (user / place).write_text(config)
        environment = {"HOME": str(user)} | ({"GUILD_CONFIG": str(user / place)} if place == "named.yml" else {})
        expected = user / ".guild" if is_old else user / "project" / ".guild"
        assert find_home(environment, user / "project") == expected

    def test_a_configuration_that_is_no_text_is_none(self, user: Path) -> None:
        (user / ".guild").mkdir()
        for junk in (b"\xff\0" * 1000, b"legacy:\n" + b" \n" * 100_000, b""):
            (user / "project" / "guild-config.yml").write_bytes(junk)
            assert find_home({"HOME": str(user)}, user / "project") == user / ".guild"


class TestFindRuns:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        for name in (GUILD_ID, OTHER_ID, "best"):
            make_guild(tmp_path / "runs", name)
        (tmp_path / "runs" / "0123-no-run").mkdir()
        return tmp_path

    def test_an_id_names_its_run(self, home: Path) -> None:
        assert find_runs(home, GUILD_ID) == [home / "runs" / GUILD_ID]
        assert find_runs(home, "best") == [home / "runs" / "best"]

    def test_a_prefix_names_all_that_begin_with_it(self, home: Path) -> None:
        assert find_runs(home, "01234") == [home / "runs" / GUILD_ID]
        assert find_runs(home, "0123") == [home / "runs" / GUILD_ID, home / "runs" / OTHER_ID]
        assert find_runs(home, "9") == []

    def test_an_id_in_full_comes_before_longer_ones(self, home: Path) -> None:
        make_guild(home / "runs", "best-of-two")
        assert find_runs(home, "best") == [home / "runs" / "best"]
        assert len(find_runs(home, "bes")) == 2

    @pytest.mark.parametrize("prefix", ["", ".", "..", ".gitrun", "runs/", "/", f"../runs/{GUILD_ID}", "*", "\0"])
    def test_what_is_no_prefix_names_nothing(self, home: Path, prefix: str) -> None:
        (home / "runs" / ".gitrun").mkdir()
        assert find_runs(home, prefix) == []

    def test_a_run_whose_directory_is_gone_is_named_by_its_repository(self, home: Path) -> None:
        (home / "runs" / ".gitrun" / f"{GUILD_ID}.git").mkdir(parents=True)
        shutil.rmtree(home / "runs" / GUILD_ID)
        assert find_runs(home, "01234") == [home / "runs" / GUILD_ID]

    def test_a_run_that_lost_its_mark_is_named_by_its_repository(self, home: Path) -> None:
        (home / "runs" / ".gitrun" / f"{GUILD_ID}.git").mkdir(parents=True)
        (home / "runs" / GUILD_ID / ".guild" / "opref").unlink()
        assert find_runs(home, "01234") == [home / "runs" / GUILD_ID]

    def test_a_run_and_its_repository_are_one(self, home: Path) -> None:
        (home / "runs" / ".gitrun" / f"{GUILD_ID}.git").mkdir(parents=True)
        (home / "runs" / ".gitrun" / "lfs").mkdir(parents=True)
        assert find_runs(home, "01234") == [home / "runs" / GUILD_ID]
        assert find_runs(home, "lfs") == []

    def test_a_home_without_runs_has_none(self, tmp_path: Path) -> None:
        assert find_runs(tmp_path, "0") == []
        assert find_runs(tmp_path / "missing", "0") == []

    def test_runs_that_cannot_be_listed_are_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "runs").symlink_to("runs")
        with pytest.raises(SystemFailed, match="cannot list the runs"):
            find_runs(tmp_path, "0")

    def test_real_runs(self, guild_made: GuildHome) -> None:
        for ids in guild_made.ids.values():
            for name in ids:
                assert find_runs(guild_made.home, name[:12]) == [guild_made.runs / name]
