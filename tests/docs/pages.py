"""The pages in docs/, as tests take them apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def block(text: str, mark: str) -> str:
    """The code block that follows the comment `<!-- MARK -->`."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```[a-z]*\n(.*?)```\n", text, re.DOTALL)
    assert found, f"no block {mark!r}"
    return found[1]


def table(text: str, mark: str) -> list[list[str]]:
    """The rows, without the head, of the table that follows the comment `<!-- MARK -->`."""
    _, found, rest = text.partition(f"<!-- {mark} -->\n")
    assert found, f"no table {mark!r}"
    lines = re.match(r"(?:\|.*\n)+", rest)
    assert lines, f"no rows after {mark!r}"
    return [_cells(line) for line in lines[0].splitlines()[2:]]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def first_words(rows: list[list[str]]) -> Iterator[str]:
    """What the first cell of each row has in code quotes."""
    for row in rows:
        yield from re.findall(r"`([^`]+)`", row[0])


def without_code(text: str) -> str:
    """A page without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
