from __future__ import annotations

import pytest

from gitrun.cli._table import layout
from gitrun.cli._units import cells
from gitrun.cli.cmd_status import _COLUMNS

ROWS = [
    ["3f2a1b4c", "locked", "5 min ago", "61", "3.1 MiB", "train lr=0.1 batch-size=32 dropout=0.25 epochs=100"],
    ["89abcdef", "interrupted", "-", "1,000,000", "340 GiB", "試行" * 20],
    ["-", "locked+modified", "2026-01-31", "-", "-", "x"],
]


@pytest.mark.parametrize("width", [200, 132, 100, 80, 60, 40, 30, 20, 12, 5, 1])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for line in layout(_COLUMNS, ROWS, width):
        assert cells("  ".join(line)) <= width


def test_at_80_columns_everything_is_there() -> None:
    titles, *rows = layout(_COLUMNS, ROWS, 80)
    assert [title.strip() for title in titles] == ["ID", "STATE", "LOCKED", "FILES", "SIZE", "LABEL"]
    assert rows[0][:2] == ["3f2a1b4c", "locked         "]
    assert rows[0][-1].endswith("..")


def test_at_40_columns_the_label_is_worth_more_than_numbers() -> None:
    titles, first, *_ = layout(_COLUMNS, ROWS, 40)
    assert [title.strip() for title in titles] == ["ID", "STATE", "LABEL"]
    assert first[-1].startswith("train lr")


def test_at_20_columns_id_and_state_remain() -> None:
    assert layout(_COLUMNS, ROWS, 20)[1] == ["3f2a1b4c", "locked"]


def test_without_a_terminal_nothing_is_cut() -> None:
    assert layout(_COLUMNS, ROWS, 0)[1][-1] == ROWS[0][-1]


def test_columns_are_aligned() -> None:
    lines = ["  ".join(line) for line in layout(_COLUMNS, ROWS[:1], 0)]
    assert lines == [
        "ID        STATE   LOCKED     FILES     SIZE  LABEL",
        f"3f2a1b4c  locked  5 min ago     61  3.1 MiB  {ROWS[0][-1]}",
    ]
