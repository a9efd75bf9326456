"""Reading the small text files that tools leave in a run: bounded, never blocking, never through a link.

Nothing here knows YAML.  Of the scalars that fit on a line it knows what PyYAML's `safe_dump` writes, so that a label
shows as people wrote it; whatever else stands in such a file comes out as the text it is.
"""

from __future__ import annotations

import os
import re
import stat

LINE_LIMIT = 300
"""Characters that a line for people may have."""

_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|\r?\n[ \t]*|.)", re.DOTALL)
_ESCAPED = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"}
_ESCAPED |= {"N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}


def read_start(path: str, limit: int) -> bytes | None:
    """The first `limit` bytes of the regular file `path`; None where there is none or it cannot be read.

    A symlink, FIFO, device or directory under that name is no regular file, and none of them is waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, limit) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def one_line(text: str) -> str:
    """`text` as one line of at most LINE_LIMIT characters, without control characters."""
    line = _BLANKS.sub(" ", text).strip()
    return line if len(line) <= LINE_LIMIT else line[: LINE_LIMIT - 1] + "…"


def scalar(data: bytes) -> str:
    """The text of the YAML scalar in `data`, on one line; empty for null and for an empty file."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    text = text.removesuffix("\n...").rstrip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return one_line(_ESCAPE.sub(_unescape, text[1:-1]))
    if len(text) > 1 and text[0] == text[-1] == "'":
        return one_line(text[1:-1].replace("''", "'"))
    return "" if text in ("null", "~") else one_line(text)


def _unescape(match: re.Match[str]) -> str:
    """What one backslash escape of a double-quoted scalar stands for; a folded line stands for nothing."""
    code = match[1]
    if len(code) > 1 and code[0] in "xuU":
        point = int(code[1:], 16)
        # A lone surrogate cannot be printed, and a number above the last one is no character.
        return chr(point) if point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF else "\ufffd"
    return "" if "\n" in code else _ESCAPED.get(code, code)
