"""A run for each test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An empty run in a directory of its own."""
    directory = tmp_path / "place" / "run"
    directory.mkdir(parents=True)
    return directory
