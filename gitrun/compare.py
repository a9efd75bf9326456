"""Compares a run with its record; pure.  verify, unlock, restore and lock all see differences through here."""

from __future__ import annotations

import fnmatch
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gitrun.entry import FILE, KIND_NAMES, SYMLINK, WRITE_BITS, Entry
from gitrun.results import Difference
from gitrun.walk import Node

Xattrs = tuple[tuple[bytes, bytes], ...]

_LITTER = {
    "left by a notebook server": (b".ipynb_checkpoints", b".~*.ipynb"),
    "left by an editor": (b".*.sw[a-p]", b"*~", b"#*#", b".#*", b".*.kate-swp", b".idea", b".vscode"),
    "left by Python": (b"__pycache__",),
    "left by a file manager": (b".DS_Store", b"Thumbs.db", b"desktop.ini", b".directory"),
    "a file that an NFS client still holds open": (b".nfs*",),
    "left by an interrupted gitrun": (b".tmp-gitrun-*",),
}


class Joined(NamedTuple):
    """A record and a walk laid side by side."""

    pairs: list[tuple[Entry, Node]]
    """What is in both and of the same kind."""
    differences: list[Difference]
    """`deleted`, `added`, `type` and `target`, sorted by path."""


def join(entries: Sequence[Entry], nodes: Sequence[Node]) -> Joined:
    """Lays a record beside a walk: everything that names and types tell."""
    found = {node.path: node for node in nodes}
    pairs: list[tuple[Entry, Node]] = []
    differences: list[Difference] = []
    for entry in entries:
        node = found.pop(entry.path, None)
        if node is None:
            differences.append(Difference(entry.path, "deleted", _describe(entry), ""))
        elif node.kind != entry.kind or node.device != entry.device:
            differences.append(Difference(entry.path, "type", KIND_NAMES[entry.kind], KIND_NAMES[node.kind]))
        else:
            pairs.append((entry, node))
            if node.target != entry.target:
                differences.append(Difference(entry.path, "target", _text(entry.target), _text(node.target)))
    differences += [Difference(node.path, "added", "", _describe(node), litter(node.path)) for node in found.values()]
    return Joined(pairs, sorted(differences, key=lambda difference: difference.path))


def litter(path: bytes) -> str:
    """What left a file there, when its name says so; else empty."""
    for name in path.split(b"/"):
        for origin, patterns in _LITTER.items():
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                return origin
    return ""


def _describe(thing: Entry | Node) -> str:
    if thing.kind == SYMLINK:
        return f"symlink to {_text(thing.target)}"
    return f"file, {thing.size} bytes" if thing.kind == FILE else KIND_NAMES[thing.kind]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def content_difference(entry: Entry, size: int, sha256: str) -> Difference:
    """The difference of a file whose content is not what was locked."""
    kind = "mutable" if entry.mutable else "modified"
    return Difference(entry.path, kind, _content(entry.size, entry.sha256), _content(size, sha256))


def _content(size: int, sha256: str) -> str:
    return f"sha256:{sha256}, {size} bytes"


def drift(entry: Entry, node: Node, xattrs: Xattrs, *, sealed: bool) -> list[Difference]:
    """What changed beside name, type and content: `mode` or `writable`, `mtime`, `xattr`.

    `sealed` says whether the run's write bits are expected to be gone.  Of a mutable file only xattrs are looked at.
    """
    found: list[Difference] = []
    if entry.kind == SYMLINK:
        if node.mtime_ns != entry.mtime_ns:
            found.append(Difference(entry.path, "mtime", str(entry.mtime_ns), str(node.mtime_ns)))
        return found
    expected = entry.sealed_mode if sealed else entry.mode
    if node.mode != expected and not entry.mutable:
        returned = node.mode & ~expected & WRITE_BITS
        kind = "writable" if returned and node.mode & ~WRITE_BITS == expected & ~WRITE_BITS else "mode"
        found.append(Difference(entry.path, kind, f"{expected:04o}", f"{node.mode:04o}"))
    if node.mtime_ns != entry.mtime_ns and not entry.mutable:
        found.append(Difference(entry.path, "mtime", str(entry.mtime_ns), str(node.mtime_ns)))
    wanted = sealed_xattrs(entry.xattrs) if sealed and not entry.mutable else entry.xattrs
    if wanted != xattrs:
        found.append(Difference(entry.path, "xattr", _names(wanted, xattrs), _names(xattrs, wanted)))
    return found


def _names(these: Xattrs, others: Xattrs) -> str:
    """The attributes of `these` that `others` has not, by name."""
    return ", ".join(_text(name) for name, value in these if (name, value) not in others)


def links_drift(pairs: Iterable[tuple[Entry, Node]]) -> list[Difference]:
    """Hard links of one file that were taken apart."""
    groups: defaultdict[int, list[tuple[Entry, Node]]] = defaultdict(list)
    for entry, node in pairs:
        if entry.hardlink:
            groups[entry.hardlink].append((entry, node))
    broken: list[Difference] = []
    for members in groups.values():
        first = members[0]
        broken += [
            Difference(entry.path, "links", f"hard link of {_text(first[0].path)}", "a file of its own")
            for entry, node in members[1:]
            if node.identity != first[1].identity
        ]
    return broken


_ACL_ENTRY = struct.Struct("<HHI")
_ACL_USER_OWNER, _ACL_GROUP_OWNER, _ACL_MASK, _ACL_OTHER = 0x01, 0x04, 0x10, 0x20


def sealed_xattrs(xattrs: Xattrs) -> Xattrs:
    """The extended attributes as they read once the write bits are gone: chmod changes a POSIX ACL with the mode."""
    return tuple((name, _sealed_acl(value) if name == b"system.posix_acl_access" else value) for name, value in xattrs)


def _sealed_acl(acl: bytes) -> bytes:
    """chmod takes the bits of owner and others from the ACL, and those of the group from its mask if it has one."""
    if (len(acl) - 4) % _ACL_ENTRY.size:
        return acl
    entries = list(_ACL_ENTRY.iter_unpack(acl[4:]))
    group = _ACL_MASK if any(tag == _ACL_MASK for tag, _, _ in entries) else _ACL_GROUP_OWNER
    sealed = {_ACL_USER_OWNER, _ACL_OTHER, group}
    parts = [_ACL_ENTRY.pack(tag, bits & ~2 if tag in sealed else bits, who) for tag, bits, who in entries]
    return acl[:4] + b"".join(parts)


def changed_at_a_glance(entry: Entry, node: Node) -> bool:
    """Whether size or mtime say that a file's content changed; directories and mutable files are not asked."""
    return entry.kind == FILE and not entry.mutable and (entry.size, entry.mtime_ns) != (node.size, node.mtime_ns)


def without_echoes(warnings: list[Difference], differences: list[Difference]) -> list[Difference]:
    """Warnings that say more than the differences do: a directory's time changes with what comes and goes in it."""
    touched = {difference.path.rpartition(b"/")[0] for difference in differences}
    touched |= {difference.path for difference in differences}
    return [warning for warning in warnings if not (warning.kind == "mtime" and warning.path in touched)]
