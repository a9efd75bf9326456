"""fork: a new run out of a locked one, which stays exactly as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from gitrun import forking
from tests.ops.runs import MODEL, copy, fill, large_object, overwrite, remove, repository_of
from tests.support.mounts import mounted, needs_root
from tests.support.picture import picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program
from tests.support.tools import CHECKOUT
from tests.support.users import as_user, user_python

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def rich(run: Path) -> Path:
    """A run with what a plain copy would lose."""
    os.link(run / "config.yaml", run / "sub" / "same")
    os.setxattr(run / "config.yaml", "user.note", b"kept")
    os.mkfifo(run / "fifo")
    (run / "hollow").chmod(0o500)
    (run / "sub" / "up").symlink_to("../../elsewhere")
    return run


@pytest.fixture
def new(run: Path) -> Path:
    return run.with_name("new")


class TestContent:
    def test_the_fork_is_what_was_locked(self, rich: Path, new: Path) -> None:
        before = picture(rich)
        gitrun.lock(rich)
        told = gitrun.fork(rich, new)
        assert picture(new) == before
        assert (told.state, told.origin, told.path) == ("unlocked", gitrun.status(rich).run, os.fsencode(new))
        assert told.run != told.origin and told.run.startswith("new-")

    def test_the_origin_stays_exactly_as_it_is(self, rich: Path, new: Path) -> None:
        gitrun.lock(rich)
        before = {path: os.lstat(path) for path in sorted(rich.rglob("*"))}
        gitrun.fork(rich, new)
        (new / "config.yaml").write_bytes(b"changed")
        (new / "model.bin").write_bytes(b"changed")
        for path, was in before.items():
            now = os.lstat(path)
            assert (now.st_mode, now.st_nlink, now.st_mtime_ns, now.st_ctime_ns) == (
                was.st_mode,
                was.st_nlink,
                was.st_mtime_ns,
                was.st_ctime_ns,
            )
        assert gitrun.verify(rich, strict=True, store=True)

    def test_no_inode_is_shared(self, rich: Path, new: Path) -> None:
        gitrun.lock(rich)
        gitrun.fork(rich, new)
        taken = {
            path.stat().st_ino for top in (rich, rich.parent / ".gitrun") for path in top.rglob("*") if path.exists()
        }
        assert not taken & {path.lstat().st_ino for path in new.rglob("*")}

    def test_of_a_run_that_is_unlocked_or_gone(self, run: Path, new: Path) -> None:
        before = picture(run)
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "config.yaml").write_bytes(b"later")
        gitrun.fork(run, new)
        remove(run)
        gitrun.fork(run, new.with_name("newer"))
        assert picture(new) == picture(new.with_name("newer")) == before

    def test_what_the_store_lost_comes_from_the_run(self, run: Path, new: Path) -> None:
        gitrun.lock(run)
        large_object(repository_of(run)).unlink()
        gitrun.fork(run, new)
        assert (new / "model.bin").read_bytes() == MODEL

    def test_what_was_never_stored_comes_from_the_run(self, run: Path, new: Path) -> None:
        gitrun.lock(run, link="none")
        gitrun.fork(run, new)
        assert (new / "model.bin").read_bytes() == MODEL

    def test_what_is_good_nowhere_makes_no_fork(self, run: Path, new: Path, ask: Ask) -> None:
        gitrun.lock(run)
        large_object(repository_of(run)).unlink()
        overwrite(run / "model.bin", MODEL[::-1])
        before = sorted(os.listdir(run.parent)), sorted(os.listdir(run.parent / ".gitrun"))
        assert ask("fork", run, new)["exit"] == 6
        assert (sorted(os.listdir(run.parent)), sorted(os.listdir(run.parent / ".gitrun"))) == before

    def test_reflinks_where_the_file_system_can(self, tmp_path: Path) -> None:
        with mounted("btrfs", tmp_path) as place:
            run = fill(place / "train")
            gitrun.lock(run)
            gitrun.fork(run, place / "new")
            shown = subprocess.run(["filefrag", "-v", place / "new" / "model.bin"], capture_output=True, text=True)
            assert "shared" in shown.stdout


class TestHistory:
    def test_goes_on_from_the_origin(self, run: Path, new: Path) -> None:
        first = gitrun.lock(run).commit
        gitrun.fork(run, new)
        (new / "config.yaml").write_bytes(b"lr: 0.7\n")
        second = gitrun.lock(new)
        repository = repository_of(new)
        assert git(repository, "rev-parse", "main~1") == first
        assert git(repository, "log", "-1", "--format=%(trailers:key=Gitrun-Origin,valueonly)", "main") == (
            f"{gitrun.status(run).run} {first}"
        )
        assert git(repository, "diff", "--name-only", "main~1", "main", "--", "config.yaml") == "config.yaml"
        assert second.run != gitrun.status(run).run
        assert gitrun.verify(new, strict=True, store=True)
        told = gitrun.log(new)
        assert [lock.run for lock in told.locks] == [second.run, gitrun.status(run).run]

    def test_only_the_first_lock_names_the_origin(self, run: Path, new: Path) -> None:
        gitrun.lock(run)
        gitrun.fork(run, new)
        gitrun.lock(new)
        gitrun.unlock(new)
        (new / "x").write_bytes(b"")
        gitrun.lock(new)
        assert "Gitrun-Origin" not in git(repository_of(new), "log", "-1", "--format=%B", "main")

    def test_the_difference_to_the_origin(self, run: Path, new: Path, call: Call) -> None:
        gitrun.lock(run)
        gitrun.fork(run, new)
        assert not gitrun.diff(new) and not gitrun.diff(new, "origin")
        (new / "config.yaml").write_bytes(b"lr: 0.7\n")
        gitrun.lock(new)
        gitrun.unlock(new)
        (new / "go.sh").unlink()
        told = call("diff", "--name-status", "--origin", new)
        assert told.out.splitlines() == ["M  config.yaml", "D  go.sh"]

    def test_stock_git_finds_it_sound_and_alone(self, run: Path, new: Path) -> None:
        gitrun.lock(run)
        gitrun.fork(run, new)
        repository = repository_of(new)
        shutil.rmtree(repository_of(run))
        shutil.rmtree(run.parent / ".gitrun" / "lfs")
        git(repository, "fsck", "--strict")
        assert not (repository / "objects" / "info" / "alternates").exists()
        assert large_object(repository).read_bytes() == MODEL
        assert gitrun.fsck(new)

    def test_gc_keeps_what_the_origin_has(self, run: Path, new: Path) -> None:
        gitrun.lock(run)
        gitrun.fork(run, new)
        gitrun.lock(new)
        gitrun.gc(run.parent)
        assert gitrun.fsck(new) and gitrun.fsck(run)

    def test_never_locked_itself(self, run: Path, new: Path, ask: Ask) -> None:
        gitrun.lock(run)
        gitrun.fork(run, new)
        assert gitrun.status(new).state == "unlocked"
        for verb in ("verify", "unlock", "restore"):
            told = ask(verb, new)
            assert (told["exit"], told["error"]["code"]) == (3, "NotLocked"), verb

    def test_a_fork_of_a_fork(self, run: Path, new: Path) -> None:
        gitrun.lock(run)
        gitrun.fork(run, new)
        gitrun.lock(new)
        newest = new.with_name("newest")
        gitrun.fork(new, newest)
        gitrun.lock(newest)
        assert len(gitrun.log(newest).locks) == 3
        assert gitrun.diff(newest, "origin").old == gitrun.status(new).commit


class TestRefusals:
    @pytest.mark.parametrize("there", ["directory", "file", "dangling link"])
    def test_something_is_there(self, run: Path, new: Path, ask: Ask, there: str) -> None:
        gitrun.lock(run)
        {
            "directory": new.mkdir,
            "file": new.touch,
            "dangling link": lambda: new.symlink_to("nowhere"),
        }[there]()
        assert ask("fork", run, new)["exit"] == 5

    @pytest.mark.parametrize(
        ("where", "code"), [("train/inside", 5), ("missing/new", 5), (".gitrun/new", 5), ("", 2), ("train", 5)]
    )
    def test_no_place_for_it(self, run: Path, call: Call, where: str, code: int) -> None:
        gitrun.lock(run)
        before = picture(run.parent)
        told = call("fork", run, *([run.parent / where] if where else []))
        assert told.code == code and "hint" in told.err
        assert picture(run.parent) == before

    def test_never_locked(self, run: Path, new: Path, ask: Ask) -> None:
        told = ask("fork", run, new)
        assert (told["exit"], told["error"]["code"]) == (3, "NotLocked")
        assert not new.exists()

    def test_a_copy_without_a_repository(self, run: Path, new: Path, ask: Ask) -> None:
        gitrun.lock(run)
        assert ask("fork", copy(run, run.parent.parent / "elsewhere"), new)["exit"] == 3

    def test_too_little_space(self, run: Path, tmp_path: Path, ask: Ask) -> None:
        needs_root()
        (run / "big").write_bytes(bytes(range(256)) * (40 << 12))
        gitrun.lock(run)
        with mounted("tmpfs", tmp_path) as place:
            told = ask("fork", run, place / "new")
            assert told["exit"] == 8 and "needed" in told["error"]["message"]
            assert os.listdir(place) == []

    def test_another_file_system(self, run: Path, tmp_path: Path) -> None:
        before = picture(run)
        gitrun.lock(run)
        with mounted("ext4", tmp_path) as place:
            gitrun.fork(run, place / "new")
            assert picture(place / "new") == before
            gitrun.lock(place / "new")
            assert gitrun.fsck(place / "new")


class TestInterruption:
    @pytest.mark.parametrize("moment", ["with_repository", "create", "_fill", "rename"])
    def test_killed(self, run: Path, new: Path, moment: str) -> None:
        """Nothing is there, and the same command again works and leaves nothing behind."""
        gitrun.lock(run)
        before = picture(run)
        script = f"""
