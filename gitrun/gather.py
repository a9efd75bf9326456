"""Gathers a run for a lock: every entry with its digests, every object of its content in the spool, nothing published yet.

Small files are read by forked workers, which hash and deflate; large ones are copied and hashed in one pass by threads.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gitrun.copier import Source, copy_large
from gitrun.entry import BLOB, DIRECTORY, FILE, LFS, NOT_STORED, SYMLINK, Entry, full_path
from gitrun.errors import Unsupported
from gitrun.fsio import opened, sync_directory, try_chmod, write_all
from gitrun.hashing import Sealed, SmallFiles
from gitrun.names import tree_path
from gitrun.pack import BLOB as BLOB_OBJECT
from gitrun.pack import FinishedPack, PackWriter, object_id, packed
from gitrun.pointer import Pointer
from gitrun.progress import Progress
from gitrun.reading import Xattrs
from gitrun.tree import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, Leaf, is_in_tree
from gitrun.walk import Node


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
    hashed = copy_large(source, nodes, spool, progress.advance)
    contents: dict[bytes, Content] = {}
    for node in nodes:
        sha256, blake3, xattrs = hashed[node.path]
        oid = _add_pointer(pack, source.known, sha256, node.size)
        storage = NOT_STORED if source.link == "none" else LFS
        contents[node.path] = Content(sha256, blake3, storage, oid, xattrs)
    return contents


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
        else:
            gathered.entries.append(_other_entry(node))
            if not is_in_tree(node.kind, node.target):
                continue
            oid = _add_blob(pack, source.known, node.target)
            gathered.leaves.append(Leaf(gathered.entries[-1].tree_path or node.path, SYMLINK_MODE, oid))


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


def refuse_unsealable(run: bytes, nodes: Iterable[Node]) -> None:
    """Raises Unsupported when the run holds files whose mode this user cannot change, or cannot change back."""
    user = os.geteuid()
    if user == 0:
        return
    sealed = [node for node in nodes if node.kind in (FILE, DIRECTORY)]
    foreign = [node for node in sealed if node.owner != user]
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise Unsupported(
            f"a file belongs to another user (uid {foreign[0].owner}){others}",
            path=full_path(run, foreign[0].path),
            hint="lock as the owner of the whole run, or copy it first",
        )
    groups = {os.getegid(), *os.getgroups()}
    for node in sealed:
        if node.mode & stat.S_ISGID and node.group not in groups:
            # The kernel would take the bit away with the write permission, and not let us give it back.
            raise Unsupported(
                f"its setgid bit is for a group that you are not in (gid {node.group})",
                path=full_path(run, node.path),
                hint="chmod g-s it first, or lock as a member of that group",
            )
