"""A run for each test, and what its user may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.users import give


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An empty run in a directory of its own."""
    directory = tmp_path / "place" / "run"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def user_run(shared_tmp: Path) -> Path:
    """As `run`, of the user whom `as_user` plays and whom permission bits bind; `give` what is put there."""
    directory = shared_tmp / "run"
    directory.mkdir()
    give(directory)
    return directory
