from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitrun.cli._units import cells, counted, human_age, human_size, human_time, padded, short_id, shortened


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (102_300, "99.9 KiB"),
        (102_400, "100 KiB"),
        (1_023_000, "999 KiB"),
        (1_048_575, "1.0 MiB"),
        (3_250_585, "3.1 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (1 << 62, "4.0 EiB"),
        (1 << 74, "16384 EiB"),
    ],
)
def test_sizes(size: int, told: str) -> None:
    assert human_size(size) == told


@given(st.integers(0, 1 << 60))
def test_sizes_are_short(size: int) -> None:
    assert len(human_size(size)) <= len("1023 KiB")


@pytest.mark.parametrize(("number", "told"), [(0, "0 files"), (1, "1 file"), (10_000, "10,000 files")])
def test_counts(number: int, told: str) -> None:
    assert counted(number, "file") == told


def test_counts_of_entries() -> None:
    assert [counted(1, "entry"), counted(2, "entry")] == ["1 entry", "2 entries"]


NOW = 1_790_000_000


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (0, "0 s ago"),
        (3, "3 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 d ago"),
        (30 * 86_400, "30 d ago"),
    ],
)
def test_ages(age: int, told: str) -> None:
    assert human_age(NOW - age, NOW + 0.5) == told


def test_far_and_future_times_are_dates() -> None:
    old = NOW - 40 * 86_400
    assert human_age(old, NOW) == time.strftime("%Y-%m-%d", time.localtime(old))
    assert human_age(NOW + 60, NOW) == time.strftime("%Y-%m-%d", time.localtime(NOW + 60))


def test_no_time_at_all() -> None:
    assert (human_age(0, NOW), human_time(0)) == ("-", "-")


def test_a_time_beyond_all_calendars() -> None:
    assert human_time(1 << 70) == str(1 << 70)


@pytest.mark.parametrize(
    ("run_id", "told"),
    [
        ("3f2a1b4c" + "0" * 24, "3f2a1b4c"),
        ("train-lr-0.1-89abcdef", "89abcdef"),
        ("short", "short"),
        ("", ""),
    ],
)
def test_short_ids(run_id: str, told: str) -> None:
    assert short_id(run_id) == told


@given(st.text(st.characters(exclude_categories=("C", "M"))), st.integers(1, 40))
def test_shortened_and_padded_text_fits_exactly(text: str, width: int) -> None:
    cut = shortened(text, width)
    assert cells(cut) <= width
    assert cells(padded(cut, width)) == width
    assert text.startswith(cut) or cut.endswith("..")


def test_wide_characters_take_two_cells() -> None:
    assert cells("試行") == 4
    assert shortened("試行試行試行", 7) == "試行.."
