"""Numbers, times and names as people read them.  Pure."""

from __future__ import annotations

import re
import time

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_AGES = ((60, 60, "min"), (3600, 24, "h"), (86400, 31, "d"))
_SHORT_ID = 8


def human_size(size: int) -> str:
    """`512 B`, `1.2 GiB`, `340 MiB`: powers of 1024, two or three digits."""
    value, unit = float(size), 0
    # 1023.7 would print as 1024: it belongs to the next unit.
    while value >= (1024 if unit == 0 else 999.5) and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 99.95 else f"{value:.0f} {_UNITS[unit]}"


def counted(number: int, noun: str) -> str:
    """`1 file`, `10,000 files`, `2 entries`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def human_age(then: int, now: float) -> str:
    """`3 s ago`, `5 min ago`, `2 h ago`, `12 d ago`, and the date from a month on; `-` for no time at all."""
    if not then:
        return "-"
    age = int(now) - then
    if age < 0:  # the clock was set back, or another machine's is ahead
        return human_time(then)[:10]
    if age < 60:
        return f"{age} s ago"
    for seconds, limit, unit in _AGES:
        if age // seconds < limit:
            return f"{age // seconds} {unit} ago"
    return human_time(then)[:10]


def human_time(then: int) -> str:
    """Local date and time, `2026-01-31 08:15`; `-` for no time at all."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(then)) if then else "-"
    except (OverflowError, ValueError, OSError):
        return str(then)


def short_id(run_id: str) -> str:
    """What tells a run from others at a glance: the first 8 digits of a tool's id, the last 8 of one that gitrun made."""
    made = re.fullmatch(r".*-([0-9a-f]{8})", run_id, re.DOTALL)
    return made[1] if made else run_id[:_SHORT_ID]


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in text)


def shortened(text: str, width: int) -> str:
    """`text`, cut so that it takes no more than `width` columns; the cut shows as two dots."""
    if cells(text) <= width:
        return text
    dots = ".." if width > 4 else ""
    kept = text
    while kept and cells(kept) > width - len(dots):
        kept = kept[:-1]
    return kept + dots


def padded(text: str, width: int, *, right: bool = False) -> str:
    """`text` with spaces up to `width` columns, before it when `right`."""
    space = " " * (width - cells(text))
    return space + text if right else text + space
