"""docs/bad-input.md names tests that are there, and every numbered test has its row."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, page

ROWS = re.findall(r"^\| (\d+) \| (.*) \| (.*) \| (.*) \|$", page("bad-input.md"), re.MULTILINE)
NUMBERED = re.compile(r"def test_[a-h]?(\d{2,3})_")


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_its_test_or_says_why_there_is_none(row: tuple[str, ...]) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)\*`", row[3])
    assert named or row[3].startswith("No test")
    for file, beginning in named:
        assert f"def {beginning}" in (ROOT / "tests" / file).read_text(), beginning


def test_the_numbers_are_sorted_and_stand_once() -> None:
    numbers = [int(row[0]) for row in ROWS]
    assert numbers == sorted(set(numbers)) and len(numbers) > 80


def test_every_numbered_test_has_a_row() -> None:
    sources = [*(ROOT / "tests" / "badinput").glob("test_*.py"), *(ROOT / "tests" / "ops").glob("test_*.py")]
    numbers = {int(number) for path in sources for number in NUMBERED.findall(path.read_text())}
    assert numbers <= {int(row[0]) for row in ROWS}
