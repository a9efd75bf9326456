"""The Guild layout, on runs made by hand and on real ones of every kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitrun.layouts import detect, guild, processes
from tests.layouts.runs import GUILD_ID, attribute, make_guild
from tests.support.guild import ACTIVE, FINISHED, GuildHome


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_guild(tmp_path)


@contextmanager
def working_in(directory: Path | str) -> Iterator[subprocess.Popen[bytes]]:
    """A living process at work in `directory`."""
    with subprocess.Popen(["sleep", "60"], cwd=directory) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that has nothing to do with any run."""
    with working_in("/") as started:
        yield started


def note_pid(run: Path, pid: int, age: float = 0) -> None:
    """Writes `.guild/LOCK` as Guild does, as if `age` seconds ago."""
    lock = run / ".guild" / "LOCK"
    lock.write_text(str(pid))
    os.utime(lock, (time.time() - age,) * 2)


class TestDetect:
    def test_opref_makes_a_run(self, run: Path) -> None:
        assert guild.detect(run)
        (run / ".guild" / "opref").unlink()
        assert not guild.detect(run)

    def test_a_guild_home_is_no_run(self, tmp_path: Path) -> None:
        (tmp_path / ".guild" / "runs").mkdir(parents=True)
        assert not guild.detect(tmp_path)

    @pytest.mark.parametrize("mark", [".guild", ".guild/opref"])
    def test_marks_behind_a_symlink_do_not_count(self, run: Path, mark: str) -> None:
        (run / mark).rename(run / "elsewhere")
        (run / mark).symlink_to(run / "elsewhere")
        assert not guild.detect(run)

    def test_a_fifo_is_no_opref(self, run: Path) -> None:
        (run / ".guild" / "opref").unlink()
        os.mkfifo(run / ".guild" / "opref")
        assert not guild.detect(run)


class TestRunId:
    def test_it_is_the_name_of_the_directory(self, run: Path) -> None:
        assert guild.run_id(run) == GUILD_ID

    def test_a_copy_under_another_id_has_that_id(self, tmp_path: Path) -> None:
        assert guild.run_id(make_guild(tmp_path, "f" * 32)) == "f" * 32

    @pytest.mark.parametrize("name", ["copy", GUILD_ID + "_ab12", GUILD_ID[:31], GUILD_ID.upper(), "0" * 31 + "é"])
    def test_a_name_that_is_no_id_of_guilds_is_none(self, tmp_path: Path, name: str) -> None:
        assert guild.run_id(make_guild(tmp_path, name)) is None

    def test_a_name_that_somebody_chose_is_none_even_if_guild_calls_it_the_id(self, tmp_path: Path) -> None:
        run = make_guild(tmp_path, "best")
        attribute(run, "id", "best\n")
        assert guild.run_id(run) is None

    def test_it_does_not_depend_on_the_road_to_the_run(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (run.parent / "latest").symlink_to(run)
        assert guild.run_id(run.parent / "latest") == GUILD_ID
        monkeypatch.chdir(run)
        assert guild.run_id(Path()) == GUILD_ID


class TestLabel:
    @pytest.mark.parametrize(
        ("opref", "expected"),
        [
            ("guildfile:/p/guild.yml 00 '' train", "train lr=0.1"),
            ("guildfile:/p/guild.yml 00 cnn train", "cnn:train lr=0.1"),
            ("guildfile:'/a b/guild.yml' 00 '' 'my op'", "my op lr=0.1"),
            ('guildfile:/p 00 "" "a \\" b"', 'a " b lr=0.1'),
            ("guildfile:/a\\ b/g.yml 00 '' train", "train lr=0.1"),
            ("guildfile:/p 00 '' 'open", "lr=0.1"),
            ("too few", "lr=0.1"),
            ("", "lr=0.1"),
            ("\udcff\udcfe", "lr=0.1"),
        ],
    )
    def test_operation(self, run: Path, opref: str, expected: str) -> None:
        (run / ".guild" / "opref").write_bytes(os.fsencode(opref))
        assert guild.label(run) == expected

    def test_a_batch_has_the_operation_of_its_trials(self, run: Path) -> None:
        shutil.copytree(run / ".guild", run / ".guild" / "proto" / ".guild")
        (run / ".guild" / "opref").write_text("builtin:guildai 0.9.0 '' +")
        assert guild.label(run) == "train+ lr=0.1"
        shutil.rmtree(run / ".guild" / "proto")
        assert guild.label(run) == "+ lr=0.1"

    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            (b"my label\n", "my label"),
            (b"'it''s: quoted'\n", "it's: quoted"),
            (b"'two\n\n  lines'\n", "two lines"),
            (b'"\\xE9t\\xE9 \\u20ac \\U0001F600 \\"x\\" \\\\ \\ttab"\n', 'été € 😀 "x" \\ tab'),
            (b'"folded\\\n  \\ on"\n', "folded on"),
            (b'"bell \\a esc \\e[31m nul \\0 next \\N"\n', "bell esc [31m nul next"),
            (b'"\\ud800 \\UFFFFFFFF"\n', "\ufffd \ufffd"),
            (b"long label\n  that goes on\n...\n", "long label that goes on"),
            (b"null\n", ""),
            (b"", ""),
            (b"'\n", "'"),
            (b'"\\\n', '"\\'),
            (b"\xff\x00\x1b[2J\n", "\ufffd [2J"),
            (b"x" * 1_000_000, "x" * 293 + "…"),
        ],
    )
    def test_label(self, run: Path, written: bytes, expected: str) -> None:
        attribute(run, "label", written)
        assert guild.label(run) == f"train {expected}".strip()

    def test_a_label_that_is_no_file_is_not_waited_for(self, run: Path) -> None:
        label = run / ".guild" / "attrs" / "label"
        for strange in (lambda: os.mkfifo(label), label.mkdir, lambda: label.symlink_to("/etc/hostname")):
            label.rmdir() if label.is_dir() else label.unlink()
            strange()
            assert guild.label(run) == "train"


