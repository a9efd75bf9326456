"""The lock file: the list, inside a locked run, of all its entries; docs/lock-file.md is its specification.

It is at once a valid `sha256sum` list and a complete record.  There is exactly one valid encoding of a record, so
`LockFile.decode(data).encode() == data` holds for every `data` that decode accepts.  This module is pure: bytes in,
values out.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gitrun.entry import DIRECTORY, FILE, LOCK_FILE, ROOT, SYMLINK, Entry
from gitrun.errors import LockFileInvalid, NewerFormat

MAJOR, MINOR = 1, 0
MAX_BYTES = 1 << 30
"""No lock file is larger (5 million entries); a larger one is refused before it is read."""

_FIRST_LINE = re.compile(r"# gitrun lock ([1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\n")
_HEADER_LINE = re.compile(r"# ([a-z][a-z0-9-]*): ([^\n\0]*)\n")
_HEADER_END = "#\n"

# One entry, two lines.  Strict enough that no second spelling of the same entry matches.
_ENTRY = re.compile(
    r"# ([fdlpscb]) (0|[1-7][0-7]{0,3}) (0|[1-9][0-9]{0,18}) (0|-?[1-9][0-9]{0,27})"
    r"(?: ([0-9a-f]{64}) (blob|lfs|none))?((?: [^ \n]+)*)\n"
    r"(?:(\\?)([0-9a-f]{64})|#)  ([^\n\r\0]+)\n"
)
_ATTRIBUTE = re.compile(r" ([a-z][a-z0-9-]*(?::[^ =\n]+)?)(?:=([^ \n]+))?")
_BAD_COMPONENT = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)")
_ONCE = frozenset(
    (
        "bytes",
        "entries",
        "files",
        "filesystem",
        "git-link",
        "immutable",
        "layout",
        "link",
        "run-id",
        "store",
        "threshold",
    )
)
"""Header keys that stand for one value each."""
_ODD_NAMES = ("-", "./-", os.fsdecode(LOCK_FILE))
_NO_NAMES = (b"", b".", b"..")
_NEEDS_ESCAPE = re.compile(r"[\\\n\r]")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPE = re.compile(r"\\(.?)")
_UNESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LockFile:
    """A record of a run.

    The constructor trusts; `decode` validates.  `entries` are sorted by path, the run directory itself first; each
    entry's parent is an entry too, a directory.
    """

    headers: tuple[tuple[str, str], ...]
    """Sorted pairs of key and value; unknown keys are kept."""
    entries: tuple[Entry, ...]
    minor: int = MINOR

    @classmethod
    def of(cls, entries: Iterable[Entry], headers: Iterable[tuple[str, str]]) -> LockFile:
        """The record of `entries` (in any order) with the counts added to `headers`."""
        ordered = tuple(sorted(entries))
        pairs = sorted([*headers, *_counts(ordered)], key=lambda pair: (pair[0], _latin(pair[1])))
        return cls(tuple(pairs), ordered)

    @classmethod
    def decode(cls, data: bytes) -> LockFile:
        """The record in `data`.

        Raises LockFileInvalid, which names the first wrong line, and NewerFormat for another major version.
        """
        text = data.decode("latin-1")
        minor, headers, start = _decode_head(text)
        entries = tuple(_decode_entries(text, start))
        if not entries or entries[0].path != ROOT or entries[0].kind != DIRECTORY:
            raise LockFileInvalid("the lock file does not begin with the run directory", hint=_HINT)
        if not set(_counts(entries)) <= set(headers):
            raise LockFileInvalid("the lock file's counts are not those of its entries: it is incomplete", hint=_HINT)
        return cls(headers, entries, minor)

    def encode(self) -> bytes:
        """The one encoding of this record."""
        parts = [f"# gitrun lock {MAJOR}.{self.minor}\n"]
        parts += [f"# {key}: {_latin(value)}\n" for key, value in self.headers]
        parts.append(_HEADER_END)
        parts += map(_encode_entry, self.entries)
        return "".join(parts).encode("latin-1")

    def header(self, key: str, default: str = "") -> str:
        """The first value of a header key."""
        return next((value for known, value in self.headers if known == key), default)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.header("run-id")

    @property
    def files(self) -> int:
        """How many regular files the run has, mutable ones included."""
        return int(self.header("files", "0"))

    @property
    def bytes(self) -> int:
        """The size of all these files together."""
        return int(self.header("bytes", "0"))


_entry = Entry._make  # half the time of calling Entry
_NO_ATTRIBUTES = Entry(b"", "", 0, 0, 0)[8:]
_HINT = "it was edited or cut short; a stored copy is in the run repository (gitrun restore)"


def decode_headers(data: bytes) -> dict[str, str]:
    """The headers alone, from the beginning of a lock file: cheap, and enough for `status`.

    Of repeated keys the first value counts.  Raises as LockFile.decode does.
    """
    _, headers, _ = _decode_head(data.decode("latin-1"))
    return dict(reversed(headers))


def _counts(entries: tuple[Entry, ...]) -> list[tuple[str, str]]:
    sizes = [entry.size for entry in entries if entry.kind == FILE]
    return [("bytes", str(sum(sizes))), ("entries", str(len(entries))), ("files", str(len(sizes)))]


def _latin(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_latin(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


# -- reading ----------------------------------------------------------------------------------------------------------


def _decode_head(text: str) -> tuple[int, tuple[tuple[str, str], ...], int]:
    first = _FIRST_LINE.match(text)
    if not first:
        raise LockFileInvalid("this is not a gitrun lock file", hint="its first line should be `# gitrun lock 1.0`")
    if int(first[1]) != MAJOR:
        raise NewerFormat(
            f"the lock file has format {first[1]}.{first[2]}, this gitrun reads {MAJOR}.x", hint="use a newer gitrun"
        )
    headers: list[tuple[str, str]] = []
    at = first.end()
    while line := _HEADER_LINE.match(text, at):
        pair = (line[1], line[2])
        if headers and (pair <= headers[-1] or (line[1] in _ONCE and line[1] == headers[-1][0])):
            raise LockFileInvalid(f"header out of order or repeated: {line[1]}", hint=_HINT)
        headers.append(pair)
        at = line.end()
    if not text.startswith(_HEADER_END, at):
        raise LockFileInvalid(f"line {_line_number(text, at)} of the lock file is not a header", hint=_HINT)
    decoded = tuple((key, _from_latin(value)) for key, value in headers)
    return int(first[2]), decoded, at + len(_HEADER_END)


def _decode_entries(text: str, at: int) -> list[Entry]:
    entries: list[Entry] = []
    directories: set[bytes] = set()
    before = ROOT
    for found in _ENTRY.finditer(text, at):
        kind, mode, size, mtime, blake3, storage, attributes, escaped, sha256, name = found.groups()
        if found.start() != at:
            break
        plain = kind == FILE and sha256 and blake3 and len(size) < 19 and len(mtime) < 20
        if plain and not (attributes or escaped or "\\" in name or name in _ODD_NAMES):
            # The common case, written out: a run may have 100,000 of them.
            path = name.encode("latin-1")
            entry = _entry((path, FILE, int(mode, 8), int(size), int(mtime), sha256, blake3, storage, *_NO_ATTRIBUTES))
        else:
            entry = _decode_entry(found)
            path = entry.path
        parent, _, last = path.rpartition(b"/")
        # A parent that is a directory has no bad components itself: it came by here.
        if entries and (path <= before or parent not in directories or last in _NO_NAMES or path[:1] == b"/"):
            raise _invalid_entry(text, at)
        if kind == DIRECTORY:
            directories.add(path)
        entries.append(entry)
        before = path
        at = found.end()
    if at != len(text):
        raise _invalid_entry(text, at)
    return entries


def _decode_entry(found: re.Match[str]) -> Entry:
    kind, mode, size, mtime, blake3, storage, attributes, escaped, sha256, name = found.groups()
    path = _decode_name(name, escaped if sha256 else None, found)
    known, extra = _decode_attributes(attributes, found) if attributes else ({}, ())
    told = str(known.pop("sha256", ""))
    entry = Entry(
        path,
        kind,
        int(mode, 8),
        int(size),
        int(mtime),
        sha256 or told,
        blake3 or "",
        storage or "",
        **known,
        extra=extra,
    )
    if not _consistent(entry, has_sum_line=bool(sha256)) or _encode_attributes(entry) != attributes:
        raise _invalid_entry(found.string, found.start())
    return entry


def _decode_name(name: str, escaped: str | None, found: re.Match[str]) -> bytes:
    """The path in a name line; `escaped` is sha256sum's leading backslash, None where the line has no sum."""
    if "\\" in name:
        if escaped == "" or any(match[1] not in _UNESCAPES for match in _UNESCAPE.finditer(name)):
            raise _invalid_entry(found.string, found.start())
        name = _UNESCAPE.sub(lambda match: _UNESCAPES[match[1]], name)
    elif escaped:
        raise _invalid_entry(found.string, found.start())
    if escaped is not None and name == "./-":
        return b"-"
    if escaped is None and name == ".":
        return ROOT
    if escaped is not None and name == "-":
        raise _invalid_entry(found.string, found.start())
    return name.encode("latin-1")


