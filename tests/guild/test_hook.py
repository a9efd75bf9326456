"""Guild with gitrun's hook: its own commands, what it refuses, what it makes work, and what it locks by itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.guild import ACTIVE
from tests.support.hook import HookedGuild
from tests.support.mounts import needs_root
from tests.support.picture import Picture, picture
from tests.support.users import as_user

COMMANDS = ("lock", "unlock", "verify", "fork", "history")
RESTART = {"GITRUN_GUILDRESTART": "refuse"}


def is_locked(run: Path) -> bool:
    return (run / ".gitrun.lock").exists()


def tamper(run: Path, name: str = "metrics.json") -> None:
    """As an editor that insists."""
    (run / name).chmod(0o644)
    (run / name).write_text("{}")


def but_the_home(seen: Picture) -> Picture:
    return {path: it for path, it in seen.items() if not path.startswith((b"cache", b".")) and b".gitrun" not in path}


class TestInstalling:
    def test_what_it_adds_and_that_nothing_stays(self, bare_guild: HookedGuild) -> None:
        before = picture(bare_guild.packages)
        plain_help = bare_guild.guild("runs", "--help").out
        assert bare_guild.gitrun("guild", "install").code == 0
        assert json.loads(bare_guild.gitrun("guild", "status", "--json").out)["state"] == "hooked"
        told = bare_guild.guild("runs", "--help").out
        assert all(f"  {command} " in told for command in COMMANDS) and " lock " not in plain_help
        assert bare_guild.gitrun("guild", "install").code == 0  # again: the same
        assert bare_guild.gitrun("guild", "uninstall").code == 0
        after = picture(bare_guild.packages)
        del before[b"."], after[b"."]
        assert after == before
        assert bare_guild.guild("runs", "--help").out == plain_help

    def test_pip_lists_it_and_can_remove_it(self, hooked: HookedGuild) -> None:
        python = hooked.environment / "bin" / "python"

        def pip(*words: str) -> subprocess.CompletedProcess[str]:
            variables = {**hooked.variables, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
            command = [str(python), "-m", "pip", *words]
            return as_user(command, capture_output=True, text=True, cwd="/", env=variables)

        assert "gitrun-guild" in pip("list").stdout
        assert "OK" in pip("show", "-f", "gitrun-guild").stdout or pip("show", "gitrun-guild").returncode == 0
        done = pip("uninstall", "-y", "gitrun-guild")
        assert done.returncode == 0, done.stderr
        assert not [path.name for path in hooked.packages.iterdir() if "gitrun" in path.name]

    def test_no_guild(self, bare_guild: HookedGuild) -> None:
        told = bare_guild.gitrun("guild", "install", env={"PATH": "/usr/bin:/bin"})
        assert told.code == 7 and "guild is not installed" in told.err

    def test_a_python_without_guild(self, bare_guild: HookedGuild) -> None:
        told = bare_guild.gitrun("guild", "install", "--python", "/usr/bin/python3")
        assert told.code == 7 and "hint: pip install guildai" in told.err

    def test_an_environment_that_is_not_ours(self, bare_guild: HookedGuild) -> None:
        needs_root()
        os.chown(bare_guild.packages, 0, 0)
        before = picture(bare_guild.packages)
        told = bare_guild.gitrun("guild", "install")
        assert told.code == 8 and "hint" in told.err
        assert picture(bare_guild.packages) == before

    def test_guild_starts_where_gitrun_is_gone(self, hooked: HookedGuild) -> None:
        (hooked.packages / "gitrun_guild" / "gitrun.json").write_text('{"command": ["/nonexistent/gitrun"]}')
        assert hooked.guild("runs").code == 0
        told = hooked.guild("runs", "verify")
        assert told.code == 1 and "gitrun guild install" in told.err and "Traceback" not in told.err

    def test_guild_works_as_before_where_the_hook_is_broken(self, hooked: HookedGuild) -> None:
        for name in ("commands", "running", "removal", "attributes", "showing", "finishing", "copies"):
            (hooked.packages / "gitrun_guild" / f"{name}.py").write_text("raise RuntimeError\n")
        assert hooked.guild("runs").code == 0
        assert hooked.guild("run", "-y", "train").code == 0

    def test_other_programs_load_next_to_nothing(self, hooked: HookedGuild) -> None:
        code = "import sys; print([name for name in sys.modules if 'gitrun' in name or name in ('typing', 'json')])"
        told = as_user(
            [str(hooked.environment / "bin" / "python"), "-c", code], capture_output=True, text=True, cwd="/"
        )
        assert told.stdout.strip() == "['gitrun_guild']"


class TestCommands:
    @pytest.mark.parametrize("words", [("runs", "lock"), ("lock",)], ids=" ".join)
    def test_help_is_rendered_as_guilds_own(self, hooked: HookedGuild, words: tuple[str, ...]) -> None:
        told = hooked.guild(*words, "--help").out
        assert "SPECIFY RUNS" in told and "FILTER BY OPERATION" in told and "{{" not in told

    def test_lock_verify_history_unlock(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        short = run.name[:8]
        assert hooked.guild("runs", "lock", "-y", "-m", "as published", short).code == 0
        assert is_locked(run)
        assert "ok " in hooked.guild("runs", "verify", short).out
        assert "as published" in hooked.guild("history", short).out
        tamper(run)
        told = hooked.guild("verify", short)
        assert told.code == 4 and "metrics.json" in told.out
        assert hooked.guild("unlock", "-y", short).code == 0 and not is_locked(run)
        assert hooked.guild("verify", short).code == 3

    def test_it_asks_as_guild_does(self, hooked: HookedGuild) -> None:
        told = hooked.guild("runs", "lock", hooked.home.run("plain").name)
        assert "You are about to lock the following runs:" in told.err and told.code != 0
        assert not is_locked(hooked.home.run("plain"))

    def test_filters_and_ranges(self, hooked: HookedGuild) -> None:
        assert hooked.guild("runs", "lock", "-y", "-Se", "-Fo", "bad", ":").code == 0
        assert is_locked(hooked.home.run("error")) and not is_locked(hooked.home.run("plain"))
        assert hooked.guild("runs", "verify", "-Se", "-Fo", "bad", ":").code == 0

    def test_indexes_mean_what_guild_lists(self, hooked: HookedGuild) -> None:
        listed = json.loads(hooked.guild("runs", "--completed", "--json").out)
        assert hooked.guild("lock", "-y", "--completed", "2:3").code == 0
        locked = [number for number, one in enumerate(listed, 1) if is_locked(hooked.home.runs / one["id"])]
        assert locked == [2, 3]

    def test_all_kinds_of_runs_at_once(self, hooked: HookedGuild) -> None:
        told = hooked.guild("runs", "lock", "-y", ":")
        assert told.code == 5  # those that have not ended
        runs = [run for run in hooked.home.runs.iterdir() if (run / ".guild" / "opref").exists()]
        active = {hooked.home.ids[kind][0] for kind in ACTIVE} | set(hooked.home.ids["staged-batch-child"])
        assert {run.name for run in runs if not is_locked(run)} == active
        finished = [run.name for run in runs if is_locked(run)]
        assert hooked.guild("runs", "verify", *finished).code == 0
        assert hooked.guild("runs", "unlock", "-y", *finished).code == 0
        assert not any(map(is_locked, runs))

    def test_an_active_run_is_refused_with_gitruns_code(self, hooked: HookedGuild) -> None:
        assert hooked.guild("lock", "-y", hooked.home.run("staged").name).code == 5

    def test_fork(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        assert hooked.guild("lock", "-y", run.name).code == 0
        before = picture(run)
        told = hooked.guild("fork", "-y", run.name)
        assert told.code == 0 and "forked" in told.out
        new = Path(told.out.splitlines()[1].strip())
        assert hooked.guild("run", "-y", "--restart", new.name).code == 0
        assert picture(run) == before

    def test_info_and_compare_show_it(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        assert "locked:" not in hooked.guild("runs", "info", run.name).out
        hooked.guild("lock", "-y", run.name)
        commit = json.loads(hooked.gitrun("status", "--json", run.name).out)["commit"]
        told = hooked.guild("runs", "info", run.name).out
        assert "locked: 20" in told and f"lock: {commit}" in told
        assert json.loads(hooked.guild("runs", "info", "--json", run.name).out)["lock"] == commit
        table = hooked.guild("compare", "-t", "-cc", "attr:locked", run.name, hooked.home.run("error").name).out
        assert "yes" in table and "no" in table


class TestRestart:
    @pytest.mark.parametrize("root", [False, True], ids=["user", "root"])
    @pytest.mark.parametrize("how", ["--restart", "--start", "--run-id", "--run-dir"])
    def test_refused_before_anything_is_changed(self, hooked: HookedGuild, how: str, root: bool) -> None:
        run = hooked.home.run("plain")
        hooked.guild("lock", "-y", run.name)
        before = picture(run)
        words = {"--run-id": ["train", "--run-id", run.name], "--run-dir": ["train", "--run-dir", str(run)]}
        told = hooked.guild("run", "-y", *words.get(how, [how, run.name]), root=root)
        assert told.code == 1 and "Traceback" not in told.err
        assert f"guild runs fork {run.name[:8]}" in told.err and f"guild runs unlock {run.name[:8]}" in told.err
        assert picture(run) == before

    def test_fork_by_configuration(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        hooked.guild("lock", "-y", run.name)
        before = picture(run)
        as_user(["git", "config", "--global", "gitrun.guildRestart", "fork"], env=hooked.variables, cwd="/", check=True)
        told = hooked.guild("run", "-y", "--restart", run.name, "lr=0.7")
        assert told.code == 0, told.err
        assert "forked it as" in told.err and picture(run) == before
        new = hooked.newest()
        assert new != run and "lr: 0.7" in hooked.guild("runs", "info", new.name).out
        assert f"forked_from: {run.name}" in hooked.guild("runs", "info", new.name).out
        assert hooked.gitrun("lock", new.name).code == 0
        changed = json.loads(hooked.gitrun("diff", "--json", "--origin", new.name).out)["changes"]
        assert ".guild/attrs/flags" in {one["path"] for one in changed}

    def test_unlock_by_configuration(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        hooked.guild("lock", "-y", run.name)
        told = hooked.guild("run", "-y", "--restart", run.name, "lr=0.7", env={"GITRUN_GUILDRESTART": "unlock"})
        assert told.code == 0, told.err
        assert is_locked(run) and hooked.guild("verify", run.name).code == 0
        locks = json.loads(hooked.gitrun("log", "--json", run.name).out)["locks"]
        assert len(locks) == 2
        assert ".guild/attrs/flags" in {one["path"] for one in locks[0]["changes"]}

    def test_a_setting_that_makes_no_sense(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        hooked.guild("lock", "-y", run.name)
        told = hooked.guild("run", "-y", "--restart", run.name, env={"GITRUN_GUILDRESTART": "maybe"})
        assert told.code == 1 and "refuse, fork, unlock" in told.err

    def test_what_is_not_locked_restarts_as_ever(self, hooked: HookedGuild) -> None:
        assert hooked.guild("run", "-y", "--restart", hooked.home.run("plain").name).code == 0
        assert hooked.guild("run", "-y", "--start", hooked.home.run("staged").name).code == 0


class TestNotes:
    @pytest.mark.parametrize(
        ("write", "clear", "name"),
        [
            (["label", "--set", "mine"], ["label", "--clear"], "label"),
            (["comment", "--add", "mine"], ["comment", "--clear"], "comments"),
            (["mark"], ["mark", "--clear"], "marked"),
            (["tag", "--add", "mine"], ["tag", "--clear"], "tags"),
        ],
        ids=["label", "comment", "mark", "tag"],
    )
    def test_written_and_cleared_on_a_locked_run(
        self, hooked: HookedGuild, write: list[str], clear: list[str], name: str
    ) -> None:
        run = hooked.home.run("plain")
        hooked.guild("lock", "-y", run.name)
        assert hooked.guild(*write, "-y", run.name).code == 0
        attribute = run / ".guild" / "attrs" / name
        assert attribute.read_text().strip() not in ("", "[]")
        assert hooked.guild(*clear, "-y", run.name).code == 0
        assert attribute.read_text().strip() in ("", "[]")
        assert hooked.guild("verify", run.name).code == 0


class TestRemoval:
    @pytest.mark.parametrize(
        "words", [("runs", "rm", "-y"), ("runs", "rm", "-y", "--permanent"), ("export", "-y", "--move", "../moved")]
    )
    def test_a_locked_run_is_refused_and_nothing_is_half_done(
        self, hooked: HookedGuild, words: tuple[str, ...]
    ) -> None:
        run, other = hooked.home.run("plain"), hooked.home.run("error")
        hooked.guild("lock", "-y", run.name)
        before = but_the_home(picture(hooked.home.home))
        told = hooked.guild(*words, *([] if "export" in words else [run.name, other.name]))
        assert told.code == 1 and "locked" in told.err and "guild runs unlock" in told.err
        assert but_the_home(picture(hooked.home.home)) == before

    def test_once_unlocked_it_goes(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        hooked.guild("lock", "-y", run.name)
        hooked.guild("unlock", "-y", run.name)
        assert hooked.guild("runs", "rm", "-y", run.name).code == 0
        assert not run.exists()

    def test_purge_of_the_half_copy_that_guild_alone_would_leave(self, bare_guild: HookedGuild) -> None:
        run = bare_guild.home.run("plain")
        assert bare_guild.gitrun("lock", run.name).code == 0
        assert bare_guild.guild("runs", "rm", "-y", run.name).code != 0
        left = bare_guild.home.home / "trash" / "runs" / run.name
        assert left.exists() and run.exists()
        assert bare_guild.guild("runs", "purge", "-y", run.name).code != 0
        assert bare_guild.gitrun("guild", "install").code == 0
        assert bare_guild.guild("runs", "purge", "-y", run.name).code == 0
        assert not left.exists()
        assert bare_guild.guild("verify", run.name).code == 0


class TestDownstream:
    def test_a_copy_from_a_locked_run_is_writable(self, hooked: HookedGuild) -> None:
        hooked.guild("lock", "-y", "-Fo", "train", ":")
        run = hooked.run("eval-copy")
        assert os.access(run / "ckpt", os.W_OK)
        assert (run / "ckpt").stat().st_mode & 0o200 and (run / "ckpt" / "model.bin").stat().st_mode & 0o200

    def test_a_prototype_from_a_locked_run_is_writable(self, hooked: HookedGuild) -> None:
        run = hooked.home.run("plain")
        hooked.guild("lock", "-y", run.name)
        new = hooked.run("--proto", run.name)
        assert all(path.stat().st_mode & 0o200 for path in new.glob("*.py"))
        assert hooked.guild("run", "-y", "--restart", new.name, "--force-sourcecode").code == 0


@pytest.fixture
def auto(hooked: HookedGuild) -> HookedGuild:
    """Guild that locks every run when it ends."""
    as_user(["git", "config", "--global", "gitrun.autoLock", "true"], env=hooked.variables, cwd="/", check=True)
    return hooked


class TestAutoLock:
    def test_a_run_is_locked_when_it_ends(self, auto: HookedGuild) -> None:
        run = auto.run("train")
        assert is_locked(run) and auto.guild("verify", run.name).code == 0

    @pytest.mark.parametrize("operation", ["bad", "suicide"])
    def test_so_is_one_that_failed(self, auto: HookedGuild, operation: str) -> None:
        told = auto.guild("run", "-y", operation)
        assert told.code != 0
        assert is_locked(auto.newest())

    def test_trials_are_and_their_batch_goes_as_ever(self, auto: HookedGuild) -> None:
        before = set(auto.home.runs.iterdir())
        assert auto.guild("run", "-y", "train", "lr=[0.3,0.4]").code == 0
        new = {run for run in auto.home.runs.iterdir() if run not in before and run.name != ".gitrun"}
        assert len(new) == 2 and all(map(is_locked, new))

    def test_a_batch_that_stays_is_locked_too(self, auto: HookedGuild) -> None:
        assert auto.guild("run", "-y", "train", "lr=[0.3,0.4]", "--keep-batch").code == 0
        batches = [run for run in auto.home.runs.iterdir() if (run / ".guild" / "proto").exists() and is_locked(run)]
        assert len(batches) == 1

    def test_a_pipeline_and_its_steps(self, auto: HookedGuild) -> None:
        before = set(auto.home.runs.iterdir())
        assert auto.guild("run", "-y", "pipe").code == 0
        new = {run for run in auto.home.runs.iterdir() if run not in before and run.name != ".gitrun"}
        assert len(new) == 3 and all(map(is_locked, new))

    def test_staged_then_started(self, auto: HookedGuild) -> None:
        assert auto.guild("run", "-y", "--stage", "train").code == 0
        run = auto.newest()
        assert not is_locked(run)
        assert auto.guild("run", "-y", "--start", run.name).code == 0
        assert is_locked(run)

    def test_in_the_background(self, auto: HookedGuild) -> None:
        assert auto.guild("run", "-y", "--background", "train").code == 0
        run = auto.newest()
        auto.guild("watch", run.name)
        subprocess.run(
            ["sh", "-c", f"for _ in $(seq 200); do [ -e {run}/.gitrun.lock ] && exit; sleep 0.1; done; exit 1"],
            check=True,
        )

    def test_only_the_operations_that_list_the_plugin(self, hooked: HookedGuild) -> None:
        guildfile = hooked.home.base / "project" / "guild.yml"
        guildfile.write_text(guildfile.read_text().replace("    train:\n", "    train:\n      plugins: gitrun\n"))
        assert is_locked(hooked.run("train"))
        assert hooked.guild("run", "-y", "bad").code != 0
        assert not is_locked(hooked.newest())
        before = set(hooked.home.runs.iterdir())
        assert hooked.guild("run", "-y", "train", "lr=[0.3,0.4]").code == 0
        assert all(is_locked(run) for run in hooked.home.runs.iterdir() if run not in before)

    @pytest.mark.parametrize("how", ["gone", "refuses"])
    def test_a_gitrun_that_fails_is_no_trouble_of_the_runs(self, auto: HookedGuild, how: str) -> None:
        command = ["/nonexistent/gitrun"] if how == "gone" else ["sh", "-c", "echo broken >&2; exit 8"]
        (auto.packages / "gitrun_guild" / "gitrun.json").write_text(json.dumps({"command": command}))
        told = auto.guild("run", "-y", "train")
        run = auto.newest()
        assert told.code == 0 and "is not locked" in told.err and "Traceback" not in told.err
        assert "status: completed" in auto.guild("runs", "info", run.name).out
        marker = auto.home.runs / ".gitrun" / "auto-lock-failed" / run.name
        assert marker.read_text().strip()

    def test_the_next_command_locks_what_ended_unseen(self, auto: HookedGuild) -> None:
        run = auto.home.run("plain")
        assert not is_locked(run)
        assert auto.guild("runs").code == 0
        subprocess.run(
            ["sh", "-c", f"for _ in $(seq 300); do [ -e {run}/.gitrun.lock ] && exit; sleep 0.1; done; exit 1"],
            check=True,
        )
