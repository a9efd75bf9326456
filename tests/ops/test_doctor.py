"""doctor: what it says of this machine, what it finds wrong, and what it mends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import copy, remove, repository_of
from tests.support.mounts import mounted
from tests.support.picture import picture
from tests.support.program import Told
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


def facts(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {fact["name"]: fact for fact in told["facts"]}


def troubles(directory: Path, **options: Any) -> list[tuple[str, str]]:
    found = gitrun.doctor(directory, **options).troubles
    return [(trouble.kind, os.fsdecode(os.path.basename(trouble.path))) for trouble in found]


def interrupt(run: Path) -> None:
    """A lock that is killed before the tag."""
    script = (
        "import os, gitrun.making as it\n"
        "it.Making._tag = lambda self: os.kill(os.getpid(), 9)\n"
        f"import gitrun; gitrun.lock({str(run)!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gitrun.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert gitrun.status(run).state == "interrupted"


class TestFacts:
    def test_this_machine(self, tmp_path: Path, ask: Ask) -> None:
        before = picture(tmp_path).keys()
        told = facts(ask("doctor", tmp_path))
        stock = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout.split()[2]
        assert told["git"]["ok"] and told["git"]["value"].startswith(stock)
        assert told["git-lfs"]["ok"] and told["hard links"]["ok"] and told["permission bits"]["ok"]
        assert told["letter case"]["ok"] and told["leases"]["ok"]
        assert picture(tmp_path).keys() == before

    def test_a_file_system_with_reflinks(self, tmp_path: Path) -> None:
        with mounted("btrfs", tmp_path) as place:
            told = {fact.name: fact for fact in gitrun.doctor(place).facts}
            assert told["file system"].value == "btrfs" and "no second place" in told["reflinks"].value

    def test_no_git_lfs(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        for name in ("git", "env"):
            (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
        told = program("doctor", "--json", tmp_path, env={**os.environ, "PATH": str(tmp_path / "bin")}).object
        assert not facts(told)["git-lfs"]["ok"] and "apt install git-lfs" in facts(told)["git-lfs"]["value"]
        assert facts(told)["Guild AI"]["value"] == "none on PATH"

    def test_a_directory_that_cannot_be_written_to(self, shared_tmp: Path) -> None:
        shared_tmp.chmod(0o555)
        told = program("doctor", "--json", shared_tmp, user=True).object
        assert told["exit"] == 0 and "cannot be tried" in facts(told)["file system"]["value"]

    def test_no_such_directory(self, tmp_path: Path, ask: Ask) -> None:
        assert ask("doctor", tmp_path / "none")["exit"] == 3

    def test_it_fits_into_80_columns(self, tmp_path: Path) -> None:
        told = program("doctor", tmp_path)
        assert told.code == 0 and told.out.splitlines()[-1] == "nothing to mend"
        assert max(map(len, told.out.splitlines())) <= 80


class TestTroubles:
    def test_nothing_is_wrong(self, run: Path) -> None:
        gitrun.lock(run)
        assert troubles(run.parent) == []

    def test_an_interrupted_lock(self, run: Path, call: Call) -> None:
        before = picture(run)
        interrupt(run)
        assert troubles(run.parent) == [("interrupted", "train")]
        told = call("doctor", run.parent)
        assert told.code == 4 and "gitrun unlock" in told.err
        assert call("doctor", "--fix", run.parent).code == 0
        assert troubles(run.parent) == [] and gitrun.status(run).state == "unlocked"
        assert picture(run) == before

    def test_a_run_that_is_gone(self, run: Path) -> None:
        gitrun.lock(run)
        remove(run)
        assert troubles(run.parent) == [("orphaned", "train")]
        assert troubles(run.parent, fix=True) == [("orphaned", "train")]
        assert gitrun.restore(run).state == "locked"

    @pytest.mark.parametrize("name", ["fork", "import", "export"])
    def test_what_a_killed_gitrun_left(self, run: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        left = run.parent / f".tmp-gitrun-{name}-0123456789abcdef"
        (left / "deep").mkdir(parents=True)
        (left / "deep" / "file").write_text("x")
        (left / "deep").chmod(0o500)
        assert troubles(run.parent) == []  # somebody may be at work on it
        later = time.time() + 7200
        monkeypatch.setattr(time, "time", lambda: later)
        assert troubles(run.parent) == [("leftover", left.name)]
        assert gitrun.doctor(run.parent, fix=True).exit == 0
        assert not left.exists()

    def test_configuration_that_git_would_obey(self, run: Path) -> None:
        gitrun.lock(run)
        config = repository_of(run) / "config"
        config.chmod(0o644)
        config.write_text(config.read_text() + "[core]\n\tsshCommand = touch /tmp/pwned\n")
        assert [kind for kind, _ in troubles(run.parent)] == ["config"]

    def test_a_run_whose_auto_lock_failed(self, run: Path) -> None:
        (run / ".guild" / "attrs").mkdir(parents=True)
        (run / ".guild" / "opref").write_text("guildfile:/x h '' train\n")
        run = run.rename(run.with_name("a" * 32))
        failed = run.parent / ".gitrun" / "auto-lock-failed"
        failed.mkdir(parents=True)
        (failed / run.name).write_text("the disk is full\n")
        assert troubles(run.parent) == [("auto-lock-failed", run.name)]
        assert gitrun.doctor(run.parent, fix=True).exit == 0
        assert gitrun.verify(run) and not (failed / run.name).exists()

    def test_a_copy_in_guilds_trash(self, run: Path, tmp_path: Path) -> None:
        (run / ".guild" / "attrs").mkdir(parents=True)
        (run / ".guild" / "opref").write_text("guildfile:/x h '' train\n")
        runs, trash = tmp_path / "home" / "runs", tmp_path / "home" / "trash" / "runs"
        runs.mkdir(parents=True)
        trash.mkdir(parents=True)
        run = run.rename(runs / ("a" * 32))
        gitrun.lock(run)
        left = copy(run, trash / f"{run.name}_x1")
        assert troubles(tmp_path / "home") == [("trash-copy", left.name)]
        assert gitrun.doctor(tmp_path / "home", fix=True).exit == 0
        assert os.access(left / "sub", os.W_OK) and not (left / ".gitrun.lock").exists()
        assert gitrun.verify(run)

    def test_names_that_other_systems_have_not(self, run: Path) -> None:
        odd = [
            "con",
            "aux.txt",
            "nul",
            "dot.",
            "a:b",
            "Train",
            "train",
            "caf\u00e9",
            "cafe\u0301",
            os.fsdecode(b"\xff"),
        ]
        for name in odd:
            (run / "sub" / name).write_text("x")
        gitrun.lock(run)
        assert troubles(run.parent) == []
        found = {name for kind, name in troubles(run.parent, portable=True) if kind == "name"}
        assert found == {"con", "aux.txt", "nul", "dot.", "a:b", "train", "caf\u00e9", os.fsdecode(b"\xff")}
