"""unlock: exactly the permissions that lock took come back, and the history stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import fill, loosen, overwrite, remove, repository_of
from tests.support.mounts import needs_root
from tests.support.picture import modes, picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program
from tests.support.tools import CHECKOUT
from tests.support.users import give, user_python

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


class TestPermissions:
    def test_everything_is_as_before(self, run: Path, call: Call) -> None:
        before = picture(run)
        gitrun.lock(run)
        told = call("unlock", run)
        assert (told.code, told.err) == (0, "") and told.out.startswith("unlocked train (")
        assert picture(run) == before

    def test_every_mode_comes_back_exactly(self, users_run: Path) -> None:
        for mode in (
            0o400,
            0o404,
            0o440,
            0o444,
            0o600,
            0o606,
            0o622,
            0o640,
            0o666,
            0o700,
            0o755,
            0o777,
            0o4755,
            0o2644,
        ):
            path = users_run / f"{mode:o}"
            path.touch()
            give(path)
            path.chmod(mode)
        for mode in (0o500, 0o700, 0o755, 0o777, 0o1777, 0o2775):
            path = users_run / f"d{mode:o}"
            path.mkdir()
            give(path)
            path.chmod(mode)
        before = picture(users_run)
        assert program("lock", users_run, user=True).code == 0
        assert not [path for path, mode in modes(picture(users_run)).items() if mode & 0o222 and path != b"link"]
        assert program("unlock", users_run, user=True).code == 0
        assert picture(users_run) == before

    def test_bits_that_changed_under_the_lock_are_put_right_too(self, run: Path) -> None:
        before = picture(run)
        gitrun.lock(run)
        (run / "config.yaml").chmod(0o777)
        (run / "sub").chmod(0o700)
        gitrun.unlock(run)
        assert picture(run) == before

    def test_an_acl_comes_back(self, run: Path) -> None:
        subprocess.run(["setfacl", "-m", "u:12345:rw,m:rw", run / "config.yaml"], check=True)
        subprocess.run(["setfacl", "-d", "-m", "u:12345:rwx", run / "sub"], check=True)
        read = ["getfacl", "-R", "--absolute-names", "-n", run]
        before = subprocess.run(read, capture_output=True, check=True).stdout
        gitrun.lock(run)
        assert gitrun.verify(run, strict=True)
        gitrun.unlock(run)
        assert subprocess.run(read, capture_output=True, check=True).stdout == before

    def test_files_that_came_under_the_lock_stay_as_they_are(self, run: Path) -> None:
        gitrun.lock(run)
        loosen(run)
        (run / "new").write_text("new")
        (run / "new").chmod(0o400)
        gitrun.unlock(run)
        assert (run / "new").stat().st_mode & 0o777 == 0o400

    def test_nothing_is_changed_through_a_link_that_came_instead(self, run: Path) -> None:
        gitrun.lock(run)
        victim = run.parent / "victim"
        victim.mkdir(mode=0o500)
        (victim / "secret").write_text("theirs")
        (victim / "secret").chmod(0o400)
        loosen(run, run / "sub", run / "sub" / "deep")
        shutil.rmtree(run / "sub")
        (run / "sub").symlink_to(victim)
        (run / "config.yaml").unlink()
        (run / "config.yaml").symlink_to(victim / "secret")
        before = picture(victim)
        gitrun.unlock(run)
        assert picture(victim) == before


class TestHistory:
    def test_the_tag_goes_and_its_object_stays(self, run: Path) -> None:
        gitrun.lock(run)
        tag = git(repository_of(run), "rev-parse", "locked")
        gitrun.unlock(run)
        refs = git(repository_of(run), "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        main = git(repository_of(run), "rev-parse", "main")
        assert refs == [f"refs/gitrun/locks/1 {tag}", f"refs/heads/main {main}"]
        assert git(repository_of(run), "cat-file", "-t", "refs/gitrun/locks/1") == "tag"
        git(repository_of(run), "fsck", "--strict")

    def test_each_unlock_archives_under_the_next_number(self, run: Path) -> None:
        tags = []
        for number in range(11):
            (run / "config.yaml").write_text(str(number))
            gitrun.lock(run)
            tags.append(git(repository_of(run), "rev-parse", "locked"))
            gitrun.unlock(run)
        told = [git(repository_of(run), "rev-parse", f"refs/gitrun/locks/{n}") for n in range(1, 12)]
        assert told == tags
        assert gitrun.status(run).locks == 11

    def test_an_unlocked_run_is_locked_again(self, run: Path) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "config.yaml").write_text("new")
        assert not gitrun.lock(run).already
        assert gitrun.verify(run, strict=True)


class TestRefusals:
    @pytest.mark.parametrize("ever_locked", [True, False])
    def test_a_run_that_is_not_locked_is_3(self, run: Path, ask: Ask, ever_locked: bool) -> None:
        if ever_locked:
            gitrun.lock(run)
            gitrun.unlock(run)
        before = picture(run.parent)
        told = ask("unlock", run)
        assert (told["exit"], told["error"]["code"]) == (3, "NotLocked")
        assert picture(run.parent) == before

    def test_a_foreign_lock_file_is_never_deleted(self, run: Path, call: Call) -> None:
        (run / ".gitrun.lock").write_text("pid 17\n")
        assert call("unlock", run).code in (3, 5, 6)
        assert (run / ".gitrun.lock").read_text() == "pid 17\n"

    def test_a_git_file_that_is_not_gitruns_stays(self, run: Path) -> None:
        (run / ".git").write_text("gitdir: ../somewhere\n")
        gitrun.lock(run)
        gitrun.unlock(run)
        assert (run / ".git").read_text() == "gitdir: ../somewhere\n"

    def test_a_git_directory_that_came_instead_stays(self, run: Path) -> None:
        gitrun.lock(run)
        loosen(run)
        (run / ".git").unlink()
        subprocess.run(["git", "init", "-q", run], check=True)
        gitrun.unlock(run)
        assert (run / ".git" / "HEAD").exists()


class TestChanged:
    def test_it_works_and_says_what_had_changed(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        overwrite(run / "config.yaml", b"lr: 0.2\n")
        loosen(run)
        (run / "empty").unlink()
        (run / "new").touch()
        told = call("unlock", run)
        assert told.code == 0
        said = " ".join((told.out + told.err).split())
        assert "modified config.yaml" in said and "deleted empty" in said and "added new" in said
        assert (run / "config.yaml").read_text() == "lr: 0.2\n"

    def test_in_json(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        overwrite(run / "config.yaml", b"lr: 0.2\n")
        told = ask("unlock", run)
        assert (told["exit"], told["state"]) == (0, "unlocked")
        assert [(one["path"], one["kind"]) for one in told["differences"]] == [("config.yaml", "modified")]

    def test_the_lock_file_was_deleted(self, run: Path, ask: Ask) -> None:
        before = picture(run)
        gitrun.lock(run)
        loosen(run)
        (run / ".gitrun.lock").unlink()
        assert ask("verify", run)["exit"] == 4
        assert ask("unlock", run)["exit"] == 0
        assert modes(picture(run)) == modes(before)

    def test_the_lock_file_was_replaced(self, run: Path, ask: Ask) -> None:
        """The permissions come from what the tag vouches for, never from the working copy."""
        before = picture(run)
        gitrun.lock(run)
        data = (run / ".gitrun.lock").read_bytes()
        overwrite(run / ".gitrun.lock", data.replace(b"# f 600 ", b"# f 4777 "))
        assert ask("unlock", run)["exit"] == 0
        assert modes(picture(run)) == modes(before)

    def test_the_tag_was_deleted(self, run: Path, ask: Ask) -> None:
        before = picture(run)
        gitrun.lock(run)
        git(repository_of(run), "update-ref", "-d", "refs/tags/locked")
        told = ask("verify", run)
        assert (told["exit"], told["error"]["code"]) == (6, "TagMissing")
        assert ask("lock", run)["exit"] == 6
        assert ask("unlock", run)["exit"] == 0
        assert picture(run) == before
        assert ask("lock", run)["exit"] == 0

    def test_the_run_is_gone(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        remove(run)
        told = ask("unlock", run)
        assert told["exit"] == 0 and "gone" in told["notes"][0]
        assert not run.exists()
        gitrun.restore(run)
        assert (run / "config.yaml").read_text() == "lr: 0.1\n"

    def test_the_repository_is_gone(self, run: Path, ask: Ask) -> None:
        before = picture(run)
        gitrun.lock(run)
        shutil.rmtree(run.parent / ".gitrun")
        assert ask("status", run)["state"] == "detached"
        assert ask("unlock", run)["exit"] == 0
        assert picture(run) == before

    def test_the_record_is_damaged_and_nothing_can_be_given_back(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        sealed = modes(picture(run))
        shutil.rmtree(run.parent / ".gitrun")
        overwrite(run / ".gitrun.lock", (run / ".gitrun.lock").read_bytes()[:-9])
        told = ask("unlock", run)
        assert told["exit"] == 6 and told["error"]["path"] == str(run / ".gitrun.lock")
        assert modes(picture(run)) == sealed


def test_root_unlocks_what_a_user_locked(users_run: Path, call: Call) -> None:
    needs_root()
    before = picture(users_run)
    assert program("lock", users_run, user=True).code == 0
    assert call("unlock", users_run).code == 0
    assert picture(users_run) == before
    assert program("lock", users_run, user=True).code == 0


def test_somebody_else_cannot_unlock(users_run: Path) -> None:
    needs_root()
    assert program("lock", users_run, user=True).code == 0
    before = picture(users_run)
    other = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "env", "--"]
    words = [*other, user_python(), "-m", "gitrun", "unlock", users_run]
    told = subprocess.run(
        words, cwd="/", env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True
    )
    assert told.returncode in (5, 8) and told.stderr.startswith("gitrun: ") and "Traceback" not in told.stderr
    assert picture(users_run) == before
    assert program("verify", users_run, user=True).code == 0


def test_several_at_once(run: Path, call: Call) -> None:
    others = [fill(run.with_name(f"other-{n}")) for n in range(3)]
    for one in [run, *others[:2]]:
        gitrun.lock(one)
    told = call("unlock", "-j2", run, *others)
    assert told.code == 3 and told.out.count("unlocked") == 3 and "other-2" in told.err
    assert not [one for one in [run, *others] if (one / ".gitrun.lock").exists()]


def test_it_leaves_the_directories_times(run: Path) -> None:
    gitrun.lock(run)
    gitrun.unlock(run)
    assert os.stat(run).st_mtime_ns < 2 * 10**18
    assert os.stat(run).st_mtime_ns == 10**18 + len(list(run.rglob("*")))
