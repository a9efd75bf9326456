"""Names that another system could not hold, or would take for another one.  Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_LONGEST = 255


def portability(paths: Iterable[bytes]) -> Iterator[tuple[bytes, str]]:
    """Each path, of one run, that Windows or macOS would not keep as it is, and why."""
    seen: dict[str, bytes] = {}
    for path in sorted(paths):
        why = _why(path.rpartition(b"/")[2])
        folded = unicodedata.normalize("NFC", path.decode("utf-8", "surrogateescape")).casefold()
        twin = seen.setdefault(folded, path)
        if twin != path:
            why = why or f"Windows and macOS take it for {twin.decode('utf-8', 'backslashreplace')}"
        if why:
            yield path, why


def _why(name: bytes) -> str:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8, which macOS and Windows want"
    if _DEVICE.fullmatch(text):
        return "it is the name of a device on Windows"
    if text.endswith((".", " ")):
        return "Windows drops a dot or a blank at the end"
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        return f"Windows has no {forbidden[0]!r} in names"
    return f"longer than {_LONGEST} UTF-16 units" if len(text.encode("utf-16-le")) // 2 > _LONGEST else ""
