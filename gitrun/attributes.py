"""The `.gitattributes` at the top of a run's tree: which files git-lfs has to fetch.  Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

_LARGE = b" filter=lfs diff=lfs merge=lfs -text\n"
_SMALL = b" !filter !diff !merge\n"

# git ignores lines of 2048 bytes and more, and `git fsck` refuses them; the newline does not count.
_LINE_LIMIT = 2048
_ROOM = _LINE_LIMIT - len(b'"/"' + _LARGE)

_PLAIN = re.compile(rb"[!#-~]*").fullmatch


class _Pattern(NamedTuple):
    text: bytes
    reach: bytes | None
    """The pattern also matches files of the same name below this directory (with its slash); None: it does not."""


def gitattributes(large: Iterable[bytes], small: Iterable[bytes] = ()) -> bytes:
    """The content of `.gitattributes`: nothing is text, and the files `large` are git-lfs's.

    `large` and `small` are tree paths: of the files that are stored as pointers, and of all other regular files.  Each
    large file has one line, in the order of the bytes of its path, with a pattern that matches it alone.  The result
    is ASCII: other bytes, blanks and control characters are quoted as C strings, as git does.

    Two patterns match more, and a small file that they catch gets a line of its own that takes it out again:
    - git-lfs before 3.4 takes `/name` for `name` at any depth, so that its fsck misses a pointer there;
    - where quoting brings a path over 2 kB, `/first/directories/**/name` stands for it.  (Its own line may then be too
      long for the small one too.  That is left: git checks it out right, and only `git lfs fsck` complains.)
    git reads no more than 100 MiB of it, about a million large files.
    """
    patterns = [(path, _pattern(path)) for path in sorted(large)]
    reaches: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for path, pattern in patterns:
        if pattern.reach is not None:
            reaches[_name(path)].append(pattern.reach)
    caught = sorted(path for path in small if any(path.startswith(reach) for reach in reaches.get(_name(path), ())))
    exceptions = [pattern for pattern in map(_pattern, caught) if b"**" not in pattern.text]
    lines = [pattern.text + _LARGE for _, pattern in patterns] + [pattern.text + _SMALL for pattern in exceptions]
    return b"* -text\n" + b"".join(lines)


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _pattern(path: bytes) -> _Pattern:
    plain = _PLAIN(path) is not None
    parts = re.sub(rb"[*?[\\]", rb"\\\g<0>", path).split(b"/")
    if not plain:
        parts = [_c_quote(part) for part in parts]
    kept = _parents_with_room(parts)
    reach: bytes | None = None
    if kept < len(parts) - 1 or not kept:
        reach = b"".join([part + b"/" for part in path.split(b"/")[:kept]])
    if kept < len(parts) - 1:
        parts[kept:-1] = [b"**"]
    text = b"/" + b"/".join(parts)
    return _Pattern(text if plain else b'"%b"' % text, reach)


def _parents_with_room(parts: list[bytes]) -> int:
    """How many of the parents in `parts` fit into a line before the name: all, or fewer and `**`."""
    *parents, name = parts
    ends = list(accumulate(len(parent) + 1 for parent in parents))
    if not ends or ends[-1] + len(name) <= _ROOM:
        return len(parents)
    return bisect_right(ends, _ROOM - len(b"**/" + name))


def _c_quote(text: bytes) -> bytes:
    return re.sub(rb'["\\]|[^ -~]', _c_escape, text)


def _c_escape(match: re.Match[bytes]) -> bytes:
    byte = match[0]
    return b"\\" + byte if byte in b'"\\' else b"\\%03o" % ord(byte)
