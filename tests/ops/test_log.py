"""log: the history of a run, as gitrun and as stock git tell it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from gitrun.repo import RunRepo
from tests.ops.runs import copy, overwrite, remove, repository_of
from tests.support.program import Told, git
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def restarted(run: Path) -> Path:
    """A run that was locked, restarted in place, and locked again."""
    gitrun.lock(run, message="first try")
    gitrun.unlock(run)
    (run / "config.yaml").write_bytes(b"lr: 0.2\n")
    (run / "go.sh").unlink()
    (run / "new").write_bytes(b"new")
    (run / "link").unlink()
    (run / "link").symlink_to("sub/deep")
    (run / "sub" / "secret").chmod(0o640)
    gitrun.lock(run, message="second try")
    return run


def stock_git(where: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestHistory:
    def test_newest_first_as_git_has_them(self, restarted: Path) -> None:
        told = gitrun.log(restarted)
        commits = git(repository_of(restarted), "log", "--format=%H %P|%s|%an <%ae>|%at", "main").splitlines()
        lines = [
            f"{lock.commit} {' '.join(lock.parents)}|{lock.subject}|{lock.author}|{lock.locked_at}"
            for lock in told.locks
        ]
        assert lines == commits
        assert [(lock.number, lock.standing) for lock in told.locks] == [(2, True), (1, False)]
        assert (told.state, told.run) == ("locked", gitrun.status(restarted).run)

    def test_the_lock_of_a_restart_has_the_old_one_for_its_parent(self, restarted: Path) -> None:
        new, old = gitrun.log(restarted).locks
        assert new.parents == (old.commit,) and old.parents == ()
        shown = git(repository_of(restarted), "diff", "--name-status", "main~1", "main")
        ours = [line for line in shown.splitlines() if not line.endswith((".gitrun.lock", ".gitattributes"))]
        assert ours == ["M\tconfig.yaml", "D\tgo.sh", "M\tlink", "A\tnew"]
        assert git(repository_of(restarted), "show", "main~1:config.yaml") == "lr: 0.1"

    def test_what_each_lock_changed(self, restarted: Path) -> None:
        new, old = gitrun.log(restarted).locks
        assert [(change.path, change.kind) for change in new.changes] == [
            (b"config.yaml", "modified"),
            (b"go.sh", "deleted"),
            (b"link", "target"),
            (b"new", "added"),
            (b"sub/secret", "mode"),
        ]
        assert old.changes == ()

    @pytest.mark.parametrize("made", ["directory", "fifo", "symlink"])
    def test_a_file_that_became_something_else(self, run: Path, made: str) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "empty").unlink()
        {
            "directory": (run / "empty").mkdir,
            "fifo": lambda: os.mkfifo(run / "empty"),
            "symlink": lambda: (run / "empty").symlink_to("x"),
        }[made]()
        gitrun.lock(run)
        (change,) = gitrun.log(run).locks[0].changes
        assert (change.path, change.kind) == (b"empty", "type")

    def test_each_tag_is_found_by_the_ref_that_is_told(self, restarted: Path) -> None:
        for lock in gitrun.log(restarted).locks:
            assert git(repository_of(restarted), "rev-parse", f"{lock.ref}^{{commit}}") == lock.commit
        gitrun.unlock(restarted)
        assert [lock.ref for lock in gitrun.log(restarted).locks] == ["refs/gitrun/locks/2", "refs/gitrun/locks/1"]

    def test_no_more_than_wanted(self, restarted: Path) -> None:
        (only,) = gitrun.log(restarted, max_count=1).locks
        assert only == gitrun.log(restarted).locks[0]
        assert len(gitrun.log(restarted, max_count=9).locks) == 2

    def test_unlocked_since(self, restarted: Path) -> None:
        gitrun.unlock(restarted)
        told = gitrun.log(restarted)
        assert told.state == "unlocked" and not any(lock.standing for lock in told.locks)

    def test_the_run_is_gone(self, restarted: Path) -> None:
        before = gitrun.log(restarted).locks
        remove(restarted)
        told = gitrun.log(restarted)
        assert (told.state, told.locks) == ("orphaned", before)


class TestRefusals:
    def test_never_locked(self, run: Path, ask: Ask) -> None:
        told = ask("log", run)
        assert (told["exit"], told["error"]["code"]) == (3, "NotLocked")

    def test_a_copy_has_no_history(self, restarted: Path, ask: Ask) -> None:
        told = ask("log", copy(restarted, restarted.parent / "elsewhere"))
        assert (told["exit"], told["error"]["code"]) == (3, "NotLocked")

    def test_a_lock_file_that_the_commit_does_not_vouch_for(
        self, restarted: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{who}_NAME", "Mallory")
            monkeypatch.setenv(f"GIT_{who}_EMAIL", "mallory@example.org")
        repository = repository_of(restarted)
        tree = git(repository, "rev-parse", "main^{tree}")
        forged = git(repository, "commit-tree", "-p", "main~1", "-m", "no digest", tree)
        git(repository, "update-ref", "refs/heads/main", forged)
        told = ask("log", restarted)
        assert (told["exit"], told["error"]["code"]) == (6, "TagMismatch")


class TestOutput:
    def test_a_paragraph_for_each_lock(self, restarted: Path, call: Call) -> None:
        told = call("log", restarted)
        assert told.code == 0
        lines = told.out.splitlines()
        assert lines[0].endswith(": locked")
        assert lines[1].startswith("lock 2  ") and lines[1].endswith("  locked now")
        assert "1 modified, 1 deleted, 1 target, 1 added, 1 mode since lock 1" in told.out
        assert lines[4].startswith("lock 1  ") and "first try" in told.out

    def test_stat_lists_the_paths(self, restarted: Path, call: Call) -> None:
        assert "config.yaml" not in call("log", restarted).out
        told = call("log", "--stat", restarted).out
        assert "modified  config.yaml" in told and "mode      sub/secret  0600 -> 0640" in told

    def test_many_paths_are_cut_and_it_says_so(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        for number in range(50):
            (run / f"many-{number}").write_bytes(b"")
        gitrun.lock(run)
        assert "and 10 more paths" in call("log", "--stat", run).out
        assert call("log", "--stat", "-v", run).out.count("many-") == 50

    def test_json(self, restarted: Path, ask: Ask) -> None:
        told = ask("log", restarted)
        assert [lock["subject"] for lock in told["locks"]] == ["second try", "first try"]

    def test_several_runs_and_the_highest_code(self, restarted: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        told = program("log", "--json", restarted, tmp_path / "other")
        assert told.code == 3 and [one["exit"] for one in told.objects] == [0, 3]

    def test_control_characters_do_not_reach_the_terminal(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "\x1b[31mred").write_bytes(b"")
        gitrun.lock(run)
        told = call("log", "--stat", run)
        assert told.code == 0 and "\x1b" not in told.out and "red" in told.out


class TestStockGit:
    """Plain git inside the locked run, through the one-line `.git` file."""

    def test_log_show_and_diff(self, restarted: Path) -> None:
        assert stock_git(restarted, "log", "--format=%s") == "second try\nfirst try"
        assert "lr: 0.2" in stock_git(restarted, "show", "HEAD", "--", "config.yaml")
        assert "-lr: 0.1" in stock_git(restarted, "diff", "HEAD~1", "HEAD", "--", "config.yaml")
        assert stock_git(restarted / "sub", "rev-parse", "HEAD") == gitrun.log(restarted).locks[0].commit
        assert gitrun.verify(restarted, strict=True)

    def test_a_hostile_configuration_changes_no_lock(self, run: Path, tmp_path: Path) -> None:
        config = tmp_path / "config"
        config.write_text(f"[core]\n\thooksPath = {tmp_path}\n\tautocrlf = true\n[diff]\n\texternal = false\n")
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": str(config)}
        assert program("lock", run, env=environment).code == 0
        assert stock_git(run, "show", "HEAD:go.sh") == "#!/bin/sh"
        with RunRepo(os.fsencode(repository_of(run))) as repo:
            blob = repo.blobs(gitrun.log(run).locks[0].commit)[b"go.sh"]
            assert repo.read(blob, "blob") == b"#!/bin/sh\r\n"

    def test_a_forced_edit_shows_in_verify_and_not_in_log(self, restarted: Path) -> None:
        overwrite(restarted / "config.yaml", b"lr: 9.9\n")
        assert stock_git(restarted, "log", "-1", "--format=%s") == "second try"
        assert not gitrun.verify(restarted)


class TestRevisions:
    """gitrun.history: what git calls a commit, gitrun calls so too."""

    @pytest.mark.parametrize("name", ["main", "HEAD", "locked", "main~1", "HEAD^", "refs/gitrun/locks/1", "main~0"])
    def test_resolves_as_git_does(self, restarted: Path, name: str) -> None:
        from gitrun.history import resolve

        with RunRepo(os.fsencode(repository_of(restarted))) as repo:
            assert resolve(repo, name) == git(repository_of(restarted), "rev-parse", f"{name}^{{commit}}")

    def test_the_beginning_of_a_commit_id(self, restarted: Path) -> None:
        from gitrun.history import resolve

        old = gitrun.log(restarted).locks[1].commit
        with RunRepo(os.fsencode(repository_of(restarted))) as repo:
            assert resolve(repo, old[:8]) == resolve(repo, old) == old

    @pytest.mark.parametrize("name", ["main~2", "refs/gitrun/locks/7", "0000", "~99", "no such thing", "-x", ""])
    def test_what_there_is_not(self, restarted: Path, name: str) -> None:
        from gitrun.history import resolve

        with RunRepo(os.fsencode(repository_of(restarted))) as repo:
            if not name:
                assert resolve(repo, name) == gitrun.log(restarted).locks[0].commit
                return
            with pytest.raises(gitrun.NotLocked):
                resolve(repo, name)
