"""Gathers a run for a lock: every entry with its digests, every object of its content in the spool, nothing published yet.

Small files are read by forked workers, which hash and deflate; large ones are copied and hashed in one pass by threads.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gitrun.copying import copy_hashing, hash_file
from gitrun.entry import BLOB, DIRECTORY, FILE, LFS, NOT_STORED, SYMLINK, Entry, full_path
from gitrun.errors import GitrunError, SystemFailed, Unreadable, Unsupported, system_failed
from gitrun.fsio import Beneath, opened, sync_directory, try_chmod, write_all
from gitrun.hashing import Sealed, SmallFiles
from gitrun.leases import give_back, refuse_writers
from gitrun.names import tree_path
from gitrun.pack import BLOB as BLOB_OBJECT
from gitrun.pack import FinishedPack, PackWriter, object_id, packed
from gitrun.pointer import Pointer
from gitrun.progress import Progress
from gitrun.reading import Xattrs, check_unchanged, open_node, unreadable
from gitrun.store import object_path
from gitrun.threads import Check, run_threads
from gitrun.tree import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, Leaf
from gitrun.walk import Node, read_xattrs

Link = Literal["auto", "copy", "reflink", "hardlink", "none"]
LINKS: tuple[Link, ...] = ("auto", "copy", "reflink", "hardlink", "none")
_REFLINK: dict[Link, Literal["auto", "always", "never"]] = {"auto": "auto", "copy": "never", "reflink": "always"}
_EMPTY = b""
_HASH_FIRST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be gathered, and how."""

    run: bytes
    repository: bytes
    store: bytes
    nodes: Sequence[Node]
    mutable: frozenset[bytes]
    link: Link
    threshold: int
    force: bool
    jobs: int
    known: frozenset[bytes]
    """Ids of the git objects that the repository has already."""


class Content(NamedTuple):
    """What one file's content came to."""

    sha256: str
    blake3: str
    storage: str
    oid: bytes
    """Of the blob in the tree: the content, or the pointer to it."""
    xattrs: Xattrs


@dataclass(slots=True)
class Gathered:
    """The run, ready to be recorded."""

    entries: list[Entry] = field(default_factory=list)
    """Sorted by path, as `nodes` are; entries that lock creates are in neither."""
    leaves: list[Leaf] = field(default_factory=list)
    objects: dict[str, int] = field(default_factory=dict)
    """LFS objects of this run and their sizes."""
    packs: list[FinishedPack] = field(default_factory=list)
    """Packs of blobs that forked workers made in the spool."""
    outside_links: list[bytes] = field(default_factory=list)
    """Files that have other names outside the run."""


def gather(source: Source, spool: bytes, pack: PackWriter, progress: Progress) -> Gathered:
    """Reads the whole run.  Blobs go into `pack`, LFS objects into files named by their oid in `spool`, all synced.

    Raises Unreadable, ChangedWhileReading, RunActive, Unsupported, and SystemFailed when the store cannot take it.
    """
    first_names = _first_names(source.nodes)
    files = [node for node in source.nodes if node.kind == FILE and first_names[node.path] == node.path]
    small = [node for node in files if node.size < source.threshold]
    large = [node for node in files if node.size >= source.threshold]
    progress.stage("reading", sum(node.size for node in files), "B")
    gathered = Gathered()
    contents = _gather_small(source, small, spool, pack, gathered, progress)
    contents |= _gather_large(source, large, spool, pack, progress)
    sync_directory(spool)
    _record(source, first_names, contents, pack, gathered)
    return gathered


def _first_names(nodes: Iterable[Node]) -> dict[bytes, bytes]:
    """For each file the first of its names in the run, so that hard links are read once."""
    first: dict[tuple[int, int], bytes] = {}
    names: dict[bytes, bytes] = {}
    for node in nodes:
        if node.kind == FILE:
            names[node.path] = first.setdefault(node.identity, node.path) if node.links > 1 else node.path
    return names


# -- small files --


