"""The plain layout: it knows nothing, and says so."""

from __future__ import annotations

from pathlib import Path

from gitrun.layouts import detect, plain
from tests.layouts.runs import make_guild, make_plain


def test_it_takes_any_directory(tmp_path: Path) -> None:
    assert detect(make_plain(tmp_path)) is plain
    assert detect(tmp_path) is plain


def test_it_leaves_the_runs_of_a_tool_to_their_layout(tmp_path: Path) -> None:
    assert detect(make_guild(tmp_path)) is not plain


def test_a_directory_of_runs_is_not_a_run_of_their_tool(tmp_path: Path) -> None:
    make_guild(tmp_path)
    assert detect(tmp_path) is plain


def test_nothing_is_mutable_and_nothing_says_that_it_is_active(tmp_path: Path) -> None:
    run = make_plain(tmp_path)
    assert plain.mutable(run) == frozenset()
    assert plain.activity(run) is None


def test_it_has_neither_id_nor_label(tmp_path: Path) -> None:
    run = make_plain(tmp_path)
    assert plain.run_id(run) is None
    assert plain.label(run) == ""