import os, signal, sys
import gitrun.forking as forking
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if {moment!r} == "_fill": forking.Forking._fill = die
elif {moment!r} == "rename":
    real = os.rename
    os.rename = lambda a, b, **k: die() if b == os.fsencode(sys.argv[2]) else real(a, b, **k)
else: setattr(forking, {moment!r}, die)
import gitrun; gitrun.fork(sys.argv[1], sys.argv[2])"""
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run([sys.executable, "-c", script, run, new], env=environment, capture_output=True)
        assert done.returncode == -9, done.stderr
        assert not new.exists() and picture(run) == before
        gitrun.fork(run, new)
        assert sorted(os.listdir(run.parent)) == [".gitrun", "new", "train"]
        assert sorted(os.listdir(run.parent / ".gitrun")) == ["lfs", "new.git", "train.git"]
        gitrun.lock(new)
        assert gitrun.verify(new, strict=True, store=True)

    def test_failing_it_puts_everything_back(self, run: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        gitrun.lock(run)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(forking, "write_ref", full)
        with pytest.raises(gitrun.SystemFailed):
            gitrun.fork(run, new)
        assert sorted(os.listdir(run.parent)) == [".gitrun", "train"]
        assert sorted(os.listdir(run.parent / ".gitrun")) == ["lfs", "train.git"]

    def test_a_repository_with_locks_is_never_taken_for_a_leftover(self, run: Path, new: Path) -> None:
        gitrun.lock(run)
        gitrun.fork(run, new)
        gitrun.lock(new)
        (repository_of(new) / "gitrun" / "forking").touch()
        remove(new)
        gitrun.fork(run, new)
        assert git(repository_of(new), "tag") == "locked"
        assert len(list((run.parent / ".gitrun").glob("new*.git"))) == 2


def test_as_an_unprivileged_user(users_run: Path) -> None:
    assert program("lock", users_run, user=True).code == 0
    new = users_run.with_name("new")
    told = program("fork", users_run, new, user=True)
    assert told.code == 0, told.err
    assert program("lock", new, user=True).code == 0
    assert program("verify", "--strict", users_run, new, user=True).code == 0


def test_killed_with_read_only_directories(users_run: Path) -> None:
    """Whoever is not root could not remove them without ado."""
    (users_run / "sub").chmod(0o555)
    assert program("lock", users_run, user=True).code == 0
    new = users_run.with_name("new")
    script = """