def _gather_small(
    source: Source, nodes: Sequence[Node], spool: bytes, pack: PackWriter, gathered: Gathered, progress: Progress
) -> dict[bytes, Content]:
    contents: dict[bytes, Content] = {}
    answers = SmallFiles(source.run, pack, source.known, force=source.force).read(nodes, jobs=source.jobs)
    for node in nodes:
        seen = next(answers)
        assert isinstance(seen, Sealed)
        contents[node.path] = _small_content(source, seen, node, spool, pack)
        progress.advance(node.size)
    gathered.packs.extend(answer for answer in answers if isinstance(answer, FinishedPack))
    return contents


def _small_content(source: Source, seen: Sealed, node: Node, spool: bytes, pack: PackWriter) -> Content:
    if seen.content is None:
        return Content(seen.sha256, seen.blake3, BLOB, seen.oid, seen.xattrs)
    _spool_content(spool, seen.sha256, seen.content)
    oid = _add_pointer(pack, source.known, seen.sha256, node.size)
    return Content(seen.sha256, seen.blake3, LFS, oid, seen.xattrs)


def _spool_content(spool: bytes, oid: str, data: bytes) -> None:
    path = os.path.join(spool, oid.encode())
    if os.path.exists(path):
        return
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        write_all(fd, data)
        try_chmod(fd, 0o444)
        os.fsync(fd)


def _add_pointer(pack: PackWriter, known: frozenset[bytes], sha256: str, size: int) -> bytes:
    data = Pointer(sha256, size).encode()
    return _add_blob(pack, known, data)


def _add_blob(pack: PackWriter, known: frozenset[bytes], data: bytes) -> bytes:
    oid = object_id(BLOB_OBJECT, data)
    if oid not in known:
        pack.add(packed(BLOB_OBJECT, data, oid))
    return oid


# -- large files --


def _gather_large(
    source: Source, nodes: Sequence[Node], spool: bytes, pack: PackWriter, progress: Progress
) -> dict[bytes, Content]:
    if not nodes:
        return {}
    _check_space(source, nodes, spool)
    by_size: defaultdict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        by_size[node.size].append(node)
    # The largest first, so that no thread is left alone with it at the end.  Files of one size may be copies of one
    # another: one thread takes them in turn, and looks at the digest before it copies again.
    groups = [by_size[size] for size in sorted(by_size, reverse=True)]
    copier = _Copier(source, spool, _stored_sizes(source, nodes), progress.advance)
    hashed = copier.run(groups)
    contents: dict[bytes, Content] = {}
    for node in nodes:
        sha256, blake3, xattrs = hashed[node.path]
        oid = _add_pointer(pack, source.known, sha256, node.size)
        storage = NOT_STORED if source.link == "none" else LFS
        contents[node.path] = Content(sha256, blake3, storage, oid, xattrs)
    return contents


def _check_space(source: Source, nodes: Sequence[Node], spool: bytes) -> None:
    """Refuses before the first byte is copied, when the store cannot take all of it."""
    if source.link in ("hardlink", "none", "reflink"):
        return
    disk = os.statvfs(spool)
    available = disk.f_bavail * disk.f_frsize
    needed = sum({node.size: min(node.size, _allocated(source.run, node)) for node in nodes}.values())
    if needed > available and not _shares_blocks(source, nodes[0], spool):
        raise SystemFailed(
            f"not enough space for the large files: {needed} bytes needed, {available} available",
            path=source.store,
            hint="free some space, set GITRUN_STORE to another disk, or lock with --link none",
        )


def _allocated(run: bytes, node: Node) -> int:
    try:
        return os.stat(full_path(run, node.path), follow_symlinks=False).st_blocks * 512
    except OSError:
        return node.size


