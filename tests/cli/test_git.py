"""`gitrun git`: git on the run's repository, and nothing that somebody put there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitrun.cli._git import become_git, git_environment
from gitrun.errors import RecordError, ToolFailed


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    bare = tmp_path / "run.git"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    return bare


def git(repository: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = "import os, sys; from gitrun.cli._git import become_git; "
    program += "become_git(os.fsencode(sys.argv[1]), sys.argv[2:], os.environ)"
    command = [sys.executable, "-c", program, str(repository), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_git_works_on_the_repository_wherever_it_is_called(repository: Path, tmp_path: Path) -> None:
    other = {"GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/", "GIT_INDEX_FILE": "/x", "GIT_OBJECT_DIRECTORY": "/y"}
    done = git(repository, "rev-parse", "--absolute-git-dir", "--is-bare-repository", **other)
    assert done.stdout.split() == [str(repository), "true"]


def test_the_exit_code_is_git_s(repository: Path) -> None:
    assert git(repository, "rev-parse", "--verify", "-q", "nothing").returncode == 1


def test_hooks_do_not_run(repository: Path) -> None:
    assert git(repository, "config", "core.hooksPath").stdout.strip() == "/dev/null"


@pytest.mark.parametrize(
    "key",
    ["core.pager", "core.fsmonitor", "core.hooksPath", "alias.log", "filter.x.clean", "include.path", "core.sshCommand",
     "diff.external", "core.worktree", "remote.origin.uploadpack", "extensions.worktreeConfig", "CORE.PAGER"],
)  # fmt: skip
def test_configuration_that_runs_something_is_refused(key: str, repository: Path) -> None:
    subprocess.run(["git", "--git-dir", repository, "config", key, "touch /tmp/owned"], check=True)
    with pytest.raises(RecordError):
        become_git(bytes(repository), ["log"], os.environ)


def test_remotes_and_branches_are_welcome(repository: Path) -> None:
    assert git(repository, "remote", "add", "origin", "/elsewhere").returncode == 0
    assert git(repository, "remote").stdout == "origin\n"


def test_no_git(repository: Path) -> None:
    with pytest.raises(ToolFailed, match="not installed"):
        become_git(bytes(repository), ["log"], {"PATH": "/nowhere:.:"})


def test_the_users_own_wishes_stay() -> None:
    environment = git_environment(
        b"/r.git", {"GIT_PAGER": "cat", "GIT_DIR": "/x", "GIT_CONFIG_PARAMETERS": "x", "A": "b"}
    )
    assert environment["GIT_PAGER"] == "cat"
    assert environment["GIT_DIR"] == "/r.git"
    assert environment["A"] == "b"
    assert "GIT_CONFIG_PARAMETERS" not in environment
