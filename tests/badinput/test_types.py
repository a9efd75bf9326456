"""Bad input, section B: entries that are no plain files, and runs in strange places."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gitrun
from tests.support.snapshots import snapshot
from tests.support.trial import (
    LARGE,
    assert_clone_has_all_bytes,
    assert_refused,
    assert_unchanged,
    assert_untouched,
    entry_of,
    error_lines,
    program,
    record,
    remove,
    round_trip,
    stock,
    write,
)
from tests.support.users import give

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and devices are root's")


def kinds(verdict: gitrun.VerifyResult) -> list[tuple[str, bytes]]:
    """The differences, as kind and path."""
    return [(one.kind, one.path) for one in verdict.differences]


# -- 25 to 28: empty things, and what has no content --


def test_b25_empty_file(run: Path, tmp_path: Path) -> None:
    write(run / "empty", b"")
    round_trip(run)
    gitrun.lock(run)
    assert entry_of(run, b"empty").storage == "blob"
    assert_clone_has_all_bytes(run, tmp_path / "clone")


def test_b25_empty_file_with_the_lowest_threshold(run: Path) -> None:
    write(run / "empty", b"")
    write(run / "one", b"1")
    gitrun.lock(run, large_threshold=1)
    assert [entry_of(run, name).storage for name in (b"empty", b"one")] == ["blob", "lfs"]
    gitrun.unlock(run)
    round_trip(run, large_threshold=1)


def test_b26_empty_directory(run: Path) -> None:
    (run / "a" / "b").mkdir(parents=True)
    (run / "a" / "b").chmod(0o2750)
    round_trip(run)
    gitrun.lock(run)
    (run / "a").chmod(0o755)
    (run / "a" / "b").rmdir()
    assert kinds(gitrun.verify(run)) == [("deleted", b"a/b")]
    gitrun.restore(run)
    assert_untouched(run)


def test_b27_fifo(run: Path) -> None:
    """SPEC section 3 decides: it is listed and restored, not refused; nobody opens it."""
    os.mkfifo(run / "fifo")
    (run / "fifo").chmod(0o620)
    write(run / "file")
    round_trip(run)
    assert program("lock", run).code == 0
    assert program("verify", run).code == 0
    gitrun.unlock(run)
    assert stat.S_IMODE(os.lstat(run / "fifo").st_mode) == 0o620


def test_b28_socket(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC section 3 decides: it is listed and restored, not refused."""
    monkeypatch.chdir(run)  # its path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    monkeypatch.chdir("/")
    round_trip(run)


