"""Pictures of directories: what must be the same before and after."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple


class Seen(NamedTuple):
    """One entry of a directory."""

    kind: int
    mode: int
    content: str
    """SHA-256 of a file's bytes, target of a symlink."""
    mtime_ns: int
    owner: tuple[int, int]


Picture = dict[bytes, Seen]


def picture(top: Path) -> Picture:
    """Every entry below `top`, and itself as b"."."""
    root = os.fsencode(top)
    found = {b".": _seen(root)}
    for directory, names, files in os.walk(root, onerror=_fail):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, root)] = _seen(path)
    return found


def _fail(error: OSError) -> None:
    raise error


def _seen(path: bytes) -> Seen:
    it = os.lstat(path)
    content = ""
    if stat.S_ISREG(it.st_mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    elif stat.S_ISLNK(it.st_mode):
        content = os.fsdecode(os.readlink(path))
    return Seen(stat.S_IFMT(it.st_mode), stat.S_IMODE(it.st_mode), content, it.st_mtime_ns, (it.st_uid, it.st_gid))


def modes(seen: Picture) -> dict[bytes, int]:
    """The permission bits alone."""
    return {path: it.mode for path, it in seen.items()}


def contents(seen: Picture) -> dict[bytes, tuple[int, str]]:
    """Names, types and contents alone."""
    return {path: (it.kind, it.content) for path, it in seen.items()}


def without_gitruns(seen: Picture) -> Picture:
    """Without the two files that gitrun puts into a run: their times are nobody's."""
    return {path: it for path, it in seen.items() if path not in (b".gitrun.lock", b".git")}