def _shares_blocks(source: Source, node: Node, spool: bytes) -> bool:
    """Whether the file system makes reflinks from the run into the store."""
    from gitrun.copying import reflink

    if source.link == "copy":
        return False
    probe = os.path.join(spool, b"probe")
    try:
        with Beneath(source.run) as beneath:
            fd = open_node(source.run, beneath, node, Unreadable)
        try:
            with opened(probe, os.O_WRONLY | os.O_CREAT) as target:
                return reflink(fd, target)
        finally:
            os.close(fd)
            os.unlink(probe)
    except OSError:
        return False


def _stored_sizes(source: Source, nodes: Sequence[Node]) -> frozenset[int]:
    """Sizes of LFS objects that are stored already; a file of such a size is hashed before it is copied."""
    tops = [source.repository]
    if sum(node.size for node in nodes) >= _HASH_FIRST_BYTES:
        tops.append(source.store)  # looking through the whole pool pays only against a long copy
    sizes = set()
    for top in tops:
        for directory, _, names in os.walk(os.path.join(top, b"lfs", b"objects")):
            sizes |= {os.lstat(os.path.join(directory, name)).st_size for name in names}
    return frozenset(sizes)


class _Copier:
    """Copies and hashes large files, several groups at a time."""

    def __init__(
        self, source: Source, spool: bytes, stored_sizes: frozenset[int], advance: Callable[[int], None]
    ) -> None:
        self._source = source
        self._spool = spool
        self._stored_sizes = stored_sizes
        self._progress = advance
        self._guard = threading.Lock()
        self._done: dict[bytes, tuple[str, str, Xattrs]] = {}

    def run(self, groups: Sequence[Sequence[Node]]) -> dict[bytes, tuple[str, str, Xattrs]]:
        """SHA-256, BLAKE3 and extended attributes of every file."""
        run_threads(self._copy_group, groups, self._source.jobs)
        return self._done

    def _copy_group(self, group: Sequence[Node], check: Check) -> None:
        def advance(amount: int) -> None:
            check()
            with self._guard:
                self._progress(amount)

        with Beneath(self._source.run) as beneath:
            for number, node in enumerate(group):
                likely_there = number > 0 or node.size in self._stored_sizes
                fd = open_node(self._source.run, beneath, node, Unreadable)
                try:
                    self._done[node.path] = self._read(fd, node, likely_there, advance)
                except OSError as error:
                    raise unreadable(self._source.run, node, error, Unreadable) from error
                finally:
                    os.close(fd)

    def _read(self, fd: int, node: Node, likely_there: bool, advance: Callable[[int], None]) -> tuple[str, str, Xattrs]:
        if not self._source.force:
            refuse_writers(self._source.run, fd, node)
            give_back(fd)
        sha256, blake3 = self._copy(fd, node, likely_there, advance)
        xattrs = read_xattrs(fd)
        check_unchanged(self._source.run, fd, node, node.size)
        if self._source.link == "hardlink" and not self._has(sha256, node.size):
            self._link(node, sha256)  # only now: it changes the ctime
        return sha256, blake3, xattrs

    def _copy(self, fd: int, node: Node, likely_there: bool, advance: Callable[[int], None]) -> tuple[str, str]:
        if self._source.link in ("none", "hardlink"):
            return hash_file(fd, advance=advance)
        if likely_there:
            sha256, blake3 = hash_file(fd, advance=lambda _: advance(0))
            if self._has(sha256, node.size):
                advance(node.size)
                return sha256, blake3
            os.lseek(fd, 0, os.SEEK_SET)
        return self._spool_copy(fd, node, advance)

    def _has(self, oid: str, size: int) -> bool:
        tops = (self._source.repository, self._source.store)
        places = [os.path.join(self._spool, oid.encode()), *(object_path(top, oid) for top in tops)]
        return any(_size(place) == size for place in places)

    def _link(self, node: Node, oid: str) -> None:
        source, target = full_path(self._source.run, node.path), os.path.join(self._spool, oid.encode())
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return
        except OSError as error:
            raise SystemFailed(
                f"cannot hard-link the file into the store: {error.strerror}", path=source, hint="lock with --link auto"
            ) from error
        with opened(target) as fd:
            os.fsync(fd)

    def _spool_copy(self, fd: int, node: Node, advance: Callable[[int], None]) -> tuple[str, str]:
        temporary = os.path.join(self._spool, b"copy-%d" % threading.get_ident())
        try:
            with opened(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as target:
                copied = copy_hashing(fd, target, reflink=_REFLINK[self._source.link], advance=advance)
                try_chmod(target, 0o444)
                os.fsync(target)
            os.rename(temporary, os.path.join(self._spool, copied.sha256.encode()))
        except GitrunError as error:
            error.path = error.path or full_path(self._source.run, node.path)
            raise
        except OSError as error:
            raise system_failed(
                error, "copy a large file into the store", full_path(self._source.run, node.path)
            ) from error
        if copied.size != node.size:
            check_unchanged(self._source.run, fd, node, copied.size)
        return copied.sha256, copied.blake3


def _size(path: bytes) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return -1


# -- the record --


def _record(
    source: Source,
    first_names: dict[bytes, bytes],
    contents: dict[bytes, Content],
    pack: PackWriter,
    gathered: Gathered,
) -> None:
    groups = _link_groups(source.nodes, first_names)
    names_seen: defaultdict[bytes, int] = defaultdict(int)
    for first in first_names.values():
        names_seen[first] += 1
    for node in source.nodes:
        if node.kind == FILE:
            first = first_names[node.path]
            content = contents[first]
            if node.links > names_seen[first]:
                gathered.outside_links.append(node.path)
            if content.storage == LFS:
                gathered.objects[content.sha256] = node.size
            gathered.entries.append(_file_entry(source, node, content, groups.get(first, 0)))
            mode = EXECUTABLE_MODE if node.mode & 0o100 else FILE_MODE
            gathered.leaves.append(Leaf(gathered.entries[-1].tree_path or node.path, mode, content.oid))
        elif node.kind == SYMLINK:
            gathered.entries.append(_other_entry(node))
            oid = _add_blob(pack, source.known, node.target)
            gathered.leaves.append(Leaf(gathered.entries[-1].tree_path or node.path, SYMLINK_MODE, oid))
        else:
            gathered.entries.append(_other_entry(node))


def _link_groups(nodes: Iterable[Node], first_names: dict[bytes, bytes]) -> dict[bytes, int]:
    """A number from 1 for each file with several names in the run, in the order of the first names."""
    several = sorted(
        {first_names[node.path] for node in nodes if node.kind == FILE and first_names[node.path] != node.path}
    )
    return {first: number for number, first in enumerate(several, 1)}


def _safe_path(node: Node) -> bytes:
    safe = tree_path(node.path, node.kind)
    return safe if safe != node.path else b""


def _file_entry(source: Source, node: Node, content: Content, group: int) -> Entry:
    return Entry(
        node.path,
        FILE,
        node.mode,
        node.size,
        node.mtime_ns,
        content.sha256,
        content.blake3,
        content.storage,
        node.path in source.mutable,
        xattrs=content.xattrs,
        hardlink=group,
        tree_path=_safe_path(node),
    )


def _other_entry(node: Node) -> Entry:
    if node.kind == DIRECTORY:
        return Entry(node.path, DIRECTORY, node.mode, 0, node.mtime_ns, xattrs=node.xattrs)
    return Entry(
        node.path,
        node.kind,
        node.mode,
        node.size,
        node.mtime_ns,
        target=node.target,
        device=node.device,
        tree_path=_safe_path(node) if node.kind == SYMLINK else b"",
    )


def refuse_foreign_owners(run: bytes, nodes: Iterable[Node]) -> None:
    """Raises Unsupported when the run holds files whose mode this user cannot change."""
    user = os.geteuid()
    if user == 0:
        return
    foreign = [node for node in nodes if node.owner != user and node.kind in (FILE, DIRECTORY)]
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise Unsupported(
            f"a file belongs to another user (uid {foreign[0].owner}){others}",
            path=full_path(run, foreign[0].path),
            hint="lock as the owner of the whole run, or copy it first",
        )