@needs_root
def test_b28_devices(run: Path) -> None:
    """SPEC section 3 decides: they are listed and restored, not refused; nobody opens them."""
    os.mknod(run / "null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(run / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 250))
    os.mknod(run / "whiteout", stat.S_IFCHR, os.makedev(0, 0))
    round_trip(run)
    gitrun.lock(run)
    run.chmod(0o755)
    (run / "null").unlink()
    os.mknod(run / "null", stat.S_IFCHR | 0o640, os.makedev(1, 5))
    assert kinds(gitrun.verify(run)) == [("type", b"null")]


# -- 29 to 35: symlinks --


def test_b29_relative_symlink(run: Path, tmp_path: Path) -> None:
    write(run / "sub" / "file", mode=0o640)
    (run / "link").symlink_to("sub/file")
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    (run / "sub" / "file").chmod(0o640)
    write(run / "sub" / "file", "changed\n", 0o640)
    assert kinds(gitrun.verify(run)) == [("modified", b"sub/file")]


def test_b30_dangling_symlink(run: Path) -> None:
    (run / "link").symlink_to("nowhere")
    round_trip(run)


def test_b31_symlink_into_another_run(run: Path) -> None:
    """Its target is listed; what `--upstream` adds is tested where that is made."""
    upstream = write(run.parent / "upstream" / "file", mode=0o600)
    (run / "link").symlink_to(upstream)
    before = snapshot(upstream.parent)
    round_trip(run)
    gitrun.lock(run)
    assert snapshot(upstream.parent) == before
    assert entry_of(run, b"link").target == os.fsencode(upstream)


def test_b32_symlink_to_a_secret(run: Path) -> None:
    """Neither read, nor stored, nor chmodded: it need not even be readable."""
    secret = write(run.parent.parent / "secret", "the secret of secrets\n" * 100_000, 0o606)
    atime = (10**18, 10**18)
    os.utime(secret, ns=atime)
    (run / "link").symlink_to(secret)
    round_trip(run)
    gitrun.lock(run)
    assert (secret.stat().st_mode & 0o7777, secret.stat().st_atime_ns) == (0o606, atime[0])
    assert b"secrets" not in stock("git", "--git-dir", gitrun.path(run), "log", "-p", "--all")
    assert not list((gitrun.path(run) / "lfs").rglob("??/??/*"))


@pytest.mark.parametrize("target", ["self", "./self", "sub/../self", "."])
def test_b33_symlink_loops(run: Path, target: str) -> None:
    (run / "self").symlink_to(target)
    (run / "ping").symlink_to("pong")
    (run / "pong").symlink_to("ping")
    (run / "sub").mkdir()
    (run / "sub" / "up").symlink_to("..")
    round_trip(run)


def test_b33_odd_targets(run: Path) -> None:
    for number, target in enumerate((b"a\nb", b"\xff", b" ", b"-rf", b"%20", b"\\", b"//x//", b"x" * 4095)):
        os.symlink(target, os.path.join(os.fsencode(run), b"link-%d" % number))
    round_trip(run)


def test_b35_symlinked_directory(run: Path) -> None:
    outside = write(run.parent / "outside" / "file", mode=0o666).parent
    (run / "link").symlink_to(outside)
    (run / "here").symlink_to(".")
    before = snapshot(outside)
    round_trip(run)
    gitrun.lock(run)
    assert [entry.path for entry in record(run).entries] == [b"", b"here", b"link"]
    assert snapshot(outside) == before


def test_b35_directory_that_became_a_symlink(run: Path) -> None:
    """Nothing is read or written through it, by verify, restore or unlock."""
    write(run / "sub" / "file", "locked\n")
    outside = write(run.parent / "outside" / "file", "mine\n", 0o666).parent
    gitrun.lock(run)
    before = snapshot(outside)
    run.chmod(0o755)
    os.rename(run / "sub", run.parent / "moved")
    (run / "sub").symlink_to(outside)
    assert kinds(gitrun.verify(run)) == [("type", b"sub"), ("deleted", b"sub/file")]
    gitrun.restore(run)
    assert_untouched(run)
    run.chmod(0o755)
    shutil.rmtree(run / "sub")
    (run / "sub").symlink_to(outside)
    gitrun.unlock(run)
    assert snapshot(outside) == before


# -- 36, 37, 46: how a run is named --


def test_b36_run_named_by_a_symlink(run: Path) -> None:
    """It is resolved; SPEC section 6 knows no `--no-dereference`."""
    write(run / "file")
    link = run.parent.parent / "link"
    link.symlink_to(run)
    told = program("lock", "--json", link).object
    assert told["path"] == str(run)
    assert (run.parent / ".gitrun" / "run.git").is_dir() and not (link.parent / ".gitrun").exists()
    assert program("verify", "--json", run).object["run"] == told["run"]
    assert program("unlock", link).code == 0
    assert link.is_symlink()


def test_b37_one_run_however_it_is_named(run: Path) -> None:
    write(run / "sub" / "file")
    first = program("lock", "--json", run).object
    for spelling in (f"{run}/", f"/{run}//sub/..", ".", "./../run/."):
        told = program("lock", "--json", spelling, cwd=run).object
        assert (told["run"], told["path"], told["commit"]) == (first["run"], first["path"], first["commit"])
        assert told["already"]
    assert program("status", "--json", "..", cwd=run / "sub").object["run"] == first["run"]


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "/proc/self/cwd"])
def test_b46_run_named_by_a_descriptor(run: Path, name: str) -> None:
    write(run / "file")
    before = snapshot(run.parent)
    fd = os.open(run, os.O_RDONLY)
    outcome = program("lock", "--json", name.format(fd), cwd=run)
    os.close(fd)
    assert outcome.code == 5 and outcome.object["error"]["code"] == "Refused"
    assert_unchanged(before, run.parent)


