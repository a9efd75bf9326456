"""What borg and restic bring back, and git loses half of, comes back from `gitrun restore` in an empty place.

Each test is one item; `git` in its docstring says that git loses it.  `comes_back` compares everything that can be
restored: names, types, contents, permission bits, owners, times in ns, extended attributes, devices and hard links.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

import gitrun
from tests.support.snapshots import snapshot
from tests.support.trial import LARGE, assert_untouched, put, remove, sealed_snapshot, stock, write

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices, and give files away")


def comes_back(run: Path) -> None:
    """Locks, removes the whole run, restores it in the empty place, unlocks, and asserts that nothing is missing."""
    before = snapshot(run)
    gitrun.lock(run)
    sealed = sealed_snapshot(run)
    remove(run)
    gitrun.restore(run)
    assert sealed_snapshot(run) == sealed
    assert_untouched(run)
    gitrun.unlock(run)
    assert snapshot(run) == before


def test_content_of_small_files(run: Path) -> None:
    for number in range(20):
        write(run / f"file-{number}", os.urandom(number * 50))
    comes_back(run)


def test_content_of_large_files(run: Path) -> None:
    for number in range(3):
        write(run / f"file-{number}", os.urandom(LARGE + number))
    comes_back(run)


def test_empty_files(run: Path) -> None:
    write(run / "empty", b"")
    write(run / "sub" / "empty", b"", 0o600)
    comes_back(run)


def test_executable_bit(run: Path) -> None:
    write(run / "tool", "#!/bin/sh\n", 0o755)
    write(run / "none", "#!/bin/sh\n", 0o644)
    comes_back(run)


def test_empty_directories(run: Path) -> None:
    """git."""
    (run / "a" / "b" / "c").mkdir(parents=True)
    (run / "d").mkdir(mode=0o700)
    comes_back(run)


def test_run_without_anything(run: Path) -> None:
    """git."""
    comes_back(run)


def test_every_permission_bit(run: Path) -> None:
    """git."""
    for mode in (0o400, 0o440, 0o444, 0o600, 0o640, 0o666, 0o700, 0o750, 0o777, 0o604, 0o755, 0o500, 0o001, 0o000):
        if os.geteuid() == 0 or mode & 0o400:
            write(run / f"{mode:o}", mode=mode)
            (run / f"d{mode:o}").mkdir()
            (run / f"d{mode:o}").chmod(mode if os.geteuid() == 0 else mode | 0o700)
    run.chmod(0o750)
    comes_back(run)


def test_setuid_setgid_and_sticky(run: Path) -> None:
    """git."""
    for mode in (0o4755, 0o2755, 0o6755, 0o1777):
        write(run / f"{mode:o}", mode=mode)
    (run / "sticky").mkdir()
    (run / "sticky").chmod(0o3777)
    comes_back(run)


def test_hard_links(run: Path) -> None:
    """git."""
    write(run / "small")
    write(run / "large", b"large\n" * LARGE)
    (run / "sub").mkdir()
    for name in ("small", "large"):
        os.link(run / name, run / "sub" / name)
        os.link(run / name, run / f"a-{name}")
    write(run / "equal-but-not-linked")
    comes_back(run)


def test_extended_attributes(run: Path) -> None:
    """git."""
    for path in (run, write(run / "file"), write(run / "large", b"large\n" * LARGE), write(run / "sub" / "x").parent):
        os.setxattr(path, "user.note", b"\0kept\xff")
        os.setxattr(path, "user.empty", b"")
    comes_back(run)


def test_access_lists(run: Path) -> None:
    """git."""
    write(run / "file", mode=0o640)
    write(run / "sub" / "file")
    stock("setfacl", "-m", "u:12345:rw,g:777:r", run / "file")
    stock("setfacl", "-m", "u:12345:rwx", "-m", "d:u:12345:rwx", run / "sub")
    comes_back(run)


@needs_root
def test_capabilities(run: Path) -> None:
    """git."""
    stock("setcap", "cap_net_bind_service+ep", write(run / "tool", mode=0o755))
    comes_back(run)


TIMES = {
    "nanoseconds": 1_700_000_000_123_456_789,
    "epoch": 0,
    "before 1970": -86_400_000_000_001,
    "1901": (-(2**31) + 1) * 10**9 + 1,
    "after 2038": (2**31 + 5) * 10**9 + 999_999_999,
    "year 2400": 13_569_465_600 * 10**9 + 1,
}
"""In ns; the last one needs more than 63 bits."""


@pytest.mark.parametrize("when", TIMES)
def test_times(run: Path, when: str) -> None:
    """git.  Of files, directories, symlinks, FIFOs and the run itself, to the nanosecond."""
    write(run / "sub" / "file")
    write(run / "large", b"large\n" * LARGE)
    (run / "link").symlink_to("sub")
    os.mkfifo(run / "fifo")
    for number, path in enumerate([*sorted(run.rglob("*"), reverse=True), run]):
        os.utime(path, ns=(0, TIMES[when] + number), follow_symlinks=False)
    assert (run / "sub" / "file").stat().st_mtime_ns - TIMES[when] in range(6)  # this file system keeps it
    comes_back(run)


def test_fifos(run: Path) -> None:
    """git."""
    os.mkfifo(run / "fifo")
    (run / "fifo").chmod(0o622)
    comes_back(run)


def test_sockets(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git."""
    monkeypatch.chdir(run)  # its path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    monkeypatch.chdir("/")
    comes_back(run)


@needs_root
def test_devices(run: Path) -> None:
    """git."""
    os.mknod(run / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(run / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 65537))
    comes_back(run)


