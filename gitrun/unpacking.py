"""Reads a tar archive or a bag that anybody may have made.

Content goes into numbered files of a spool, so that no name out of the archive touches the disk before all of them were
looked at.  Nothing is allocated for what an archive only claims.
"""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import new as new_hash
from hashlib import sha256
from typing import IO, Any

from gitrun.entry import BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, FIFO, FILE, LOCK_FILE, ROOT, SYMLINK, Entry
from gitrun.errors import GitrunError, RecordError, SystemFailed, Unsupported
from gitrun.fsio import Beneath, read_file
from gitrun.walk import Node, walk

LARGEST_LOCK_FILE = 1 << 28
MOST_ENTRIES = 2_000_000
_LARGEST_HEADER = 1 << 20
"""Bytes of a header that tar archives put before a member: names, attributes.  tarfile reads it in one go."""
_LARGEST_MANIFEST = 1 << 28
_BLOCK = 1 << 20
_SPECIAL = {
    tarfile.FIFOTYPE: FIFO,
    tarfile.CHRTYPE: CHARACTER_DEVICE,
    tarfile.BLKTYPE: BLOCK_DEVICE,
    tarfile.DIRTYPE: DIRECTORY,
    tarfile.SYMTYPE: SYMLINK,
}
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_XATTR = "SCHILY.xattr."
_MANIFEST = re.compile(rb"manifest-(md5|sha1|sha224|sha256|sha384|sha512)\.txt")
_ALGORITHMS = ("sha512", "sha384", "sha256", "sha224", "sha1", "md5")
_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]+(?:\*|\./)?(.+)", re.DOTALL)
_NEWLINES = {b"%0a": b"\n", b"%0d": b"\r"}


@dataclass
class Unpacked:
    """What an archive holds, by path below the run."""

    name: bytes
    """What the archive calls the run; empty where it has no name for it."""
    entries: dict[bytes, Entry] = field(default_factory=dict)
    """All of them but the lock file; files with their SHA-256, the others as far as the archive tells."""
    contents: dict[bytes, bytes] = field(default_factory=dict)
    """The spooled file of each file; hard links of one file have the same."""
    lock_file: bytes | None = None
    complete: bool = True
    """Whether such an archive can hold every kind of entry; a bag holds files alone."""


class Spool:
    """A directory of our own, for the content of files in the order of their coming."""

    def __init__(self, directory: bytes, advance: Callable[[int], None]) -> None:
        self._directory, self._advance = directory, advance
        self._count = 0

    def take(self, file: IO[bytes], size: int, *more: Any) -> tuple[bytes, str]:
        """Copies `size` bytes out of `file`; the path of the copy and its SHA-256.  `more` hash objects are fed as well.

        Raises SystemFailed where there is no room for them, RecordError where there are fewer.
        """
        self._refuse_without_room(size)
        self._count += 1
        path = os.path.join(self._directory, b"%d" % self._count)
        digest, left = sha256(), size
        with open(path, "xb") as target:
            while left and (data := file.read(min(_BLOCK, left))):
                for algorithm in (digest, *more):
                    algorithm.update(data)
                target.write(data)
                self._advance(len(data))
                left -= len(data)
        if left:
            raise RecordError(f"the archive ends too early: {left} bytes of a file are missing")
        return path, digest.hexdigest()

    def _refuse_without_room(self, size: int) -> None:
        disk = os.statvfs(self._directory)
        if size > disk.f_bavail * disk.f_frsize:
            raise SystemFailed(
                f"not enough space: {size} bytes for one file, {disk.f_bavail * disk.f_frsize} available",
                path=os.path.dirname(self._directory),
                hint="free some space, or import to another disk",
            )


# -- tar --


