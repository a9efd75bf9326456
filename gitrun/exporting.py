"""Writes a lock out for programs that know neither gitrun nor git: a bag, a tar archive, a sum list, or JSON.

Each byte is checked against the record on its way; what is whole nowhere makes the export fail.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import IO, Any

from gitrun import __version__
from gitrun.entry import BLOB, BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, FIFO, FILE, LOCK_FILE, SOCKET, SYMLINK, Entry
from gitrun.errors import ObjectCorrupt, ObjectMissing, Unsupported
from gitrun.fsio import Beneath, opened, sync_tree
from gitrun.repo import RunRepo
from gitrun.results import path_json
from gitrun.standing import Standing

_BLOCK = 1 << 20
_TYPES = {
    FILE: tarfile.REGTYPE,
    DIRECTORY: tarfile.DIRTYPE,
    SYMLINK: tarfile.SYMTYPE,
    FIFO: tarfile.FIFOTYPE,
    CHARACTER_DEVICE: tarfile.CHRTYPE,
    BLOCK_DEVICE: tarfile.BLKTYPE,
}
_MANIFEST_ESCAPES = {b"\r": b"%0D", b"\n": b"%0A"}
"""RFC 8493 has `%25` for `%` too, which bagit.py does not read: a file whose name has it would be missing for it."""
_READ_AS_ESCAPE = re.compile(rb"%0[ad]", re.IGNORECASE)


class Content:
    """The content of a lock's files: from the store or, where the store has none, from the run."""

    def __init__(self, repo: RunRepo, commit: str, run: bytes | None, advance: Callable[[int], None]) -> None:
        self._repo, self._commit, self._run, self.advance = repo, commit, run, advance
        self._blobs: dict[bytes, str] | None = None

    def copy(self, entry: Entry, write: Callable[[bytes], object]) -> None:
        """Hands a file's bytes to `write`, block by block; raises ObjectMissing, and ObjectCorrupt at the end of wrong ones."""
        digest, size = sha256(), 0
        with self.open(entry) as file:
            while size < entry.size and (data := file.read(min(_BLOCK, entry.size - size))):
                digest.update(data)
                size += len(data)
                self.advance(len(data))
                write(data)
        if digest.hexdigest() != entry.sha256:
            message = f"its content is damaged: sha256 {entry.sha256} expected, {digest.hexdigest()} seen"
            raise ObjectCorrupt(message, path=entry.path, hint="gitrun fsck --repair")

    def open(self, entry: Entry) -> IO[bytes]:
        """The file's bytes, unchecked; raises ObjectMissing."""
        if entry.storage == BLOB:
            return io.BytesIO(self._blob(entry))
        try:
            with opened(self._repo.object_path(entry.sha256)) as fd:
                return os.fdopen(os.dup(fd), "rb")
        except FileNotFoundError:
            return self._from_run(entry)

    def _blob(self, entry: Entry) -> bytes:
        if self._blobs is None:
            self._blobs = self._repo.blobs(self._commit)
        oid = self._blobs.get(entry.tree_path or entry.path)
        if oid is None:
            raise ObjectMissing("the commit does not hold this file", path=entry.path, hint="gitrun fsck")
        return self._repo.read(oid, "blob")

    def _from_run(self, entry: Entry) -> IO[bytes]:
        try:
            if self._run is not None:
                with Beneath(self._run) as beneath:
                    return os.fdopen(beneath.open(entry.path), "rb")
        except OSError:
            pass  # told below: it is neither here nor there
        raise ObjectMissing(
            "its content is neither in the store nor in the run", path=entry.path, hint="gitrun fsck --repair"
        )


class _Hashing(io.RawIOBase):
    """What tarfile reads a member from: the bytes, counted and hashed."""

    def __init__(self, file: IO[bytes], advance: Callable[[int], None]) -> None:
        self._file, self._advance, self.digest = file, advance, sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self._advance(len(data))
        return data


def _kept(standing: Standing) -> list[Entry]:
    """All entries but the empty files that only the lock made."""
    return [entry for entry in standing.record.entries if not entry.created]


# -- tar --


def write_tar(out: IO[bytes], standing: Standing, content: Content, name: bytes, when: int) -> list[str]:
    """A PAX archive with everything below `name`, the same bytes each time; returns notes."""
    notes: list[str] = []
    firsts: dict[int, str] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for entry in _kept(standing):
            if entry.kind == SOCKET:
                notes.append(f"a tar archive cannot hold a socket: {os.fsdecode(entry.path)}")
                continue
            _add(archive, _member(entry, name, firsts), entry, content)
        lock_file = _named(name, LOCK_FILE)
        lock_file.size, lock_file.mode, lock_file.mtime = len(standing.data), 0o644, when
        archive.addfile(lock_file, io.BytesIO(standing.data))
    return notes


def _named(name: bytes, path: bytes) -> tarfile.TarInfo:
    return tarfile.TarInfo(os.fsdecode(os.path.join(name, path) if path else name))


def _member(entry: Entry, name: bytes, firsts: dict[int, str]) -> tarfile.TarInfo:
    member = _named(name, entry.path)
    member.type, member.mode, member.mtime = _TYPES[entry.kind], entry.mode, entry.mtime_ns // 10**9
    member.pax_headers = dict(_pax(entry))
    if entry.kind == SYMLINK:
        member.linkname = os.fsdecode(entry.target)
    elif entry.device is not None:
        member.devmajor, member.devminor = entry.device
    elif entry.hardlink in firsts:
        member.type, member.linkname = tarfile.LNKTYPE, firsts[entry.hardlink]
    elif entry.kind == FILE:
        member.size = entry.size
        if entry.hardlink:
            firsts[entry.hardlink] = member.name
    return member


