"""The walk: every entry is in the result, or the walk fails and says where."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitrun import walk as walking
from gitrun.errors import ChangedWhileReading, SystemFailed, Unreadable, Unsupported
from gitrun.walk import MAX_DEPTH, Node, node_of, read_xattrs, walk
from tests.support.tools import CHECKOUT
from tests.support.users import as_user, user_python


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


def walked(run: Path) -> dict[bytes, Node]:
    return {node.path: node for node in walk(os.fsencode(run))}


@pytest.fixture
def open_descriptors() -> Iterator[None]:
    """No descriptor is left open by the test."""
    before = os.listdir("/proc/self/fd")
    yield
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_empty_run_has_itself(run: Path) -> None:
    (root,) = walk(os.fsencode(run))
    assert (root.path, root.kind, root.size) == (b"", "d", 0)


def test_every_kind_of_entry_is_listed(run: Path) -> None:
    (run / "file").write_bytes(b"abc")
    (run / "empty").mkdir()
    (run / "link").symlink_to("nowhere/at/all")
    os.mkfifo(run / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(run / "socket"))
    found = {path: (node.kind, node.size) for path, node in walked(run).items()}
    assert found == {
        b"": ("d", 0),
        b"file": ("f", 3),
        b"empty": ("d", 0),
        b"link": ("l", 14),
        b"fifo": ("p", 0),
        b"socket": ("s", 0),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_have_their_numbers(run: Path) -> None:
    os.mknod(run / "c", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(run / "b", 0o600 | stat.S_IFBLK, os.makedev(259, 70000))
    found = walked(run)
    assert (found[b"c"].kind, found[b"c"].device) == ("c", (1, 3))
    assert (found[b"b"].kind, found[b"b"].device) == ("b", (259, 70000))


def test_names_are_bytes_and_sorted_as_bytes(run: Path) -> None:
    names = [b"a", b"a-b", b"a.b", b"\xff\xfe", b"\n", b" ", b"-rf", b"A", b"x" * 255, b"caf\xc3\xa9", b"..."]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(run), name))).touch()
    (run / "d").mkdir()
    (run / "d" / "z").touch()
    assert [node.path for node in walk(os.fsencode(run))] == sorted([b"", *names, b"d", b"d/z"])


def test_symlinks_are_not_followed(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    (run / "directory").symlink_to(outside)
    (run / "loop").symlink_to("loop")
    os.symlink(b"\xff\n", os.fsencode(run) + b"/odd")
    found = walked(run)
    assert set(found) == {b"", b"directory", b"loop", b"odd"}
    assert (found[b"odd"].target, found[b"odd"].size) == (b"\xff\n", 2)


def test_the_root_may_not_be_a_symlink(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    with pytest.raises(ChangedWhileReading):
        walk(os.fsencode(tmp_path / "link"))


def test_modes_times_and_links_are_those_of_lstat(run: Path) -> None:
    (run / "a").touch()
    os.link(run / "a", run / "b")
    (run / "a").chmod(0o4751)
    os.utime(run / "a", ns=(1, 1714564800123456789))
    found = walked(run)
    assert found[b"a"].mode == 0o4751 and found[b"a"].mtime_ns == 1714564800123456789
    assert found[b"a"].links == 2 and found[b"a"].identity == found[b"b"].identity != found[b""].identity
    assert found[b"a"].owner == os.geteuid()


def test_extended_attributes_of_directories_are_read(run: Path) -> None:
    (run / "d").mkdir()
    os.setxattr(run / "d", "user.b", b"2")
    os.setxattr(run / "d", "user.a", b"")
    assert walked(run)[b"d"].xattrs == ((b"user.a", b""), (b"user.b", b"2"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets trusted attributes")
def test_attributes_of_the_machine_are_left_alone(run: Path) -> None:
    os.setxattr(run, "trusted.x", b"1")
    fd = os.open(run, os.O_RDONLY)
    assert read_xattrs(fd) == ()
    os.close(fd)


def test_a_path_may_be_longer_than_path_max(run: Path) -> None:
    """60 directories with names of 200 bytes: 12 kB, three times what one system call takes."""
    here = os.getcwd()
    try:
        os.chdir(run)
        for _ in range(60):
            os.mkdir("x" * 200)
            os.chdir("x" * 200)
        Path("end").write_text("here")
    finally:
        os.chdir(here)
    nodes = walk(os.fsencode(run))
    assert len(nodes) == 62 and len(nodes[-1].path) == 60 * 201 + 3
    subprocess.run(["rm", "-rf", run], check=True)


@pytest.mark.usefixtures("open_descriptors")
def test_directories_too_deep_are_refused(run: Path) -> None:
    deep = os.fsencode(run) + b"/d" * MAX_DEPTH
    os.makedirs(deep)
    assert len(walk(os.fsencode(run))) == MAX_DEPTH + 1
    os.mkdir(deep + b"/d")
    with pytest.raises(Unsupported, match=f"{MAX_DEPTH} levels") as refused:
        walk(os.fsencode(run))
    assert refused.value.path == deep + b"/d"


UNREADABLE = {
    "directory that cannot be listed": ("d", 0o300, "d"),
    "directory that cannot be read at all": ("d", 0, "d"),
    "directory that cannot be entered": ("d", 0o600, "d/x"),
}


@pytest.mark.parametrize(("name", "mode", "told"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_fails_the_walk(shared_tmp: Path, name: str, mode: int, told: str) -> None:
    script = (
        "import os, sys\n"
        "from gitrun.walk import walk\n"
        "from gitrun.errors import Unreadable\n"
        f"os.mkdir('run'); os.mkdir('run/{name}'); open('run/{name}/x', 'w').close(); os.chmod('run/{name}', {mode})\n"
        "try:\n"
        "    walk(os.fsencode(os.path.abspath('run')))\n"
        "except Unreadable as error:\n"
        "    print(error.exit_code, os.path.relpath(error.path, os.path.abspath(b'run')).decode())\n"
        f"os.chmod('run/{name}', 0o700)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = as_user([user_python(), "-c", script], cwd=shared_tmp, env=environment, capture_output=True, text=True)
    assert done.stdout == f"5 {told}\n", done.stderr


def test_the_failure_is_of_the_kind_that_the_caller_wants(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(walking.os, "scandir", denied)
    for kind in (Unreadable, SystemFailed):
        with pytest.raises(kind, match="Permission denied"):
            walk(os.fsencode(run), failure=kind)


class _Failing:
    """A listing that breaks off in the middle, as a bad disk makes it."""

    def __init__(self, listing: Iterator[os.DirEntry[str]]) -> None:
        self._listing = listing

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self._listing.close()  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        yield next(self._listing)
        raise OSError(5, "Input/output error")


@pytest.mark.usefixtures("open_descriptors")
def test_a_listing_that_breaks_off_fails_the_walk(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (run / name).touch()
    real = os.scandir
    monkeypatch.setattr(walking.os, "scandir", lambda fd: _Failing(real(fd)))
    with pytest.raises(Unreadable, match="Input/output error") as failed:
        walk(os.fsencode(run))
    assert failed.value.path == os.fsencode(run)


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChangedWhileReading) as raised:
        walk(os.fsencode(tmp_path / "gone"))
    assert raised.value.path == os.fsencode(tmp_path / "gone")


@pytest.mark.usefixtures("open_descriptors")
@pytest.mark.parametrize("other", ["directory", "symlink", "file", "nothing"])
def test_a_directory_that_is_replaced_meanwhile_is_noticed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    (run / "d").mkdir()
    victim = tmp_path / "victim"
    victim.mkdir()
    real = os.open

    def swap(path: bytes | str, *arguments: int, **more: int) -> int:
        if path == b"d":
            shutil.move(run / "d", tmp_path / "away")
            {
                "directory": (run / "d").mkdir,
                "symlink": lambda: (run / "d").symlink_to(victim),
                "file": (run / "d").touch,
                "nothing": lambda: None,
            }[other]()
        return real(path, *arguments, **more)

    monkeypatch.setattr(walking.os, "open", swap)
    with pytest.raises(ChangedWhileReading) as raised:
        walk(os.fsencode(run))
    assert raised.value.path == os.fsencode(run / "d")


def test_unchanged_overlooks_what_sealing_changes_and_nothing_else(run: Path) -> None:
    (run / "a").write_text("x")
    before = walked(run)[b"a"]
    (run / "a").chmod(0o444)
    os.link(run / "a", run / "b")
    assert before.unchanged(walked(run)[b"a"])
    for field, value in {
        "path": b"z",
        "kind": "p",
        "size": 9,
        "mtime_ns": 9,
        "device_id": 9,
        "inode": 9,
        "target": b"z",
        "device": (1, 2),
    }.items():
        assert not before.unchanged(before._replace(**{field: value})), field


def test_node_of_an_lstat_is_the_node_of_the_walk(run: Path) -> None:
    (run / "a").write_text("x")
    assert node_of(b"a", os.lstat(run / "a")) == walked(run)[b"a"]


def test_mount_points_below_are_found_by_the_kernels_list(tmp_path: Path) -> None:
    """In a mount namespace of its own: a bind mount of the same device, with a blank in its name."""
    script = (
        "import os, sys, subprocess\n"
        "from gitrun.walk import mount_points\n"
        "subprocess.run(['mount', '--bind', 'other', 'run/a b'], check=True)\n"
        "for place in ('run', 'run2', 'run/a b'):\n"
        "    print([os.path.relpath(found) for found in mount_points(os.fsencode(os.path.abspath(place)))])\n"
    )
    for name in ("run/a b", "run2", "other"):
        (tmp_path / name).mkdir(parents=True)
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [*command, sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "[b'run/a b']\n[]\n[]\n", done.stderr