class _Member(tarfile.TarInfo):
    """A member whose headers are bounded before tarfile reads them into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def unpack_tar(file: IO[bytes], spool: Spool) -> Unpacked:
    """What a tar archive holds, compressed or not.  Raises RecordError for what is damaged or leads out of the run."""
    found: dict[bytes, Entry] = {}
    contents: dict[bytes, bytes] = {}
    with _as_record_error(), tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
            _add(_path(os.fsencode(member.name)), member, archive, found, contents, spool)
    return _below_top(found, contents)


def _add(
    path: bytes,
    member: tarfile.TarInfo,
    archive: tarfile.TarFile,
    found: dict[bytes, Entry],
    contents: dict[bytes, bytes],
    spool: Spool,
) -> None:
    if path in found and not (member.isdir() and found[path].kind == DIRECTORY):
        raise RecordError("the archive has two members of this name", path=path)
    if len(found) >= MOST_ENTRIES:
        raise Unsupported(f"the archive has more than {MOST_ENTRIES:,} members")
    if member.islnk():
        first = found.get(_path(os.fsencode(member.linkname)))
        if first is None or first.kind != FILE:
            raise RecordError("a hard link to what is no file before it in the archive", path=path)
        group = first.hardlink or len(found)
        found[first.path] = first._replace(hardlink=group)
        found[path] = first._replace(path=path, hardlink=group)
        contents[path] = contents[first.path]
    elif member.isreg():
        data = archive.extractfile(member)
        assert data is not None  # it is a regular file
        contents[path], digest = spool.take(data, member.size)
        found[path] = _entry(path, FILE, member)._replace(size=member.size, sha256=digest)
    elif member.type in _SPECIAL:
        found[path] = _entry(path, _SPECIAL[member.type], member)
    else:
        raise Unsupported("the archive holds something that is no part of a run", path=path)


def _entry(path: bytes, kind: str, member: tarfile.TarInfo) -> Entry:
    entry = Entry(path, kind, member.mode & 0o7777, 0, _mtime_ns(member), xattrs=_xattrs(member.pax_headers))
    if kind != SYMLINK:
        return entry
    target = os.fsencode(member.linkname)
    if not target or b"\0" in target:
        raise RecordError("a symlink that leads nowhere", path=path)
    return entry._replace(target=target, size=len(target), mode=0o777)


def _mtime_ns(member: tarfile.TarInfo) -> int:
    """Nanoseconds, of which a float has not enough digits."""
    told = re.fullmatch(r"(-?[0-9]{1,18})(?:\.([0-9]{1,9})[0-9]*)?", member.pax_headers.get("mtime", ""))
    if not told:
        return int(member.mtime) * 10**9
    fraction = int((told[2] or "0").ljust(9, "0"))
    return int(told[1]) * 10**9 + (-fraction if told[1].startswith("-") else fraction)


def _xattrs(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        sorted(
            (os.fsencode(key.removeprefix(_XATTR)), value.encode("utf-8", "surrogateescape"))
            for key, value in headers.items()
            if key.startswith(_XATTR)
        )
    )


def _path(name: bytes) -> bytes:
    """A member's name as a path below the archive's top; raises RecordError for one that leads elsewhere."""
    parts = name.rstrip(b"/").split(b"/")
    while len(parts) > 1 and parts[0] == b".":
        del parts[0]
    if parts == [b"."]:
        return ROOT
    if b"\0" in name or any(part in (b"", b".", b"..") or len(part) > 255 for part in parts):
        raise RecordError("the archive has a member with a name that leads out of the run, or to nothing", path=name)
    return b"/".join(parts)


def _below_top(found: dict[bytes, Entry], contents: dict[bytes, bytes]) -> Unpacked:
    """The run is the one directory that everything lies in, if there is such a one; else the archive's top."""
    tops = {path.partition(b"/")[0] for path in found}
    top = tops.pop() if len(tops) == 1 else ROOT
    if top and (top not in found or found[top].kind == DIRECTORY):
        found = {path[len(top) + 1 :]: entry._replace(path=path[len(top) + 1 :]) for path, entry in found.items()}
        contents = {path[len(top) + 1 :]: spooled for path, spooled in contents.items()}
    else:
        top = ROOT
    unpacked = Unpacked(top, found, contents)
    if LOCK_FILE in contents:
        unpacked.lock_file = _small_file(contents.pop(LOCK_FILE), LARGEST_LOCK_FILE)
        del found[LOCK_FILE]
    if LOCK_FILE in found:
        raise RecordError("the lock file in the archive is no file", path=LOCK_FILE)
    return unpacked


@contextmanager
def _as_record_error() -> Iterator[None]:
    try:
        yield
    except GitrunError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError) as error:
        raise RecordError(f"this is not a whole tar archive: {error}") from error
    except OSError as error:
        if error.errno is None:  # how gzip and bz2 say that the data makes no sense
            raise RecordError(f"this is not a whole tar archive: {error}") from error
        raise


# -- bag --


def unpack_bag(top: bytes, spool: Spool) -> Unpacked:
    """What a bag (RFC 8493) holds, checked against all its manifests.  Raises RecordError for every difference."""
    nodes = {node.path: node for node in walk(top, failure=SystemFailed)}
    tags = {path for path, node in nodes.items() if node.kind == FILE and not path.startswith(b"data/")}
    _check_declaration(top)
    if b"fetch.txt" in nodes:
        raise Unsupported("a bag with a fetch.txt is not complete", path=os.path.join(top, b"fetch.txt"))
    lists = {match[1].decode(): path for path in tags if (match := _MANIFEST.fullmatch(path))}
    if not lists:
        raise RecordError("the bag has no manifest", path=top)
    _check_tags(top, tags)
    unpacked = Unpacked(os.path.basename(top), complete=False)
    wanted = {name: _manifest(os.path.join(top, path)) for name, path in lists.items()}
    for path, node in nodes.items():
        if path.startswith(b"data/") and node.kind != DIRECTORY:
            _take_payload(top, node, wanted, unpacked, spool)
    for name, digests in wanted.items():
        for path in digests:
            raise RecordError(f"a file is missing that the {name} manifest lists", path=path)
    if b"gitrun/lock" in tags:
        unpacked.lock_file = _small_file(os.path.join(top, b"gitrun/lock"), LARGEST_LOCK_FILE)
    return unpacked