def _pax(entry: Entry) -> Iterator[tuple[str, str]]:
    """What the plain header has no room for."""
    seconds, fraction = divmod(entry.mtime_ns, 10**9)
    if fraction and seconds >= 0:
        yield "mtime", f"{seconds}.{fraction:09d}"
    for attribute, value in entry.xattrs:
        yield "SCHILY.xattr." + os.fsdecode(attribute), value.decode("utf-8", "surrogateescape")


def _add(archive: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry, content: Content) -> None:
    if member.type != tarfile.REGTYPE:
        archive.addfile(member)
        return
    with content.open(entry) as file:
        reading = _Hashing(file, content.advance)
        try:
            archive.addfile(member, reading)
        except OSError as error:
            if error.errno is not None:
                raise
            raise _short(entry) from error  # tarfile's word for a file that ends too early
    if reading.digest.hexdigest() != entry.sha256:
        raise _short(entry)


def _short(entry: Entry) -> ObjectCorrupt:
    return ObjectCorrupt(
        "its content is not what was locked, in the store or in the run", path=entry.path, hint="gitrun fsck --repair"
    )


# -- bag --


def write_bag(top: bytes, standing: Standing, content: Content, when: int) -> list[str]:
    """A BagIt 1.0 bag (RFC 8493) in the new directory `top`; returns notes."""
    files = [entry for entry in _kept(standing) if entry.kind == FILE]
    for entry in files:
        _refuse_odd_name(entry)
        target = os.path.join(top, b"data", entry.path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb") as file:
            content.copy(entry, file.write)
            os.fchmod(file.fileno(), entry.mode & 0o777)
        os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
    os.makedirs(os.path.join(top, b"data"), exist_ok=True)
    tags = {
        b"bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        b"bag-info.txt": _bag_info(standing, files, when),
        b"manifest-sha256.txt": b"".join(_line(entry.sha256, b"data/" + entry.path) for entry in files),
        b"gitrun/lock": standing.data,
    }
    tags[b"tagmanifest-sha256.txt"] = b"".join(_line(sha256(tags[name]).hexdigest(), name) for name in sorted(tags))
    os.mkdir(os.path.join(top, b"gitrun"))
    for name, data in tags.items():
        with open(os.path.join(top, name), "xb") as file:
            file.write(data)
    sync_tree(top)
    left = len(_kept(standing)) - len(files) - sum(1 for entry in _kept(standing) if entry.kind == DIRECTORY)
    return [f"a bag holds files alone: {left} links and the like are only listed in gitrun/lock"] if left else []


def _refuse_odd_name(entry: Entry) -> None:
    """Raises Unsupported for a name that a manifest cannot hold so that every tool reads it back."""
    why = "that is not UTF-8" if not _is_utf8(entry.path) else "with %0A or %0D in it"
    if not _is_utf8(entry.path) or _READ_AS_ESCAPE.search(entry.path):
        raise Unsupported(f"a bag cannot hold a name {why}", path=entry.path, hint="gitrun export --format tar")


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _bag_info(standing: Standing, files: list[Entry], when: int) -> bytes:
    told = {
        "Bag-Software-Agent": f"gitrun {__version__}",
        "Bagging-Date": time.strftime("%Y-%m-%d", time.gmtime(when)),
        "External-Identifier": standing.record.run_id,
        "Payload-Oxum": f"{sum(entry.size for entry in files)}.{len(files)}",
    }
    return "".join(f"{key}: {value}\n" for key, value in told.items()).encode()


def _line(digest: str, path: bytes) -> bytes:
    escaped = b"".join(_MANIFEST_ESCAPES.get(byte, byte) for byte in (path[i : i + 1] for i in range(len(path))))
    return digest.encode() + b"  " + escaped + b"\n"


# -- lists --


def sum_list(standing: Standing) -> bytes:
    """The lines of the lock file that `sha256sum` reads."""
    return b"".join(line for line in standing.data.splitlines(keepends=True) if not line.startswith(b"#"))


def as_json(standing: Standing, commit: str) -> bytes:
    """The record as one JSON object; docs/json.md says what is in it."""
    record = standing.record
    told = {
        "run": record.run_id,
        "commit": commit,
        "headers": [list(pair) for pair in record.headers],
        "entries": [dict(_json(entry)) for entry in record.entries],
    }
    return json.dumps(told, indent=1).encode("utf-8", "surrogateescape") + b"\n"


def _json(entry: Entry) -> Iterator[tuple[str, Any]]:
    yield from path_json(entry.path).items()
    yield from {"kind": entry.kind, "mode": f"{entry.mode:04o}", "size": entry.size, "mtime_ns": entry.mtime_ns}.items()
    for key in ("sha256", "blake3", "storage", "mutable", "created", "hardlink"):
        if getattr(entry, key):
            yield key, getattr(entry, key)
    if entry.target:
        yield from path_json(entry.target, "target").items()
    if entry.device is not None:
        yield "device", list(entry.device)
    if entry.xattrs:
        yield "xattrs", {os.fsdecode(name): base64.b64encode(value).decode() for name, value in entry.xattrs}
