"""Names of a run where they could do harm: in a git tree, and on a terminal.  Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from gitrun.entry import FILE, SYMLINK

_SUSPECT = re.compile(rb"[~%\xe2\xef]|\.(?:[gG][iI]|[lL][fF]|[mM][aA])").search
"""Finds something in every path that has an unsafe component; nearly all paths end here."""

_HFS_IGNORED = re.compile(rb"\xe2\x80[\x8c-\x8f\xaa-\xae]|\xe2\x81[\xaa-\xaf]|\xef\xbb\xbf")
"""The code points, in UTF-8, that HFS+ skips in names (`next_hfs_char` in git's utf8.c)."""

# What git, git-lfs, or a file system that they may be checked out to, takes for a file that git obeys; wider than git's
# own tests (`is_hfs_dotgit` in utf8.c, `is_ntfs_dot_generic` in path.c) where that is simpler:
# - every 8.3 name that NTFS could give to one of them counts, since its hash form (`gi7eba~1`) is not known for all;
# - any byte above ASCII ends a name, since git ends it where UTF-8 breaks off (`.git\xff` is refused as `.git`).
_SHORT = rb"(?:g(?:i\w{0,4})?|l(?:f\w{0,4})?|m(?:a\w{0,4})?)?~[1-9][0-9]{0,6}"
_DISGUISE = rb"(?:^|\\)(?:\.(?:git|gitmodules|gitattributes|lfsconfig|mailmap%b)|%b)(?:[ .]*(?:\Z|[:\\])|[\x80-\xff])"
_OBEYED = re.compile(_DISGUISE % (b"", _SHORT), re.IGNORECASE).search
_OBEYED_OR_IGNORE_FILE = re.compile(_DISGUISE % (b"|gitignore", _SHORT), re.IGNORECASE).search

_SAFE_NAME = re.compile(rb"(?:[0-9A-Za-z]|%[0-9A-F]{2})+").fullmatch


def tree_path(path: bytes, kind: str = FILE) -> bytes:
    """Where the entry at `path` lies in the git tree: at `path` itself, but for components that git would trip over.

    A component is unsafe when git cannot hold it or would obey it: `.git`, `.gitmodules`, `.gitattributes`,
    `.lfsconfig` and `.mailmap` in every case and every HFS+ or NTFS disguise, and `.gitignore` as a symlink.  In its
    place stands its safe name: every byte but ASCII letters and digits percent-encoded, as in `%2Egit`.  A component
    that is itself such a safe name (`%2Egit`) is encoded again, so that the law holds:

        tree_path(a, kind_a) == tree_path(b, kind_b) only if a == b.

    `kind` is that of the last component, as in `entry.py`; all others are directories.
    A name that is not ASCII letters and digits grows to three times its length, so that a disguise longer than 85
    bytes (`.git:…`) may lie under a name that no file system takes: git keeps it, but cannot check it out.
    """
    if not _SUSPECT(path):
        return path
    parent, slash, name = path.rpartition(b"/")
    parents = b"/".join([_safe(part, FILE) for part in parent.split(b"/")])
    return parents + slash + _safe(name, kind)


@lru_cache(maxsize=4096)
def _safe(name: bytes, kind: str) -> bytes:
    unsafe = _is_unsafe(name, kind) or _is_taken(name)
    return _percent_encode(name) if unsafe else name


def _is_unsafe(name: bytes, kind: str) -> bool:
    obeyed = _OBEYED_OR_IGNORE_FILE if kind == SYMLINK else _OBEYED
    return obeyed(_HFS_IGNORED.sub(b"", name)) is not None


def _is_taken(name: bytes) -> bool:
    """Whether `name` is the safe name of an unsafe name, or of a name so encoded, at any depth."""
    while b"%" in name and _SAFE_NAME(name):
        inner = _percent_decode(name)
        if _percent_encode(inner) != name:
            return False
        if _is_unsafe(inner, SYMLINK):
            return True
        name = inner
    return False


def _percent_encode(name: bytes) -> bytes:
    return re.sub(rb"[^0-9A-Za-z]", lambda match: b"%%%02X" % ord(match[0]), name)


def _percent_decode(name: bytes) -> bytes:
    return re.sub(rb"%([0-9A-F]{2})", lambda match: bytes.fromhex(match[1].decode()), name)


# Characters without ink that `str.isprintable` lets through: fillers, and selectors of a variant of their neighbour.
_INKLESS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0" + "".join(
    map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
)
_HAS_INKLESS = re.compile(f"[{_INKLESS}]").search
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def display(path: bytes) -> str:
    r"""`path` for people: on one line, and safe to print; two paths never look the same.

    Printable characters stay.  A backslash is doubled, always.  What has no ink or moves other text becomes an escape:
    `\n`, `\r`, `\t`; `\x1b` for other ASCII control characters; `\u202e` or `\U000e0001` for Unicode controls,
    direction marks, zero-width and unassigned characters and spaces other than the plain one; `\xff` for bytes that
    are not UTF-8.
    """
    return display_text(path.decode("utf-8", "surrogateescape").replace("\\", "\\\\"))


def display_text(text: str) -> str:
    """`text`, such as a message or a label, made safe to print as `display` does, except that backslashes stay.

    Applied twice it changes nothing more, so that messages which quote a displayed path may pass through it.
    """
    if text.isprintable() and not _HAS_INKLESS(text):
        return text
    return "".join([char if char.isprintable() and char not in _INKLESS else _escape(char) for char in text])


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's stand-in for a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return _ESCAPES.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
