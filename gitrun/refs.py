"""Refs of a run repository: read and written as git does, and synced, which libgit2 does not do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

from gitrun.errors import RecordError
from gitrun.fsio import make_directories, read_file, remove_file, sync_directory, write_file

_OID = re.compile(rb"([0-9a-f]{40})\s*")
_PACKED_LINE = re.compile(rb"^([0-9a-f]{40}) (refs/[^\n]+)$", re.MULTILINE)
_LIMIT = 1 << 26


def read_ref(repository: bytes, name: str) -> str | None:
    """The object that a ref points at; None where there is no such ref.  Raises RecordError for a damaged one."""
    data = read_file(_path(repository, name), 4096)
    if data is None:
        return packed_refs(repository).get(name)
    found = _OID.fullmatch(data)
    if not found:
        raise RecordError(f"the ref {name} is damaged", path=_path(repository, name), hint="gitrun fsck --repair")
    return found[1].decode()


def packed_refs(repository: bytes) -> dict[str, str]:
    """The refs that git has packed into one file."""
    data = read_file(os.path.join(repository, b"packed-refs"), _LIMIT) or b""
    return {os.fsdecode(name): oid.decode() for oid, name in _PACKED_LINE.findall(data)}


def read_refs(repository: bytes, prefix: str = "refs/") -> dict[str, str]:
    """All refs whose names begin with `prefix`, loose before packed.  Raises RecordError for a damaged one."""
    found = {name: oid for name, oid in packed_refs(repository).items() if name.startswith(prefix)}
    for name in _loose(repository, prefix):
        oid = read_ref(repository, name)
        if oid is not None:
            found[name] = oid
    return found


def _loose(repository: bytes, prefix: str) -> Iterator[str]:
    for directory, _, names in os.walk(os.path.join(repository, os.fsencode(prefix))):
        for name in names:
            # git too passes over names that begin with a dot: ours, while they are being written.
            if not name.startswith(b".") and not name.endswith(b".lock"):
                yield os.fsdecode(os.path.relpath(os.path.join(directory, name), repository))


def write_ref(repository: bytes, name: str, oid: str) -> None:
    """Points a ref at an object, durably."""
    path = _path(repository, name)
    make_directories(os.path.dirname(path))
    write_file(path, oid.encode() + b"\n")


def delete_ref(repository: bytes, name: str) -> None:
    """Removes a ref, packed or loose, durably; nothing there is fine."""
    if name in packed_refs(repository):
        path = os.path.join(repository, b"packed-refs")
        lines = (read_file(path, _LIMIT) or b"").splitlines(keepends=True)
        write_file(path, b"".join(_without(lines, os.fsencode(name))))
    with suppress(FileNotFoundError):
        remove_file(_path(repository, name))
        sync_directory(os.path.dirname(_path(repository, name)))


def _without(lines: list[bytes], name: bytes) -> Iterator[bytes]:
    """The lines of a packed-refs file but that of one ref, and the one after it that tells what its tag points at."""
    dropping = False
    for line in lines:
        dropping = line.endswith(b" " + name + b"\n") or (dropping and line.startswith(b"^"))
        if not dropping:
            yield line


def _path(repository: bytes, name: str) -> bytes:
    return os.path.join(repository, os.fsencode(name))
