"""The stat record: what lstat said of every entry when its content was last known to be good.

`verify --quick` trusts it, and nothing else does.  It is a convenience: one that is missing, damaged or of another lock
only means that every file is read.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from gitrun.entry import FILE
from gitrun.fsio import read_file, remove_file, write_file
from gitrun.store import Place
from gitrun.walk import Node

_NAME = b"verified"
_LIMIT = 1 << 30
_BITS = (1 << 64) - 1
CLOCK_TICK_NS = 20_000_000
"""Two changes within a tick of the kernel's clock may carry the same ctime: so late a ctime proves nothing."""


@dataclass(frozen=True, slots=True)
class StatRecord:
    """The last full look at a run."""

    digest: str
    """SHA-256 of the lock file against which it was."""
    ok: bool
    differences: int
    when: int
    """Seconds since the epoch."""
    stats: dict[bytes, tuple[int, int, int, int]]
    """Of files: inode, size, mtime and ctime in ns.  Empty where the verdict was not good."""

    def trusts(self, node: Node) -> bool:
        """Whether the file is untouched since, as far as its inode tells."""
        return self.stats.get(node.path) == _stat(node)


def _stat(node: Node) -> tuple[int, int, int, int]:
    """In 64 bits each: some file systems give out inode numbers, or times, that need the last one of them."""
    return (node.inode & _BITS, node.size & _BITS, node.mtime_ns & _BITS, node.ctime_ns & _BITS)


def save(place: Place, digest: str, nodes: Sequence[Node], *, differences: int, now_ns: int) -> None:
    """Remembers a look that began at `now_ns`; where the store cannot be written, nothing is remembered."""
    good = [] if differences else [n for n in nodes if n.kind == FILE and n.ctime_ns < now_ns - CLOCK_TICK_NS]
    head = {"digest": digest, "ok": not differences, "differences": differences, "when": now_ns // 10**9}
    numbers = array("Q", chain.from_iterable(map(_stat, good)))
    names = b"\0".join(node.path for node in good)
    data = json.dumps(head | {"files": len(good)}).encode() + b"\n" + numbers.tobytes() + names
    with suppress(OSError):
        write_file(place.own(_NAME), data, sync=False)


def forget(place: Place) -> None:
    """Drops the record: the lock it was of is gone."""
    with suppress(OSError):
        remove_file(place.own(_NAME))


def load(place: Place, *, stats: bool = True) -> StatRecord | None:
    """The last record; None where there is none that can be read.  Without `stats` only its verdict."""
    try:
        data = read_file(place.own(_NAME), _LIMIT)
        line, _, rest = (data or b"").partition(b"\n")
        head = json.loads(line)
        count = int(head["files"])
        known = _decode(rest, count) if stats else {}
        return StatRecord(str(head["digest"]), bool(head["ok"]), int(head["differences"]), int(head["when"]), known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode(data: bytes, count: int) -> dict[bytes, tuple[int, int, int, int]]:
    numbers = array("Q", data[: count * 32])
    names = data[count * 32 :].split(b"\0") if count else []
    quads = zip(numbers[0::4], numbers[1::4], numbers[2::4], numbers[3::4], strict=True)
    return dict(zip(names, quads, strict=True))


def wait_for_tick(changed_ns: int) -> None:
    """Waits until a change made from now on has a later ctime than one made at `changed_ns`."""
    remaining = changed_ns + CLOCK_TICK_NS + 1_000_000 - time.time_ns()
    if 0 < remaining <= 2 * CLOCK_TICK_NS:
        time.sleep(remaining / 1e9)
