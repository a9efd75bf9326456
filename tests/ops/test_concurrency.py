"""Several gitrun processes at once (cases E88 to E92): serialised or refused, never mixed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import SoftFileLock

import gitrun
from gitrun import guard, repo
from gitrun.store import Place
from tests.ops.runs import MODEL, fill, large_object, overwrite, repository_of
from tests.support.picture import picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program
from tests.support.tools import CHECKOUT

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]
NO_FLOCK = [
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "--seccomp-bpf",
    "-e",
    "trace=flock",
    "-e",
    "inject=flock:error=ENOLCK",
]


def start(*words: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "gitrun", *map(str, words), "--json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ends(*processes: subprocess.Popen[str]) -> list[dict[str, Any]]:
    told = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        told += [json.loads(line) for line in out.splitlines()]
        assert told[-1]["exit"] == process.returncode
    return told


@contextmanager
def held(directory: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Somebody else's guard."""
    fd = os.open(directory, os.O_RDONLY)
    fcntl.flock(fd, how)
    try:
        yield
    finally:
        os.close(fd)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.1)


class TestSameRun:
    def test_e88_two_locks_at_once(self, run: Path) -> None:
        told = ends(*(start("lock", run) for _ in range(4)))
        assert {one["exit"] for one in told} <= {0, 5}
        assert sum(not one.get("already", True) for one in told) == 1
        assert len({one["commit"] for one in told if not one["exit"]}) == 1
        assert len(git(repository_of(run), "rev-list", "--all").splitlines()) == 1
        assert len(list(repository_of(run).parent.glob("*.git"))) == 1
        assert gitrun.verify(run, strict=True)

    @pytest.mark.parametrize("verb", ["lock", "unlock", "restore", "verify", "fsck"])
    @pytest.mark.parametrize("which", ["run", "repository"])
    def test_e88_who_waits_too_long_is_refused(
        self, run: Path, ask: Ask, impatient: None, verb: str, which: str
    ) -> None:
        gitrun.lock(run)
        before = picture(run)
        with held(run if which == "run" else repository_of(run)):
            told = ask(verb, run)
        assert (told["exit"], told["error"]["code"]) == (5, "RunBusy")
        assert "try again" in told["error"]["hint"]
        assert picture(run) == before

    def test_e88_who_waits_long_enough_is_not(self, run: Path) -> None:
        with held(run):
            waiting = start("lock", run)
            time.sleep(0.5)
            assert waiting.poll() is None
        assert ends(waiting)[0]["exit"] == 0

    def test_e88_the_run_is_looked_at_anew_after_waiting(self, run: Path) -> None:
        """What changed while a command waited counts."""
        with held(run):
            waiting = start("lock", run)
            time.sleep(0.4)
            (run / "late").write_text("late")
        told = ends(waiting)[0]
        assert told["exit"] == 0 and told["files"] == 7
        assert gitrun.verify(run, strict=True)

    def test_e89_lock_and_unlock_and_verify_at_once(self, run: Path) -> None:
        before = picture(run)
        gitrun.lock(run)
        for _ in range(2):
            told = ends(*(start(verb, run) for verb in ("unlock", "lock", "verify", "status", "unlock", "lock")))
            assert {one["exit"] for one in told} <= {0, 3, 5}
            assert all(one["ok"] for one in told if "ok" in one)
        assert gitrun.status(run).state in ("locked", "unlocked")
        if gitrun.status(run).state == "locked":
            assert gitrun.verify(run, strict=True)
            gitrun.unlock(run)
        assert picture(run) == before
        git(repository_of(run), "fsck", "--strict")

    def test_e89_readers_do_not_keep_readers_out(self, run: Path, impatient: None) -> None:
        gitrun.lock(run)
        with held(run, fcntl.LOCK_SH), held(repository_of(run), fcntl.LOCK_SH):
            assert gitrun.verify(run)
            with pytest.raises(gitrun.RunBusy):
                gitrun.unlock(run)

    def test_e89_status_waits_for_nobody(self, run: Path) -> None:
        gitrun.lock(run)
        with held(run), held(repository_of(run)):
            assert gitrun.status(run).state == "locked"

    def test_e89_threads_of_one_program(self, run: Path) -> None:
        outcomes: list[object] = []

        def work() -> None:
            try:
                outcomes.append(gitrun.lock(run).commit)
            except gitrun.GitrunError as error:
                outcomes.append(error.code)

        threads = [threading.Thread(target=work) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        commits = {outcome for outcome in outcomes if outcome != "RunBusy"}
        assert len(commits) == 1
        assert gitrun.verify(run, strict=True)


class TestSharedPool:
    def test_e90_runs_with_the_same_large_file(self, run: Path, call: Call) -> None:
        runs = [run, *(fill(run.with_name(f"run-{n}")) for n in range(5))]
        told = ends(*(start("lock", *half) for half in (runs[:3], runs[3:])))
        assert [one["exit"] for one in told] == [0] * 6
        assert len({large_object(repository_of(one)).stat().st_ino for one in runs}) <= 2  # both may have copied
        for one in runs:
            assert gitrun.verify(one, strict=True, store=True)
            assert large_object(repository_of(one)).read_bytes() == MODEL

    def test_e90_lock_beside_unlock_restore_and_gc(self, run: Path) -> None:
        other = fill(run.with_name("other"))
        third = fill(run.with_name("third"))
        gitrun.lock(other)
        overwrite(other / "model.bin", b"x")
        told = ends(start("lock", run), start("restore", other), start("gc", run.parent), start("lock", third))
        assert {one["exit"] for one in told} <= {0, 5}, told
        for one in (run, other, third):
            if gitrun.status(one).state == "locked":
                assert gitrun.verify(one, strict=True, store=True)


class TestWithoutFlock:
    def test_e92_everything_works(self, run: Path) -> None:
        before = picture(run)
        for verb in ("lock", "verify", "restore", "unlock", "lock"):
            told = program(verb, run, before=NO_FLOCK)
            assert told.code == 0, (verb, told.err)
        left = [p.name for p in (run.parent / ".gitrun").iterdir()]
        assert sorted(left) == ["lfs", "train.git"]
        gitrun.unlock(run)
        assert picture(run) == before

    def test_e92_a_second_process_is_refused(
        self, run: Path, ask: Ask, impatient: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_flock(fd: int, how: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        gitrun.lock(run)
        monkeypatch.setattr(fcntl, "flock", no_flock)
        with SoftFileLock(str(run.parent / ".gitrun" / "train.guard")):
            told = ask("unlock", run)
        assert (told["exit"], told["error"]["code"]) == (5, "RunBusy")
        assert gitrun.verify(run, strict=True)
        assert ask("unlock", run)["exit"] == 0

    def test_e92_the_lock_of_a_dead_process_does_not_stay(self, run: Path) -> None:
        gitrun.lock(run)
        script = (
            "import os, signal, sys; from gitrun import guard; from gitrun.store import locate; "
            "from gitrun.settings import Settings; from contextlib import ExitStack; import time\n"
            "with ExitStack() as held:\n"
            "    guard._hold_softly(locate(os.fsencode(sys.argv[1]), Settings()), False, time.monotonic() + 1, held)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run([sys.executable, "-c", script, run], env=environment, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        told = program("unlock", run, before=NO_FLOCK)
        assert told.code == 0, told.err


@pytest.mark.parametrize("verb", ["lock", "import"])
def test_a_run_that_was_faster_keeps_its_repository(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Two runs of one name, in two places with one store: whoever comes second fails, and takes nothing away."""
    other = shutil.copytree(run, tmp_path / "other" / "train", symlinks=True)
    gitrun.lock(other)
    gitrun.export(other, tmp_path / "bag")
    settings = gitrun.Settings(store=os.fsencode(tmp_path / "store"))
    create = repo.create

    def create_second(place: Place, fill: Callable[[bytes], None] | None = None) -> None:
        create(replace(place, run=b"/elsewhere/train", run_id="train-00000000"))
        create(place, fill)

    def imported() -> object:
        return gitrun.import_run(tmp_path / "bag", tmp_path / "train", settings=settings)

    monkeypatch.setattr(repo, "create", create_second)
    with pytest.raises(gitrun.SystemFailed):
        imported() if verb == "import" else gitrun.lock(run, settings=settings)
    assert (tmp_path / "store" / "train.git" / "gitrun" / "run").read_text().startswith("id train-00000000\n")
    assert not (tmp_path / "train").exists()