@pytest.mark.parametrize("kind", ["file", "FIFO", "nothing"])
def test_b46_run_that_is_no_directory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    {"file": lambda: write(path), "FIFO": lambda: os.mkfifo(path), "nothing": lambda: None}[kind]()
    for verb in ("lock", "restore"):
        assert_refused(verb, path, code="RunNotFound", path=path, exit_code=3)


# -- 38 to 40: hard links --


def test_b38_hard_links_inside_the_run(run: Path, tmp_path: Path) -> None:
    for name, content in (("small", b"small\n"), ("large", b"large\n" * LARGE)):
        write(run / name, content)
        (run / "sub").mkdir(exist_ok=True)
        os.link(run / name, run / "sub" / f"twin-of-{name}")
        os.link(run / name, run / f"a-{name}")
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    groups = {entry.path: entry.hardlink for entry in record(run).entries if entry.kind == "f"}
    assert groups[b"small"] == groups[b"a-small"] == groups[b"sub/twin-of-small"] != groups[b"large"]
    assert all(groups.values())


def test_b39_hard_link_to_outside(run: Path) -> None:
    """Reported, not refused (SPEC section 7); the name outside gets its permission back with the run's."""
    write(run / "file", mode=0o664)
    outside = run.parent / "outside"
    os.link(run / "file", outside)
    outcome = program("lock", run)
    assert outcome.code == 0
    assert any("file has another hard link outside the run" in line for line in error_lines(outcome))
    assert outside.stat().st_mode & 0o222 == 0
    assert_untouched(run)
    gitrun.unlock(run)
    assert outside.stat().st_mode & 0o777 == 0o664


def test_b39_change_through_the_outside_name(run: Path) -> None:
    write(run / "file", "locked\n")
    outside = run.parent / "outside"
    os.link(run / "file", outside)
    gitrun.lock(run)
    outside.chmod(0o644)
    outside.write_text("changed\n")
    assert kinds(gitrun.verify(run)) == [("modified", b"file")]
    gitrun.restore(run)
    assert_untouched(run)
    assert outside.read_text() == "changed\n"


def test_b40_hard_link_between_two_locked_runs(run: Path) -> None:
    """Unlocking one gives the shared file its permission back: the other run says so, and can be sealed again."""
    other = run.parent / "other"
    write(run / "file")
    other.mkdir()
    os.link(run / "file", other / "file")
    assert all(gitrun.lock(one).notes for one in (run, other))
    assert_untouched(run)
    assert_untouched(other)
    gitrun.unlock(run)
    verdict = gitrun.verify(other)
    assert verdict.ok
    assert [(one.kind, one.path) for one in verdict.warnings] in ([("writable", b"file")], [])
    gitrun.restore(other)
    assert_untouched(other)


def test_b40_a_large_file_in_two_runs_is_stored_once(run: Path) -> None:
    other = run.parent / "other"
    for one in (run, other):
        write(one / "large", b"large\n" * LARGE)
        gitrun.lock(one)
    (digest,) = {entry_of(one, b"large").sha256 for one in (run, other)}
    place = Path("lfs", "objects", digest[:2], digest[2:4], digest)
    tops = [gitrun.path(run), gitrun.path(other), run.parent / ".gitrun"]
    assert len({os.stat(top / place).st_ino for top in tops}) == 1


