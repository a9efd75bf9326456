"""`lock --finished`: what has ended, each once, and nothing that somebody has unlocked; and `lock --reseal`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import copy, overwrite
from tests.support.program import Told
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


def guild_run(home: Path, digit: str) -> Path:
    """A run as Guild leaves it."""
    run = home / "runs" / (digit * 32)
    (run / ".guild" / "attrs").mkdir(parents=True)
    (run / ".guild" / "opref").write_text("guildfile:/x h '' train\n")
    (run / "result").write_text(digit)
    end(run, 1)
    return run


def end(run: Path, attempt: int) -> None:
    """As if the run had begun and ended once more."""
    for name in ("started", "stopped"):
        (run / ".guild" / "attrs" / name).write_text(f"{1_700_000_000_000_000 + attempt}\n")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "guild"
    for digit in "abc":
        guild_run(home, digit)
    return home


def locked(home: Path) -> str:
    return "".join(sorted(run.name[0] for run in (home / "runs").iterdir() if (run / ".gitrun.lock").exists()))


class TestFinished:
    def test_all_that_have_ended_and_only_once(self, home: Path, call: Call) -> None:
        told = call("lock", "--finished", "--all", home)
        assert told.code == 0 and len(told.out.splitlines()) == 3 and locked(home) == "abc"
        again = call("lock", "--finished", "--all", home)
        assert (again.code, again.out, again.err) == (0, "", "")

    def test_the_guild_home_where_nothing_is_named(self, home: Path, tmp_path: Path) -> None:
        told = program("lock", "--finished", "-q", cwd=tmp_path, env={**os.environ, "GUILD_HOME": str(home)})
        assert (told.code, told.out, told.err) == (0, "", "") and locked(home) == "abc"

    def test_no_guild_home(self, tmp_path: Path) -> None:
        told = program("lock", "--finished", cwd=tmp_path)
        assert told.code == 2 and "Guild home" in told.err

    @pytest.mark.parametrize("marker", ["PENDING", "STAGED", "LOCK.remote"])
    def test_what_has_not_ended_is_passed_over_in_silence(self, home: Path, call: Call, marker: str) -> None:
        (home / "runs" / ("b" * 32) / ".guild" / marker).touch()
        told = call("lock", "--finished", "--all", home)
        assert (told.code, told.err) == (0, "") and locked(home) == "ac"

    def test_what_somebody_unlocked_stays_so_until_it_has_run_again(self, home: Path, call: Call) -> None:
        run = home / "runs" / ("a" * 32)
        call("lock", "--finished", "--all", home)
        gitrun.unlock(run)
        (run / "result").write_text("edited")
        call("lock", "--finished", "--all", home)
        assert locked(home) == "bc"
        end(run, 2)
        call("lock", "--finished", "--all", home)
        assert locked(home) == "abc" and len(gitrun.log(run).locks) == 2

    def test_a_fork_waits_until_it_has_run(self, home: Path, call: Call) -> None:
        call("lock", "--finished", "--all", home)
        fork = Path(os.fsdecode(gitrun.fork(home / "runs" / ("a" * 32)).path))
        call("lock", "--finished", "--all", home)
        assert not (fork / ".gitrun.lock").exists()
        end(fork, 2)
        call("lock", "--finished", "--all", home)
        assert (fork / ".gitrun.lock").exists()

    def test_an_interrupted_lock_is_finished(self, home: Path, call: Call) -> None:
        run = home / "runs" / ("a" * 32)
        script = (
            "import os, gitrun.making as it\n"
            "it.Making._tag = lambda self: os.kill(os.getpid(), 9)\n"
            f"import gitrun; gitrun.lock({str(run)!r})\n"
        )
        subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(_checkout())}, check=False)
        assert gitrun.status(run).state == "interrupted"
        assert call("lock", "--finished", "--all", home).code == 0
        assert gitrun.status(run).state == "locked"

    def test_a_failure_is_told(self, home: Path, call: Call) -> None:
        (home / "runs" / ("b" * 32) / ".gitrun.lock").write_text("not ours")
        (home / "runs" / ("a" * 32) / "result").chmod(0)
        told = call("lock", "--finished", "--all", home)
        assert locked(home) in ("abc", "bc")  # root reads it all the same
        assert told.code in (0, 5)


def _checkout() -> Path:
    return Path(gitrun.__file__).parents[1]


class TestReseal:
    def test_modes_come_back(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        subprocess.run(["chmod", "-R", "u+w", run], check=True)
        assert gitrun.verify(run).warnings
        told = ask("lock", "--reseal", run)
        assert told["exit"] == 0 and told["already"] and "mended" in told["notes"][0]
        verdict = gitrun.verify(run, strict=True)
        assert verdict and not verdict.warnings

    def test_a_copy_that_lost_its_modes(self, run: Path, tmp_path: Path, ask: Ask) -> None:
        gitrun.lock(run)
        (tmp_path / "copy").mkdir()
        alone = copy(run, tmp_path / "copy" / "train")
        subprocess.run(["chmod", "-R", "u+w", alone], check=True)
        told = ask("lock", "--reseal", alone)
        assert (told["exit"], told["state"], told["commit"]) == (0, "detached", "")
        assert not gitrun.verify(alone).warnings

    def test_nothing_to_mend(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        assert ask("lock", "--reseal", run)["notes"] == ["no permission bits had to be mended"]

    def test_changed_content_is_refused(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        overwrite(run / "config.yaml", b"lr: 9\n")
        before = (run / "config.yaml").stat().st_mode
        assert ask("lock", "--reseal", run)["exit"] == 5
        assert (run / "config.yaml").stat().st_mode == before

    def test_never_locked(self, run: Path, ask: Ask) -> None:
        assert ask("lock", "--reseal", run)["exit"] == 3
