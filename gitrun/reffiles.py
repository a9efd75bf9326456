"""Reads the refs of a run repository as they lie on the disk: for `fsck`, since git and libgit2 give up at the first bad one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from gitrun.fsio import read_file, write_file
from gitrun.refs import packed_refs

_LIMIT = 1 << 26
_VALUE = re.compile(rb"([0-9a-f]{40})\n?")
_SYMBOLIC = re.compile(rb"ref: refs/[^\n]+\n?")
_PACKED = re.compile(rb"([0-9a-f]{40}) (refs/[^\n\0]+)")
_PEELED = re.compile(rb"\^[0-9a-f]{40}")
HEAD = b"ref: refs/heads/main\n"


@dataclass(slots=True)
class Refs:
    """The refs of a repository, HEAD not among them."""

    good: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """What is wrong with each ref that leads nowhere."""
    packed_damaged: bool = False
    head_fault: str = ""


def read_refs(repository: bytes) -> Refs:
    """All refs; raises OSError only where a directory cannot be listed."""
    refs = Refs()
    _read_packed(repository, refs)
    top = os.path.join(repository, b"refs")
    for directory, names, files in os.walk(top, onerror=_raise_unless_gone):
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            if not name.startswith(b".") and not name.endswith(b".lock"):
                _read_loose(os.path.join(directory, name), repository, refs)
    refs.head_fault = _head_fault(os.path.join(repository, b"HEAD"))
    return refs


def _read_loose(path: bytes, repository: bytes, refs: Refs) -> None:
    name = os.fsdecode(os.path.relpath(path, repository))
    data, fault = _content(path)
    found = _VALUE.fullmatch(data)
    if found:
        refs.good[name] = found[1].decode()
    elif fault or not _SYMBOLIC.fullmatch(data):
        refs.good.pop(name, None)
        refs.broken[name] = fault or ("it holds no object id" if data else "it is empty")


def _content(path: bytes) -> tuple[bytes, str]:
    """What a small file holds, or why that cannot be told."""
    try:
        data = read_file(path, 4096)
    except OSError as error:
        return b"", f"it cannot be read: {error.strerror}"
    return (b"", "it is no regular file") if data is None else (data, "")


def _read_packed(repository: bytes, refs: Refs) -> None:
    path = os.path.join(repository, b"packed-refs")
    if not os.path.lexists(path):
        return
    data = read_file(path, _LIMIT)
    refs.packed_damaged = data is None
    for line in (data or b"").splitlines():
        found = _PACKED.fullmatch(line)
        if found:
            refs.good[os.fsdecode(found[2])] = found[1].decode()
        elif not line.startswith(b"#") and not _PEELED.fullmatch(line):
            refs.packed_damaged = True


def rewrite_packed(repository: bytes) -> None:
    """Drops the lines that are no refs from the file of packed refs."""
    refs = packed_refs(repository)
    lines = [f"{refs[name]} {name}\n" for name in sorted(refs)]
    write_file(os.path.join(repository, b"packed-refs"), os.fsencode("".join(lines)))


def _head_fault(path: bytes) -> str:
    if not os.path.lexists(path):
        return "it is missing"
    data, fault = _content(path)
    good = _SYMBOLIC.fullmatch(data) or _VALUE.fullmatch(data)
    return "" if good else fault or ("it is not a ref" if data else "it is empty")


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
