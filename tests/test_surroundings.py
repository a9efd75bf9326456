"""The promises of `conftest.py` and `support/users.py`, without which other tests would prove nothing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.support.users import UID, as_user, remove_tree, user_python


def test_no_configuration_of_the_machine_reaches_git(hermetic: Path) -> None:
    listed = subprocess.run(["git", "config", "--list", "--show-origin"], capture_output=True, text=True, cwd=hermetic)
    assert listed.stdout == ""
    assert not [name for name in os.environ if name.startswith(("GUILD_", "GIT_DIR", "GITRUN_STORE"))]


def test_home_is_empty_and_time_is_utc(hermetic: Path) -> None:
    assert Path.home() == hermetic
    assert list(hermetic.iterdir()) == []
    assert time.localtime(0).tm_hour == 0


def test_the_user_is_not_root_and_permissions_bind_them(shared_tmp: Path) -> None:
    assert UID != 0
    told = as_user(
        ["sh", "-c", "id -u; touch a && chmod 400 a && echo x > a"], cwd=shared_tmp, capture_output=True, text=True
    )
    assert told.stdout.split() == [str(UID)]
    assert "denied" in told.stderr


def test_the_user_cannot_start_what_only_root_can_reach(tmp_path: Path) -> None:
    tool = tmp_path / "closed" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho started\n")
    tool.chmod(0o755)
    tool.parent.chmod(0o600)
    told = as_user([tool], capture_output=True, text=True) if os.geteuid() == 0 else None
    assert told is None or (told.returncode, told.stdout) == (126, "")
    tool.parent.chmod(0o700)


def test_the_user_has_a_python_with_gitrun(shared_tmp: Path) -> None:
    told = as_user(
        [user_python(), "-c", "import gitrun; print(gitrun.__version__)"], cwd=shared_tmp, capture_output=True
    )
    assert told.returncode == 0, told.stderr


def test_a_tree_is_removed_whatever_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "run" / "a" / "b").mkdir(parents=True)
    (tmp_path / "run" / "outside").symlink_to(tmp_path)
    for path in ("run/a/b", "run/a", "run"):
        (tmp_path / path).chmod(0)
    remove_tree(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
