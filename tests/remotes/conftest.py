"""What the tests of remotes share: a run, and two places that are two machines to it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import gitrun
from tests.ops.runs import fill
from tests.support.program import Told
from tests.support.program import gitrun as program
from tests.support.users import remove_tree


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A machine with a locked run `train`, which has what archives and plain git lose."""
    run = fill(tmp_path / "here" / "train")
    os.link(run / "config.yaml", run / "sub" / "same")
    os.setxattr(run / "config.yaml", "user.note", b"kept")
    os.mkfifo(run / "fifo")
    (run / "a\nb").write_bytes(b"odd name")
    (run / "sub" / ".git").mkdir()
    (run / "sub" / ".git" / "HEAD").write_bytes(b"ref: refs/heads/main\n")
    (run / ".gitattributes").write_bytes(b"* filter=evil\n")
    gitrun.lock(run)
    yield tmp_path / "here"
    remove_tree(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Path]:
    """Another machine, with nothing."""
    (tmp_path / "there").mkdir()
    yield tmp_path / "there"
    remove_tree(tmp_path / "there")


@pytest.fixture
def run_id(here: Path) -> str:
    return gitrun.status(here / "train").run


def change(run: Path, text: str = "lr: 0.7\n") -> str:
    """Unlocks a run, changes it, and locks it again; the new lock."""
    gitrun.unlock(run)
    (run / "config.yaml").write_text(text)
    return gitrun.lock(run).commit


def listed(remote: str | Path) -> list[dict[str, object]]:
    """What `gitrun remote --json` says."""
    told: Told = program("remote", "--json", remote)
    assert told.code == 0, told.err
    return [json.loads(line) for line in told.out.splitlines()]


def tree(run: Path) -> list[bytes]:
    """A lock file but for what says where its run lies."""
    places = (b"# store:", b"# git-link:")
    return [line for line in (run / ".gitrun.lock").read_bytes().splitlines() if not line.startswith(places)]