import os, signal, sys
import gitrun.forking as forking
forking.create = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
import gitrun; gitrun.fork(sys.argv[1], sys.argv[2])"""
    words = [user_python(), "-c", script, users_run, new]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    assert as_user(words, env=environment, cwd="/", capture_output=True).returncode == -9
    assert program("fork", users_run, new, user=True).code == 0
    assert sorted(os.listdir(users_run.parent)) == [".gitrun", "new", "train"]


def test_root_forks_for_the_user(users_run: Path, call: Call) -> None:
    needs_root()
    assert program("lock", users_run, user=True).code == 0
    new = users_run.with_name("new")
    assert call("fork", users_run, new).code == 0
    owners = {seen.owner for seen in picture(users_run.parent).values()}
    assert len(owners) == 1
    time.sleep(0.05)
    assert program("lock", new, user=True).code == 0


class TestInPlace:
    def test_the_run_itself_is_writable_and_its_lock_stays_in_the_history(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        commit = gitrun.status(run).commit
        told = call("fork", "--inplace", run)
        assert told.code == 0 and "writes over the files that were locked" in told.err
        assert gitrun.status(run).state == "unlocked" and os.access(run / "config.yaml", os.W_OK)
        (run / "config.yaml").write_bytes(b"lr: 9\n")
        assert gitrun.diff(run).old == commit and len(gitrun.diff(run).changes) == 1

    def test_its_result(self, run: Path) -> None:
        locked = gitrun.lock(run)
        told = gitrun.fork(run, inplace=True)
        assert (told.run, told.origin, told.commit, told.files) == (locked.run, locked.run, locked.commit, locked.files)

    def test_what_had_changed_under_the_lock_is_said(self, run: Path) -> None:
        gitrun.lock(run)
        overwrite(run / "config.yaml", b"lr: 9\n")
        assert "had changed under its lock" in gitrun.fork(run, inplace=True).notes[0]

    def test_a_new_directory_makes_no_sense_with_it(self, run: Path, new: Path, call: Call) -> None:
        gitrun.lock(run)
        assert call("fork", "--inplace", run, new).code == 2
        assert gitrun.verify(run) and not new.exists()

    def test_never_locked(self, run: Path, call: Call) -> None:
        assert call("fork", "--inplace", run).code == 3

    def test_a_copy_without_its_repository_stays_locked(self, run: Path, tmp_path: Path, call: Call) -> None:
        gitrun.lock(run)
        (tmp_path / "alone").mkdir()
        alone = copy(run, tmp_path / "alone" / "train")
        assert call("fork", "--inplace", alone).code == 3
        assert (alone / ".gitrun.lock").exists()


def test_two_at_once_to_one_place(tmp_path: Path) -> None:
    run = tmp_path / "train"
    run.mkdir()
    for number in range(200):
        (run / f"f{number}").write_text(str(number))
    gitrun.lock(run)
    command = [sys.executable, "-m", "gitrun", "fork", "--json", str(run), str(tmp_path / "new")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) for _ in range(4)]
    told = [json.loads(it.communicate()[0]) for it in both]
    assert sorted(it["exit"] for it in told) == [0, 5, 5, 5], told
    (made,) = [it for it in told if it["exit"] == 0]
    assert gitrun.status(tmp_path / "new").run == made["run"]
    assert gitrun.lock(tmp_path / "new").exit == 0 and gitrun.verify(tmp_path / "new") and gitrun.fsck(tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == [".gitrun", "new", "train"]
    assert sorted(os.listdir(tmp_path / ".gitrun")) == ["new.git", "train.git"]