class TestActivity:
    def test_a_finished_run_is_not_active(self, run: Path) -> None:
        assert guild.activity(run) is None

    @pytest.mark.parametrize(
        ("marker", "reason"), [("PENDING", "pending"), ("STAGED", "staged"), ("LOCK.remote", "running on a remote")]
    )
    def test_markers(self, run: Path, marker: str, reason: str) -> None:
        (run / ".guild" / marker).touch()
        assert str(guild.activity(run)).startswith(reason)

    def test_the_remote_is_named(self, run: Path) -> None:
        (run / ".guild" / "LOCK.remote").write_text("gpu\x1b[31m\n")
        assert guild.activity(run) == "running on the remote 'gpu [31m'"

    def test_the_marker_of_a_prototype_does_not_count(self, run: Path) -> None:
        shutil.copytree(run / ".guild", run / ".guild" / "proto" / ".guild")
        (run / ".guild" / "proto" / ".guild" / "PENDING").touch()
        assert guild.activity(run) is None

    def test_a_living_process_counts_whatever_the_status_says(self, run: Path) -> None:
        note_pid(run, os.getpid())
        assert guild.activity(run) == f"running: process {os.getpid()} is at work"

    def test_a_dead_process_does_not_count(self, run: Path, process: subprocess.Popen[bytes]) -> None:
        note_pid(run, process.pid)
        assert guild.activity(run) is not None
        process.kill()
        process.wait()
        assert guild.activity(run) is None

    def test_a_pid_that_came_round_again_does_not_count(self, run: Path, process: subprocess.Popen[bytes]) -> None:
        note_pid(run, process.pid, age=processes.CLOCK_SLACK + 30)
        assert guild.activity(run) is None

    def test_a_clock_a_little_behind_does_not_hide_a_run(self, run: Path, process: subprocess.Popen[bytes]) -> None:
        note_pid(run, process.pid, age=processes.CLOCK_SLACK - 30)
        assert guild.activity(run) is not None

    def test_a_process_inside_the_run_counts_whatever_the_clock_says(self, run: Path) -> None:
        (run / "sub").mkdir()
        with working_in(run / "sub") as inside:
            note_pid(run, inside.pid, age=10_000_000)
            assert guild.activity(run) is not None

    def test_a_process_beside_the_run_is_not_inside_it(self, run: Path) -> None:
        beside = run.with_name(run.name + "-beside")
        beside.mkdir()
        with working_in(beside) as other:
            note_pid(run, other.pid, age=10_000_000)
            assert guild.activity(run) is None

    def test_a_process_of_which_the_parent_still_has_to_hear_counts(self, run: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
            note_pid(run, ended.pid)
            assert guild.activity(run) is not None
        assert guild.activity(run) is None

    @pytest.mark.parametrize(
        "content", ["", "0", "-1", "-12345", "x", "99999999999999999999", "1 2", "\udcff", "1" * 5000]
    )
    def test_what_is_no_pid_does_not_count(self, run: Path, content: str) -> None:
        (run / ".guild" / "LOCK").write_bytes(os.fsencode(content))
        assert guild.activity(run) is None

    def test_a_lock_that_cannot_be_read_may_mean_anything(self, run: Path) -> None:
        os.mkfifo(run / ".guild" / "LOCK")
        assert guild.activity(run) == "perhaps running: .guild/LOCK cannot be read"


class TestRealRuns:
    @pytest.mark.parametrize("kind", FINISHED)
    def test_finished(self, guild_made: GuildHome, kind: str) -> None:
        for name in guild_made.ids[kind]:
            run = guild_made.runs / name
            assert detect(run) is guild
            assert guild.run_id(run) == name
            assert guild.activity(run) is None

    @pytest.mark.parametrize("kind", ACTIVE)
    def test_active(self, guild_made: GuildHome, kind: str) -> None:
        for name in guild_made.ids[kind]:
            run = guild_made.runs / name
            assert detect(run) is guild
            assert str(guild.activity(run)).startswith(kind.partition("-")[0])

    def test_every_kind_is_tried(self, guild_made: GuildHome) -> None:
        assert set(guild_made.ids) == {*FINISHED, *ACTIVE}

    def test_a_copy_of_a_running_run_is_active_as_long_as_its_process_lives(self, guild_home: GuildHome) -> None:
        assert guild.activity(guild_home.run("running")) is not None

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("plain", "train epochs=2 lr=0.1"),
            ("plain-label", "train my label"),
            ("batch", "train+"),
            ("pipeline", "pipe"),
            ("error", "bad"),
        ],
    )
    def test_label(self, guild_made: GuildHome, kind: str, expected: str) -> None:
        assert guild.label(guild_made.run(kind)) == expected

    def test_labels_and_operations_are_those_that_guild_shows(self, guild_made: GuildHome) -> None:
        listed = guild_made.guild("runs", "list", "--all").stdout
        assert len(listed.splitlines()) == sum(map(len, guild_made.ids.values()))
        for line in listed.splitlines():
            short = line.partition(":")[2].partition("]")[0]
            (run,) = guild_made.runs.glob(short + "*")
            for word in guild.label(run).split():
                assert word.rstrip("…") in line

    @pytest.mark.parametrize("label", ["it's: 1", "  ", "été €", '"x"', "a " * 100, "two\nlines", "- x", "null", "\\n"])
    def test_labels_come_back_as_they_were_given(self, guild_home: GuildHome, label: str) -> None:
        run = guild_home.run("plain")
        given = guild_home.guild("label", "-y", "--set", label, run.name)
        assert given.returncode == 0, given.stderr
        assert guild.label(run) == f"train {' '.join(label.split())}".strip()

    def test_people_change_only_what_is_mutable(self, guild_home: GuildHome) -> None:
        run = guild_home.run("plain")
        before = snapshot(run)
        for words in (["label", "--set", "x"], ["tag", "--add", "t"], ["comment", "--add", "c"], ["mark"]):
            done = guild_home.guild(*words, "-y", run.name)
            assert done.returncode == 0, done.stderr
        after = snapshot(run)
        changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        assert changed == guild.mutable(run)


def snapshot(run: Path) -> dict[bytes, bytes]:
    """The content of every file of the run, by its path."""
    files = (path for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    return {os.fsencode(path.relative_to(run)): path.read_bytes() for path in files}