SYMLINKS = {
    "relative": b"sub/file",
    "dangling": b"nowhere/at/all",
    "absolute": b"/etc/passwd",
    "upwards": b"../../outside",
    "to itself": b"link",
    "to a directory": b"sub",
    "odd": b"\xff \n\\%00",
    "long": b"x" * 4095,
}


@pytest.mark.parametrize("kind", SYMLINKS)
def test_symlinks(run: Path, kind: str) -> None:
    write(run / "sub" / "file")
    os.symlink(SYMLINKS[kind], os.fsencode(run / "link"))
    comes_back(run)


def test_sparse_files(run: Path) -> None:
    with open(run / "sparse", "wb") as file:
        for offset in (0, 3 * LARGE + 1, 20 * LARGE):
            file.seek(offset)
            file.write(b"data")
        file.truncate(32 * LARGE)
    comes_back(run)
    assert (run / "sparse").stat().st_blocks * 512 < LARGE


def test_bytes_under_gitattributes(run: Path) -> None:
    """git."""
    write(run / ".gitattributes", "* text eol=crlf ident working-tree-encoding=UTF-16 filter=x\n*.bin filter=lfs\n")
    write(run / "windows.txt", b"a\r\nb\nc\r")
    write(run / "ident.c", b"$Id$\n")
    write(run / "x.bin", b"\0")
    comes_back(run)


def test_line_ends(run: Path) -> None:
    stock("git", "config", "--global", "core.autocrlf", "true")
    for number, content in enumerate((b"a\r\nb", b"a\nb\n", b"a\rb\r\n\n", b"\r\n" * LARGE)):
        write(run / str(number), content)
    comes_back(run)


def test_ignored_files(run: Path) -> None:
    """git."""
    write(run / ".gitignore", "*\n")
    write(run / "sub" / ".gitignore", "*\n!x\n")
    stock("git", "config", "--global", "core.excludesFile", write(run.parent / "excludes", "*.log\n"))
    for name in ("x", "y.log", "sub/z.pyc", "__pycache__/a.pyc", ".DS_Store", "core", "x~"):
        write(run / name)
    comes_back(run)


@pytest.mark.parametrize("name", [".", "sub/repo"], ids=["top", "below"])
@pytest.mark.parametrize("commits", [0, 1])
def test_nested_repository(run: Path, name: str, commits: int) -> None:
    """git."""
    top = run / name
    write(top / "file")
    stock("git", "init", "--quiet", top)
    for _ in range(commits):
        stock("git", "-C", top, "add", "file")
        stock("git", "-C", top, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "-m", "nested")
    comes_back(run)


NAMES = {
    "newline": [b"a\nb", b"\n", b"\r"],
    "blanks": [b" ", b" a", b"a ", b"\t"],
    "dashes": [b"-", b"--", b"-rf"],
    "not UTF-8": [b"\xff", b"\xc3\x28", b"\x80"],
    "control": [b"\x01", b"\x1b[0m", b"\x7f"],
    "Unicode": ["é".encode(), "é".encode(), "日本語".encode(), "\u202e".encode()],
    "case": [b"a", b"A"],
    "quotes": [b"'", b'"', b"\\", b"$x", b"`x`", b"*", b"?", b"[x]", b"!x", b"#x", b"%2E"],
    "git's": [b".git", b".GIT", b".gitmodules", b".gitattributes", b"git~1", b".lfsconfig", b"HEAD"],
    "longest": [b"x" * 255, b"\n" * 255],
}


@pytest.mark.parametrize("kind", NAMES)
def test_names(run: Path, kind: str) -> None:
    """git, some."""
    for number, name in enumerate(NAMES[kind]):
        put(run, name, b"%d" % number)
        put(run, b"dir/" + name + b"/" + name, b"%d below" % number)
    comes_back(run)


def test_long_paths(run: Path) -> None:
    """git."""
    script = (
        "import os\nfor _ in range(30): os.mkdir('d' * 200); os.chdir('d' * 200)\nopen('file', 'w').write('deep')\n"
    )
    subprocess.run(["python3", "-c", script], cwd=run, check=True)
    comes_back(run)


def test_pointers_of_git_lfs(run: Path) -> None:
    """git, with git-lfs."""
    for number, end in enumerate((b"\n", b"", b"\r\n", b"\n\n")):
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12%d" % number
        write(run / f"pointer-{number}", pointer + end)
    comes_back(run)


@needs_root
def test_places_of_another_owner(run: Path) -> None:
    """The owner of the run is not recorded: root gives what it restores to whoever owned the run."""
    for path in (write(run / "sub" / "file"), run / "sub", run):
        os.chown(path, 12345, 12345)
    gitrun.lock(run)
    (run / "sub" / "file").unlink()
    gitrun.restore(run)
    assert (run / "sub" / "file").stat().st_uid == 12345
    gitrun.unlock(run)
    comes_back(run)


def test_everything_at_once(run: Path) -> None:
    write(run / "sub" / "file", mode=0o640)
    write(run / "sub" / "large", b"large\n" * LARGE, 0o600)
    os.link(run / "sub" / "large", run / "twin")
    os.setxattr(run / "sub" / "file", "user.note", b"kept")
    stock("setfacl", "-m", "u:12345:rw", run / "sub" / "file")
    (run / "hollow").mkdir(mode=0o700)
    (run / "link").symlink_to("../nowhere")
    os.mkfifo(run / "fifo")
    write(run / ".gitattributes", "* text\n")
    stock("git", "init", "--quiet", run / "nested")
    for number, path in enumerate([*sorted(run.rglob("*"), reverse=True), run]):
        os.utime(path, ns=(0, 10**18 + number), follow_symlinks=False)
    comes_back(run)
