"""status: every state has its name, and exit 0."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import LARGE, copy, fill, overwrite, remove, repository_of
from tests.support.picture import picture
from tests.support.program import Told
from tests.support.tools import CHECKOUT

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]

_KILLED_AT = """
import os, signal, sys
import gitrun
from gitrun import {module} as module
real = module.{name}
def killed(*args, **options):
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
module.{name} = killed
gitrun.{verb}(sys.argv[1])
"""


def kill(verb: str, run: Path, module: str, name: str, *, after: bool = False) -> None:
    """Runs a verb that is killed when it calls `module.name`."""
    before = "real(*args, **options)" if after else "pass"
    program = _KILLED_AT.format(verb=verb, module=module, name=name, before=before)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", program, run], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


class TestStates:
    def state(self, run: Path, ask: Ask) -> str:
        told = ask("status", run)
        assert told["exit"] == 0
        return str(told["state"])

    def test_never_locked(self, run: Path, ask: Ask) -> None:
        before = picture(run.parent)
        told = ask("status", run)
        assert (told["exit"], told["state"], told["run"], told["commit"], told["locked_at"]) == (
            0,
            "unlocked",
            "",
            "",
            0,
        )
        assert picture(run.parent) == before

    def test_locked(self, run: Path, ask: Ask) -> None:
        start = int(time.time())
        locked = gitrun.lock(run)
        told = ask("status", run)
        assert (told["state"], told["run"], told["commit"]) == ("locked", locked.run, locked.commit)
        assert (told["files"], told["bytes"], told["layout"], told["locks"]) == (6, LARGE + 41, "plain", 1)
        assert start <= told["locked_at"] == locked.locked_at <= time.time()
        assert told["protection"] == locked.protection

    def test_unlocked(self, run: Path, ask: Ask) -> None:
        locked = gitrun.lock(run)
        gitrun.unlock(run)
        told = ask("status", run)
        assert (told["state"], told["run"], told["commit"], told["locks"]) == ("unlocked", locked.run, "", 1)

    def test_modified_as_verify_found(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        overwrite(run / "config.yaml", b"x")
        assert self.state(run, ask) == "locked"  # it reads no content
        assert ask("verify", run)["state"] == "locked+modified"
        assert self.state(run, ask) == "locked+modified"
        overwrite(run / "config.yaml", b"lr: 0.1\n")
        assert ask("verify", run)["state"] == "locked"
        assert self.state(run, ask) == "locked"

    def test_what_was_modified_and_restored_is_locked(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        overwrite(run / "config.yaml", b"x")
        gitrun.verify(run)
        gitrun.restore(run)
        assert self.state(run, ask) == "locked"

    def test_orphaned(self, run: Path, ask: Ask, call: Call) -> None:
        locked = gitrun.lock(run)
        remove(run)
        told = ask("status", run)
        assert (told["exit"], told["state"], told["run"], told["files"]) == (0, "orphaned", locked.run, 6)
        assert "orphaned" in call("status", "--all", run.parent).out

    def test_detached(self, run: Path, ask: Ask) -> None:
        locked = gitrun.lock(run)
        copied = copy(run, run.with_name("copy"))
        told = ask("status", copied)
        assert (told["exit"], told["state"], told["run"], told["files"]) == (0, "detached", locked.run, 6)
        shutil.rmtree(run.parent / ".gitrun")
        assert self.state(run, ask) == "detached"

    @pytest.mark.parametrize(("module", "name"), [("making", "seal"), ("making", "publish_objects")])
    def test_interrupted_lock(self, run: Path, ask: Ask, module: str, name: str) -> None:
        before = picture(run)
        kill("lock", run, module, name)
        assert self.state(run, ask) == "interrupted"
        told = ask("verify", run)
        assert told["exit"] == 3 and "did not finish" in told["error"]["message"] and told["state"] == "interrupted"
        assert ask("unlock", run)["exit"] == 0
        assert self.state(run, ask) == "unlocked"
        assert picture(run) == before

    def test_interrupted_lock_then_lock(self, run: Path, ask: Ask) -> None:
        kill("lock", run, "making", "seal", after=True)
        assert self.state(run, ask) == "interrupted"
        assert ask("lock", run)["exit"] == 0
        assert ask("verify", "--strict", run)["exit"] == 0
        assert self.state(run, ask) == "locked"

    def test_interrupted_unlock(self, run: Path, ask: Ask) -> None:
        before = picture(run)
        gitrun.lock(run)
        kill("unlock", run, "recover", "unseal")
        assert self.state(run, ask) == "interrupted"
        assert ask("unlock", run)["exit"] == 0
        assert self.state(run, ask) == "unlocked"
        assert picture(run) == before

    def test_nothing_is_3(self, run: Path, ask: Ask) -> None:
        told = ask("status", run / "nothing")
        assert (told["exit"], told["error"]["code"]) == (3, "RunNotFound")

    @pytest.mark.parametrize("damage", ["refs/tags/locked", "objects", "HEAD", "config"])
    def test_a_damaged_repository_is_no_crash(self, run: Path, call: Call, damage: str) -> None:
        gitrun.lock(run)
        path = repository_of(run) / damage
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.chmod(0o644)
            path.write_bytes(b"\xff\0garbage\n")
        told = call("status", "--json", run)
        assert told.code in (0, 6)
        assert told.object["exit"] == told.code


class TestLines:
    def test_a_line_for_each_run(self, run: Path, call: Call) -> None:
        other = fill(run.with_name("other"))
        gitrun.lock(run)
        told = call("status", run, other)
        assert told.code == 0
        lines = told.out.splitlines()
        assert len(lines) == 2
        assert "locked" in lines[0] and "1.0 MiB" in lines[0] and lines[0].endswith("train")
        assert "unlocked" in lines[1] and lines[1].endswith("other")

    def test_all_finds_every_run_that_has_a_record(self, run: Path, call: Call, tmp_path: Path) -> None:
        deep = fill(tmp_path / "a" / "b" / "deep")
        for one in (run, deep, fill(run.with_name("gone"))):
            gitrun.lock(one)
        remove(run.with_name("gone"))
        fill(run.with_name("plain"))  # never guessed
        told = call("status", "--json", "--all", tmp_path)
        states = {Path(one["path"]).name: one["state"] for one in told.objects}
        assert states == {"train": "locked", "deep": "locked", "gone": "orphaned"}
        assert told.code == 0

    def test_one_that_fails_does_not_hide_the_others(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        told = call("status", "--json", run.parent / "nothing", run)
        assert told.code == 3
        assert [one["exit"] for one in told.objects] == [3, 0]

    def test_it_changes_nothing(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        before = picture(run.parent)
        call("status", run)
        call("status", "--all", run.parent)
        assert picture(run.parent) == before

    def test_names_do_not_write_on_the_screen(self, run: Path, call: Call) -> None:
        hostile = run.with_name("a\x1b]0;x\x07\nb")
        run.rename(hostile)
        gitrun.lock(hostile)
        out = call("status", hostile).out
        assert out.count("\n") == 1 and out.rstrip("\n").isprintable()


def test_no_content_is_read(run: Path) -> None:
    gitrun.lock(run)
    command = ["strace", "-f", "-qq", "-e", "trace=open,openat", sys.executable, "-m", "gitrun", "status", run]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "config.yaml" not in done.stderr and "model.bin" not in done.stderr and ".gitrun.lock" in done.stderr
    assert json.dumps(str(run))[1:-1] in done.stderr
