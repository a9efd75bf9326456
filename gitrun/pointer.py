"""git-lfs pointers, version 1: what stands in the git tree for a large file.  Pure.

A pointer has exactly one valid encoding, the canonical one.  An empty file is its own pointer: git-lfs encodes size 0
as no bytes at all, so that an empty file is stored as the empty blob and never as an LFS object.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gitrun.errors import RecordError

SIZE_LIMIT = 1024
"""Every pointer is shorter; git-lfs takes nothing of this size or more for one."""

EMPTY_OID = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_MAX_SIZE = 2**63 - 1
_CANONICAL = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([1-9][0-9]{0,18})\n"
)

# Follows `decodeKVData` in git-lfs's lfs/pointer.go, and is a little wider.
_EXTENSIONS = r"(?:ext-[0-9]-\w[^\n]*\n\s*)*"
_LENIENT = re.compile(
    rf"""{_EXTENSIONS}
    version[ ](?:https://git-lfs\.github\.com/spec/v1|https://hawser\.github\.com/spec/v1|http://git-media\.io/v/2)\s+
    {_EXTENSIONS} oid[ ]sha256:[0-9a-f]{{64}}\s+
    {_EXTENSIONS} size[ ](?:\+?([0-9]+)|-0+)""",
    re.VERBOSE | re.ASCII,
)


class PointerInvalid(RecordError):
    """A stored pointer does not follow its format."""


class Pointer(NamedTuple):
    """The content that a pointer stands for."""

    oid: str
    """SHA-256 of the content, lower-case hex."""
    size: int
    """Bytes of the content."""

    def encode(self) -> bytes:
        """The canonical pointer, less than SIZE_LIMIT bytes; nothing for an empty file."""
        if not self.size:
            return b""
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (self.oid.encode(), self.size)

    @classmethod
    def decode(cls, data: bytes) -> Pointer:
        """What `encode` made `data` from.  Raises PointerInvalid for everything that is not canonical."""
        if not data:
            return cls(EMPTY_OID, 0)
        match = _CANONICAL.fullmatch(data)
        if not match or int(match[2]) > _MAX_SIZE:
            raise PointerInvalid("this is not a canonical git-lfs pointer")
        return cls(match[1].decode(), int(match[2]))


def resembles_pointer(data: bytes) -> bool:
    """Whether git-lfs could take a file with the content `data` for a pointer: such a file must become an LFS object.

    git-lfs reads leniently: blanks around, CRLF, empty lines, no final newline, signs and zeros before the size, old
    names of the format, extensions.  May be true where git-lfs says no, never the other way round, except for an empty
    file, which is the same with and without git-lfs.
    """
    if len(data) >= SIZE_LIMIT or b"oid sha256:" not in data:
        return False
    # Go's blanks are Unicode's; `str.strip` removes these, and four more.
    match = _LENIENT.fullmatch(data.decode("utf-8", "surrogateescape").strip())
    return match is not None and int(match[1] or 0) <= _MAX_SIZE