# -- 41, 42: very large files --

GIB = 1 << 30


def test_b41_sparse_file(run: Path) -> None:
    """1 GiB of holes and a few bytes: stored and restored with its holes."""
    path = run / "sparse"
    with open(path, "wb") as file:
        for offset in (0, GIB // 2 + 5, GIB - 3):
            file.seek(offset)
            file.write(b"end")
    gitrun.lock(run)
    entry = entry_of(run, b"sparse")
    stored = gitrun.path(run) / "lfs" / "objects" / entry.sha256[:2] / entry.sha256[2:4] / entry.sha256
    os.unlink(path)
    gitrun.restore(run)
    assert gitrun.verify(run).ok
    for copy in (path, stored):
        assert copy.stat().st_size == GIB
        assert copy.stat().st_blocks * 512 < 1 << 20


def test_b41_holes_at_every_edge(run: Path) -> None:
    """The digests are those that sha256sum finds."""
    pieces = [(0, 1), (LARGE - 1, 2), (3 * LARGE, 4096), (5 * LARGE + 1, LARGE)]
    for number in range(len(pieces)):
        with open(run / f"sparse-{number}", "wb") as file:
            for offset, size in pieces[number:]:
                file.seek(offset)
                file.write(b"x" * size)
            file.truncate(8 * LARGE + number)
    with open(run / "all-hole", "wb") as file:
        file.truncate(3 * LARGE + 1)
    round_trip(run)


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    """A file system at `place` for the duration of a block."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", *options, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@needs_root
def test_b42_file_larger_than_the_store_has_room(run: Path, tmp_path: Path) -> None:
    write(run / "large", os.urandom(3 * LARGE))
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        store = disk / "store"
        env = {"GITRUN_STORE": str(store)}
        assert_refused("lock", run, code="SystemFailed", path=store, exit_code=8, env=env, says="bytes needed")
        assert not store.exists() or not os.listdir(store)


# -- 43 to 50: a run that is more than a directory --


@needs_root
@pytest.mark.parametrize("bind", [False, True], ids=["tmpfs", "bind"])
def test_b43_mount_inside_the_run(run: Path, bind: bool) -> None:
    write(run / "file")
    place = run / "sub" / "mo unt"
    place.mkdir(parents=True)
    other = write(run.parent / "other" / "file").parent
    options = ["--bind", str(other)] if bind else ["-t", "tmpfs", "tmpfs"]
    with mounted(place, *options):
        assert_refused("lock", run, code="Unsupported", path=place, says="mounted")
    assert program("lock", run).code == 0


@needs_root
def test_b43_bind_mount_of_a_file(run: Path) -> None:
    write(run / "file")
    other = write(run.parent / "other", "other\n")
    subprocess.run(["mount", "--bind", other, run / "file"], check=True)
    try:
        assert_refused("lock", run, code="Unsupported", path=run / "file", says="mounted")
    finally:
        subprocess.run(["umount", "-l", run / "file"], check=True)


@needs_root
def test_b43_run_that_is_a_mount_itself(run: Path) -> None:
    with mounted(run, "-t", "tmpfs", "-o", "mode=755", "tmpfs"):
        write(run / "file")
        write(run / "large", b"large\n" * LARGE)
        gitrun.lock(run)
        assert_untouched(run)
        gitrun.unlock(run)


@needs_root
def test_b44_overlay_with_hard_links_below(run: Path, tmp_path: Path) -> None:
    """Copying up takes hard links apart: the lock sees that, and holds once nothing is left to be copied."""
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for directory in (upper, work):
        directory.mkdir()
    os.link(write(lower / "file"), lower / "twin")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    with mounted(run, "-t", "overlay", "-o", options, "overlay"):
        outcome = program("lock", "--json", run)
        assert (outcome.code, outcome.object["error"]["code"]) == (5, "ChangedWhileReading")
        assert program("lock", run).code == 0
        assert program("unlock", run).code == 0


@needs_root
def test_b44_overlay(run: Path, tmp_path: Path) -> None:
    """chmod copies a file up from the lower layer, which may give it another device or inode number."""
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for directory in (upper, work):
        directory.mkdir()
    write(lower / "file", mode=0o664)
    write(lower / "sub" / "large", b"large\n" * LARGE)
    below = snapshot(lower)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    with mounted(run, "-t", "overlay", "-o", options, "overlay"):
        before = snapshot(run)
        assert program("lock", run).code == 0
        assert program("verify", run).code == 0
        assert program("unlock", run).code == 0
        assert snapshot(run) == before
    assert snapshot(lower) == below


def nested(top: Path, *, commit: bool) -> None:
    """A git repository with a file, a symlink and, where asked, a commit."""
    write(top / "file", "nested\n")
    write(top / "untracked", "untracked\n")
    stock("git", "init", "--quiet", top)
    if commit:
        stock("git", "-C", top, "add", "file")
        stock("git", "-C", top, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "-m", "nested")


@pytest.mark.parametrize("name", [".", "sub/repo"], ids=["top", "below"])
def test_b47_nested_repository(run: Path, tmp_path: Path, name: str) -> None:
    nested(run / name, commit=True)
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    assert stock("git", "-C", run / name, "-c", "safe.directory=*", "log", "--format=%s") == b"nested\n"


@pytest.mark.parametrize("name", [".", "sub/repo"], ids=["top", "below"])
def test_b48_nested_repository_without_commits(run: Path, tmp_path: Path, name: str) -> None:
    nested(run / name, commit=False)
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")


def test_b50_store_inside_the_run(run: Path) -> None:
    write(run / "file")
    env = {"GITRUN_STORE": str(run / "store")}
    assert_refused("lock", run, code="Unsupported", path=run / "store", env=env)


def test_b50_run_that_holds_the_store_of_others(run: Path) -> None:
    write(run / "child" / "file")
    gitrun.lock(run / "child")
    assert_refused("lock", run, code="Unsupported", path=run / ".gitrun", says="store")


def test_b50_run_inside_a_store(run: Path) -> None:
    write(run / "file")
    gitrun.lock(run)
    place = gitrun.path(run)
    assert_refused("lock", place, code="Unsupported", path=place, says="store")


def test_b50_locked_run_inside_a_run(run: Path, tmp_path: Path) -> None:
    """Its lock file and `.git` are files like any other; it can be unlocked only once the outer run is."""
    child = run / "child"
    write(child / "file")
    env = {"GITRUN_STORE": str(tmp_path / "store")}
    assert program("lock", child, env=env).code == 0
    before = snapshot(run)
    gitrun.lock(run)
    assert_untouched(run)
    assert program("verify", "--strict", child, env=env).code == 0
    remove(run)
    gitrun.restore(run)
    assert_untouched(run)
    gitrun.unlock(run)
    assert snapshot(run) == before
    assert program("verify", "--strict", child, env=env).code == 0


def test_b_everything_at_once_as_a_user(user_run: Path) -> None:
    """All kinds that a user can make, by one whom permission bits bind."""
    write(user_run / "sub" / "file", mode=0o640)
    write(user_run / "large", b"large\n" * LARGE)
    os.link(user_run / "large", user_run / "sub" / "twin")
    os.mkfifo(user_run / "fifo")
    (user_run / "link").symlink_to("nowhere")
    (user_run / "hollow").mkdir(mode=0o500)
    give(user_run)
    before = snapshot(user_run)
    assert program("lock", user_run, user=True).code == 0
    assert program("verify", "--strict", user_run, user=True).code == 0
    remove(user_run)
    assert program("restore", user_run, user=True).code == 0
    assert program("verify", "--strict", user_run, user=True).code == 0
    assert program("unlock", user_run, user=True).code == 0
    assert snapshot(user_run) == before