def _decode_attributes(attributes: str, found: re.Match[str]) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    known: dict[str, Any] = {}
    xattrs: list[tuple[bytes, bytes]] = []
    extra: list[tuple[str, str]] = []
    for key, value in _ATTRIBUTE.findall(attributes):
        try:
            if key.startswith("xattr:"):
                content = b"" if value == "-" else base64.b64decode(value, validate=True)
                xattrs.append((_clean(key[6:]), content))
            elif key in _DECODERS:
                field, decode = _DECODERS[key]
                known[field] = decode(value)
            else:
                extra.append((key, value))
        except (ValueError, binascii.Error):
            raise _invalid_entry(found.string, found.start()) from None
    if xattrs:
        known["xattrs"] = tuple(sorted(xattrs))
    return known, tuple(extra)


def _decode_device(value: str) -> tuple[int, int]:
    major, minor = value.split(":")
    return _small(major), _small(minor)


def _small(value: str) -> int:
    """A number that every system's types can hold."""
    number = int(value)
    if not 0 <= number < 1 << 32:
        raise ValueError(value)
    return number


def _clean(value: str) -> bytes:
    """A percent-encoded name, which cannot hold NUL."""
    name = unquote_to_bytes(value)
    if b"\0" in name:
        raise ValueError(value)
    return name


_DECODERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "created": ("created", lambda value: value == ""),
    "device": ("device", _decode_device),
    "hardlink": ("hardlink", _small),
    "mutable": ("mutable", lambda value: value == ""),
    "sha256": ("sha256", str),
    "target": ("target", _clean),
    "tree": ("tree_path", _clean),
}


def _consistent(entry: Entry, *, has_sum_line: bool) -> bool:
    """Whether the parts of an entry fit together, as those that a lock writes do."""
    is_file = entry.kind == FILE
    sizes = {FILE: entry.size < 1 << 63, SYMLINK: entry.size == len(entry.target)}
    return (
        has_sum_line == (is_file and not entry.mutable)
        and is_file == bool(entry.blake3) == bool(_SHA256.fullmatch(entry.sha256))
        and sizes.get(entry.kind, entry.size == 0)
        and -(1 << 63) <= entry.mtime_ns // 10**9 < 1 << 63
        and (entry.kind == SYMLINK) == bool(entry.target)
        and (entry.kind in "cb") == (entry.device is not None)
        and (is_file or not (entry.mutable or entry.hardlink))
        and (not entry.created or (entry.mutable and entry.size == 0))
        and entry.path != LOCK_FILE
        and (not entry.tree_path or (entry.kind in (FILE, SYMLINK) and not _BAD_COMPONENT.search(entry.tree_path)))
    )


def _line_number(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _invalid_entry(text: str, at: int) -> LockFileInvalid:
    return LockFileInvalid(f"line {_line_number(text, at)} of the lock file is not a valid entry", hint=_HINT)


# -- writing ----------------------------------------------------------------------------------------------------------


def _encode_entry(entry: Entry) -> str:
    path, kind, mode, size, mtime, sha256, blake3, storage = entry[:8]
    name = path.decode("latin-1")
    content = f" {blake3} {storage}" if blake3 else ""
    meta = f"# {kind} {mode:o} {size} {mtime}{content}{_encode_attributes(entry)}\n"
    escaped = _NEEDS_ESCAPE.sub(lambda match: _ESCAPES[match[0]], name)
    if kind != FILE or entry.mutable:
        return f"{meta}#  {escaped or '.'}\n"
    # sha256sum takes a file called `-` for its standard input.
    return (
        f"{meta}{sha256}  {'./-' if name == '-' else name}\n" if escaped == name else f"{meta}\\{sha256}  {escaped}\n"
    )


def _encode_attributes(entry: Entry) -> str:
    if entry[8:] == _NO_ATTRIBUTES:
        return ""
    told = dict(entry.extra)
    if entry.mutable:
        told["mutable"] = ""
        told["sha256"] = entry.sha256
    if entry.created:
        told["created"] = ""
    if entry.device is not None:
        told["device"] = f"{entry.device[0]}:{entry.device[1]}"
    if entry.hardlink:
        told["hardlink"] = str(entry.hardlink)
    if entry.target:
        told["target"] = _percent(entry.target)
    if entry.tree_path:
        told["tree"] = _percent(entry.tree_path)
    for name, value in entry.xattrs:
        told["xattr:" + _percent(name)] = base64.b64encode(value).decode() or "-"
    return "".join(f" {key}={told[key]}" if told[key] else f" {key}" for key in sorted(told))


def _percent(value: bytes) -> str:
    return quote_from_bytes(value, safe="/:+,@")
