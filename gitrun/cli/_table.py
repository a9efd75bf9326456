"""A table that fits the terminal: it gives up columns, the least important first, before it breaks a line.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gitrun.cli._units import cells, padded, shortened

_GAP = 2


class Column(NamedTuple):
    """One column of a table."""

    title: str
    right: bool = False
    """Numbers stand on the right."""
    weight: int = 9
    """The lightest goes first where the table is too wide; 9 stays whatever happens."""
    flexible: int = 0
    """Above 0: the column may be cut down to so many cells."""


def layout(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The lines of the table, the titles first, each as its padded cells; `width` 0 means no limit.

    Joined by two spaces, no line is wider than `width`.
    """
    table = [[column.title for column in columns], *rows]
    kept = _kept(columns, [max(cells(row[n]) for row in table) for n in range(len(columns))], width)
    return [_line(row, columns, kept) for row in table]


def _kept(columns: Sequence[Column], widths: list[int], width: int) -> dict[int, int]:
    """Which columns are shown, and how wide."""
    kept = dict(enumerate(widths))
    if not width:
        return kept
    while (excess := _total(kept) - width) > 0:
        flexible = [n for n in kept if columns[n].flexible and kept[n] > columns[n].flexible]
        if flexible and _total(kept) - sum(kept[n] - columns[n].flexible for n in flexible) <= width:
            kept[flexible[-1]] = max(columns[flexible[-1]].flexible, kept[flexible[-1]] - excess)
            continue
        lightest = min(kept, key=lambda n: columns[n].weight)
        if columns[lightest].weight == 9:
            return _cut(kept, width)
        del kept[lightest]
    return kept


def _cut(kept: dict[int, int], width: int) -> dict[int, int]:
    """Columns that no terminal should be too narrow for, on one that is: from the left, as far as they go."""
    shown: dict[int, int] = {}
    for n, wanted in kept.items():
        rest = width - (_total(shown) + _GAP if shown else 0)
        if rest > 0:
            shown[n] = min(wanted, rest)
    return shown


def _total(kept: dict[int, int]) -> int:
    return sum(kept.values()) + _GAP * (len(kept) - 1)


def _line(row: Sequence[str], columns: Sequence[Column], kept: dict[int, int]) -> list[str]:
    last = max(kept)
    line = [padded(shortened(row[n], width), width, right=columns[n].right) for n, width in kept.items()]
    if not columns[last].right:
        line[-1] = line[-1].rstrip()
    return line