def _check_declaration(top: bytes) -> None:
    told = _small_file(os.path.join(top, b"bagit.txt"), 4096)
    found = re.match(rb"BagIt-Version: ?[0-9.]+\r?\nTag-File-Character-Encoding: ?([A-Za-z0-9._-]+)", told)
    if not found or found[1].upper() not in (b"UTF-8", b"UTF8", b"ASCII", b"US-ASCII"):
        raise RecordError("this is not a bag whose names are UTF-8", path=os.path.join(top, b"bagit.txt"))


def _check_tags(top: bytes, tags: set[bytes]) -> None:
    """The files beside the payload, as far as a tag manifest lists them."""
    for name in _ALGORITHMS:
        manifest = b"tagmanifest-%s.txt" % name.encode()
        listed = _manifest(os.path.join(top, manifest), payload=False) if manifest in tags else {}
        for path, digest in listed.items():
            data = _small_file(os.path.join(top, path), LARGEST_LOCK_FILE) if path in tags else b""
            if path not in tags or new_hash(name, data, usedforsecurity=False).hexdigest() != digest:
                raise RecordError(f"it is not what the {name} tag manifest says", path=os.path.join(top, path))


def _take_payload(
    top: bytes, node: Node, wanted: Mapping[str, dict[bytes, str]], unpacked: Unpacked, spool: Spool
) -> None:
    path = node.path.removeprefix(b"data/")
    if node.kind != FILE:
        raise RecordError("the payload of a bag is files alone, and this is none", path=path)
    if len(unpacked.entries) >= MOST_ENTRIES:
        raise Unsupported(f"the bag has more than {MOST_ENTRIES:,} files")
    hashes = {name: new_hash(name, usedforsecurity=False) for name in wanted}
    with Beneath(top) as beneath, os.fdopen(beneath.open(node.path), "rb") as file:
        spooled, digest = spool.take(file, node.size, *hashes.values())
    for name, digests in wanted.items():
        listed = digests.pop(path, None) or digests.pop(path.replace(b"%", b"%25"), None)
        if listed is None:
            raise RecordError(f"a file that the {name} manifest does not list", path=path)
        if listed != hashes[name].hexdigest():
            seen = hashes[name].hexdigest()
            raise RecordError(f"it is not what the {name} manifest says: {listed} expected, {seen} seen", path=path)
    unpacked.contents[path] = spooled
    unpacked.entries[path] = Entry(path, FILE, node.mode, node.size, node.mtime_ns, digest)


def _manifest(path: bytes, *, payload: bool = True) -> dict[bytes, str]:
    """Digest by path, that of payload files below `data`."""
    listed: dict[bytes, str] = {}
    for line in _small_file(path, _LARGEST_MANIFEST).replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            continue
        found = _LINE.fullmatch(line)
        if not found or (payload and not found[2].startswith(b"data/")):
            raise RecordError("a line that a manifest cannot have", path=path)
        name = re.sub(rb"%0[AaDd]", lambda escape: _NEWLINES[escape[0].lower()], found[2])
        listed[_path(name.removeprefix(b"data/") if payload else name)] = found[1].decode().lower()
    return listed


def _small_file(path: bytes, limit: int) -> bytes:
    data = read_file(path, limit)
    if data is None:
        raise RecordError(f"there is no regular file of at most {limit} bytes", path=path)
    return data


# -- what both come to --


def with_directories(entries: dict[bytes, Entry]) -> dict[bytes, Entry]:
    """The entries with the directories that an archive left out; raises RecordError where a file is in the way of one."""
    whole = {**entries}
    now = time.time_ns()
    for path in entries:
        parent = path
        while parent:
            parent = parent.rpartition(b"/")[0]
            if whole.setdefault(parent, Entry(parent, DIRECTORY, 0o755, 0, now)).kind != DIRECTORY:
                raise RecordError("the archive has something in what is no directory", path=path)
    whole.setdefault(ROOT, Entry(ROOT, DIRECTORY, 0o755, 0, now))
    return whole
