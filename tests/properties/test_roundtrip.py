"""Any tree comes back from a lock, and any damage is named exactly."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gitrun
from tests.support.snapshots import Snapshot, snapshot
from tests.support.trial import assert_stock_tools_agree, assert_untouched, remove, sealed_snapshot

few = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
THRESHOLD = 200


class Made(NamedTuple):
    """An entry to be made."""

    kind: str
    name: bytes
    parent: int
    """Which of the directories so far it is in."""
    content: bytes
    mode: int
    mtime_ns: int
    note: bytes | None
    """The value of an extended attribute."""


NAMES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.text(min_size=1, max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b".git", b".gitmodules", b".gitattributes", b".GIT", b"git~1", b"%2Egit", b"-", b" ", b"\\n", b"#"]
    ),
).filter(lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..", b".gitrun.lock", b".gitrun"))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"5" * 64 + b"\nsize 7\n"
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"a\r\nb\n", POINTER, POINTER[:-1], POINTER + b" ", b"same\n", b"x" * THRESHOLD]),
    st.binary(min_size=THRESHOLD - 1, max_size=THRESHOLD + 1),
    st.integers(0, 255).map(lambda byte: bytes([byte]) * 5000),
)
ENTRIES = st.builds(
    Made,
    kind=st.sampled_from("ffffddlhp"),
    name=NAMES,
    parent=st.integers(0, 50),
    content=CONTENTS,
    mode=st.integers(0, 0o777).map(lambda mode: mode | 0o600) | st.sampled_from([0o4755, 0o2755, 0o1777, 0o7777]),
    mtime_ns=st.integers(-(2**31) * 10**9 + 10**9, 2**33 * 10**9),
    note=st.none() | st.binary(max_size=10),
)
TREES = st.lists(ENTRIES, max_size=12)


def grow(run: bytes, tree: list[Made]) -> None:
    """Makes the entries of a tree; one whose name is taken is left out."""
    directories, files, made = [run], list[bytes](), list[tuple[bytes, Made]]()
    for entry in tree:
        path = os.path.join(directories[entry.parent % len(directories)], entry.name)
        if os.path.lexists(path) or (entry.kind == "h" and not files):
            continue
        if entry.kind == "d":
            os.mkdir(path)
            directories.append(path)
        elif entry.kind == "l":
            os.symlink(entry.content.replace(b"\0", b"-")[:1000] or b"x", path)
        elif entry.kind == "h":
            os.link(files[entry.parent % len(files)], path)
        elif entry.kind == "p":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.write(entry.content)
            files.append(path)
        made.append((path, entry))
    for path, entry in reversed(made):
        if entry.kind not in "l":
            os.chmod(path, entry.mode | (0o100 if entry.kind == "d" else 0))
        if entry.note is not None and entry.kind in "fd":
            os.setxattr(path, "user.note", entry.note)
        os.utime(path, ns=(0, entry.mtime_ns), follow_symlinks=False)


@contextmanager
def grown(base: Path, tree: list[Made]) -> Iterator[Path]:
    """A run that holds a tree, for the duration of a block."""
    place = Path(tempfile.mkdtemp(dir=base))
    (place / "run").mkdir()
    grow(os.fsencode(place / "run"), tree)
    try:
        yield place / "run"
    finally:
        remove(place)


@few
@given(tree=TREES)
def test_any_tree_comes_back(tmp_path: Path, tree: list[Made]) -> None:
    with grown(tmp_path, tree) as run:
        before = snapshot(run)
        gitrun.lock(run, large_threshold=THRESHOLD)
        assert_untouched(run)
        sealed = sealed_snapshot(run)
        remove(run)
        gitrun.restore(run)
        assert sealed_snapshot(run) == sealed
        assert_untouched(run)
        gitrun.unlock(run)
        assert snapshot(run) == before


@settings(few, max_examples=10)
@given(tree=TREES)
def test_stock_tools_agree_on_any_tree(tmp_path: Path, tree: list[Made]) -> None:
    with grown(tmp_path, tree) as run:
        gitrun.lock(run, large_threshold=THRESHOLD)
        assert_stock_tools_agree(run)


@settings(few, max_examples=20)
@given(tree=TREES, other=TREES)
def test_a_second_lock_gives_each_its_own_back(tmp_path: Path, tree: list[Made], other: list[Made]) -> None:
    with grown(tmp_path, tree) as run:
        gitrun.lock(run, large_threshold=THRESHOLD)
        gitrun.unlock(run)
        grow(os.fsencode(run), other)
        before = snapshot(run)
        gitrun.lock(run)
        remove(run)
        gitrun.restore(run)
        gitrun.unlock(run)
        assert snapshot(run) == before


# -- damage --


class Damage(NamedTuple):
    """Something done to one of the entries of a locked run."""

    kind: str
    which: int
    content: bytes


DAMAGE = st.lists(
    st.builds(
        Damage,
        kind=st.sampled_from(["modify", "delete", "add", "retype", "retarget"]),
        which=st.integers(0, 50),
        content=st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=3,
)


@contextmanager
def opened(directory: bytes) -> Iterator[None]:
    """A directory that can be written to for the duration of a block; its mode and time stay as they were."""
    was = os.stat(directory)
    os.chmod(directory, 0o700)
    try:
        yield
    finally:
        os.chmod(directory, stat.S_IMODE(was.st_mode))
        os.utime(directory, ns=(was.st_atime_ns, was.st_mtime_ns))


def modify(path: bytes, content: bytes) -> None:
    """Flips a byte, or adds one to an empty file; mode, size and time stay."""
    was = os.stat(path)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        at = content[0] % (was.st_size or 1)
        file.seek(at)
        byte = file.read(1) or b"\0"
        file.seek(at)
        file.write(bytes([byte[0] ^ (content[0] or 1)]))
    os.chmod(path, stat.S_IMODE(was.st_mode))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


SUITABLE = {"modify": "-", "delete": "-lpd", "add": "d", "retype": "-p", "retarget": "l"}


def damage_one(run: bytes, damage: Damage) -> None:
    """Does the damage to one of the entries that it can be done to."""
    seen = snapshot(Path(os.fsdecode(run)))
    victims = [path for path, entry in seen.items() if entry.kind in SUITABLE[damage.kind] and path not in OWN]
    if damage.kind != "add":
        victims = [path for path in victims if path != b"."]
    if not victims:
        return
    path = os.path.normpath(os.path.join(run, victims[damage.which % len(victims)]))
    if damage.kind == "modify":
        modify(path, damage.content)
        return
    with opened(path if damage.kind == "add" else os.path.dirname(path)):
        _DEEDS[damage.kind](path, damage.content)


OWN = (b".gitrun.lock", b".git")


def _add(path: bytes, content: bytes) -> None:
    with open(os.path.join(path, b"added " + content.hex().encode()), "wb") as file:
        file.write(content)


def _delete(path: bytes, content: bytes) -> None:
    del content
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _retype(path: bytes, content: bytes) -> None:
    os.unlink(path)
    os.symlink(content.replace(b"\0", b"-"), path)


def _retarget(path: bytes, content: bytes) -> None:
    target = os.readlink(path)
    os.unlink(path)
    os.symlink(target + content.replace(b"\0", b"-"), path)


_DEEDS: dict[str, Callable[[bytes, bytes], None]] = {
    "add": _add,
    "delete": _delete,
    "retype": _retype,
    "retarget": _retarget,
}


def expected_differences(before: Snapshot, after: Snapshot) -> set[tuple[str, bytes]]:
    """What a verification must find, told from the two pictures alone."""
    found = {("deleted", path) for path in before.keys() - after.keys()}
    found |= {("added", path) for path in after.keys() - before.keys()}
    for path in before.keys() & after.keys():
        was, now = before[path], after[path]
        if was.kind != now.kind:
            found.add(("type", path))
        elif was.target != now.target:
            found.add(("target", path))
        elif was.content != now.content:
            found.add(("modified", path))
    return found


ONE_OF_EACH = [Made(kind, b"one " + kind.encode(), 0, b"content\n", 0o644, 0, None) for kind in "fdlhp"]


@few
@given(tree=TREES, damages=DAMAGE)
def test_any_damage_is_named_exactly(tmp_path: Path, tree: list[Made], damages: list[Damage]) -> None:
    with grown(tmp_path, [*ONE_OF_EACH, *tree]) as run:
        gitrun.lock(run, large_threshold=THRESHOLD)
        before = sealed_snapshot(run)
        for damage in damages:
            damage_one(os.fsencode(run), damage)
        expected = expected_differences(before, sealed_snapshot(run))
        for quick in (True, False):
            verdict = gitrun.verify(run, quick=quick)
            assert {(one.kind, one.path) for one in verdict.differences} == expected
            assert verdict.ok is not bool(expected)
        gitrun.restore(run, clean=True)
        assert_untouched(run)
        assert sealed_snapshot(run) == before
