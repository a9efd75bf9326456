"""Every kind of damage is named by verify, by its kind and path; and restore puts it right.

Content, names, types and link targets are differences.  Permissions, times, attributes and broken hard links are
warnings, and differences under `--strict`.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import gitrun
from tests.support.trial import LARGE, assert_untouched, program, put, sealed_snapshot, stock, write

Found = list[tuple[str, str]]


@pytest.fixture
def locked(run: Path) -> Path:
    """A locked run with an entry of every kind, small and large."""
    write(run / "small", "one\ntwo\n", 0o640)
    write(run / "script.sh", "#!/bin/sh\n")
    write(run / "sub" / "large", b"large\n" * LARGE)
    write(run / "sub" / "twin", "one of two\n")
    os.link(run / "sub" / "twin", run / "sub" / "twin-too")
    write(run / "a" / "b" / "c", "deep\n")
    (run / "hollow").mkdir()
    (run / "link").symlink_to("small")
    os.mkfifo(run / "fifo")
    os.setxattr(run / "small", "user.note", b"kept")
    stock("setfacl", "-m", "u:12345:rw", run / "a" / "b" / "c")
    write(run / ".gitignore", "*.log\n")
    stock("git", "init", "--quiet", run / "nested")
    for path in [*sorted(run.rglob("*"), reverse=True), run]:
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    gitrun.lock(run)
    return run


def loosened(path: Path, deed: Callable[[], object]) -> None:
    """Does something below a sealed directory, whose mode is put back: only the deed is left to be found."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | 0o200)
    deed()
    path.chmod(mode)


def rewrite(path: Path, content: bytes, *, times_back: bool = False) -> None:
    """Changes the content of a sealed file in place; its mode is put back, and where asked its times."""
    was = path.stat()
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(stat.S_IMODE(was.st_mode))
    if times_back:
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def retarget(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def replace(path: Path, make: Callable[[], object]) -> None:
    path.unlink()
    make()


def bind_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # its path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


DIFFERENCES: dict[str, tuple[Callable[[Path], object], Found]] = {
    "modify": (lambda run: rewrite(run / "small", b"changed\n"), [("modified", "small")]),
    "modify with size and time put back": (
        lambda run: rewrite(run / "small", b"one\ntw0\n", times_back=True),
        [("modified", "small")],
    ),
    "modify one bit of a large file": (
        lambda run: rewrite(run / "sub" / "large", b"large\n" * (LARGE - 1) + b"largf\n", times_back=True),
        [("modified", "sub/large")],
    ),
    "CRLF only": (lambda run: rewrite(run / "small", b"one\r\ntwo\r\n"), [("modified", "small")]),
    "append": (lambda run: rewrite(run / "small", b"one\ntwo\n\n"), [("modified", "small")]),
    "truncate": (lambda run: rewrite(run / "sub" / "large", b""), [("modified", "sub/large")]),
    "modify a hard link": (
        lambda run: rewrite(run / "sub" / "twin", b"two of two\n"),
        [("modified", "sub/twin"), ("modified", "sub/twin-too")],
    ),
    "replace by rename": (
        lambda run: loosened(run, lambda: os.rename(write(run / ".small.swp", "changed\n", 0o440), run / "small")),
        [("modified", "small")],
    ),
    "delete": (lambda run: loosened(run, (run / "small").unlink), [("deleted", "small")]),
    "delete a directory": (
        lambda run: loosened(run, lambda: shutil.rmtree(run / "a")),
        [("deleted", "a"), ("deleted", "a/b"), ("deleted", "a/b/c")],
    ),
    "delete an empty directory": (lambda run: loosened(run, (run / "hollow").rmdir), [("deleted", "hollow")]),
    "delete a symlink": (lambda run: loosened(run, (run / "link").unlink), [("deleted", "link")]),
    "delete a FIFO": (lambda run: loosened(run, (run / "fifo").unlink), [("deleted", "fifo")]),
    "add": (lambda run: loosened(run / "a", lambda: write(run / "a" / "new")), [("added", "a/new")]),
    "add an ignored name": (lambda run: loosened(run, lambda: write(run / "x.log")), [("added", "x.log")]),
    "add an empty file": (lambda run: loosened(run, (run / "new").touch), [("added", "new")]),
    "add an empty directory": (lambda run: loosened(run, (run / "new").mkdir), [("added", "new")]),
    "add a symlink": (lambda run: loosened(run, lambda: (run / "new").symlink_to("x")), [("added", "new")]),
    "add a FIFO": (lambda run: loosened(run, lambda: os.mkfifo(run / "new")), [("added", "new")]),
    "add a hard link": (
        lambda run: loosened(run, lambda: os.link(run / "small", run / "new")),
        [("added", "new")],
    ),
    "add litter": (
        lambda run: loosened(run, lambda: write(run / "__pycache__" / "x.pyc")),
        [("added", "__pycache__"), ("added", "__pycache__/x.pyc")],
    ),
    "add a .git": (lambda run: loosened(run / "sub", (run / "sub" / ".git").mkdir), [("added", "sub/.git")]),
    "add a name that is not UTF-8": (
        lambda run: loosened(run, lambda: put(run, b"\xff")),
        [("added", "\udcff")],
    ),
    "rename": (
        lambda run: loosened(run, lambda: os.rename(run / "small", run / "renamed")),
        [("added", "renamed"), ("deleted", "small")],
    ),
    "rename to another case": (
        lambda run: loosened(run, lambda: os.rename(run / "small", run / "SMALL")),
        [("added", "SMALL"), ("deleted", "small")],
    ),
    "move into a directory": (
        lambda run: loosened(run, lambda: loosened(run / "a", lambda: os.rename(run / "small", run / "a" / "small"))),
        [("added", "a/small"), ("deleted", "small")],
    ),
    "swap two files": (
        lambda run: [rewrite(run / "small", b"#!/bin/sh\n"), rewrite(run / "script.sh", b"one\ntwo\n")],
        [("modified", "script.sh"), ("modified", "small")],
    ),
    "retarget a link": (lambda run: loosened(run, lambda: retarget(run / "link", "script.sh")), [("target", "link")]),
    "retarget to the same file": (
        lambda run: loosened(run, lambda: retarget(run / "link", "./small")),
        [("target", "link")],
    ),
    "edit inside a nested .git": (
        lambda run: rewrite(run / "nested" / ".git" / "config", b"[core]\n"),
        [("modified", "nested/.git/config")],
    ),
    "add a hook to a nested .git": (
        lambda run: loosened(
            run / "nested" / ".git" / "hooks", lambda: write(run / "nested" / ".git" / "hooks" / "post-checkout")
        ),
        [("added", "nested/.git/hooks/post-checkout")],
    ),
    "file becomes a symlink": (
        lambda run: loosened(run, lambda: replace(run / "small", lambda: (run / "small").symlink_to("sub/twin"))),
        [("type", "small")],
    ),
    "file becomes a directory": (
        lambda run: loosened(run, lambda: replace(run / "small", (run / "small").mkdir)),
        [("type", "small")],
    ),
    "file becomes a FIFO": (
        lambda run: loosened(run, lambda: replace(run / "small", lambda: os.mkfifo(run / "small"))),
        [("type", "small")],
    ),
    "FIFO becomes a socket": (
        lambda run: loosened(run, lambda: replace(run / "fifo", lambda: bind_socket(run / "fifo"))),
        [("type", "fifo")],
    ),
    "symlink becomes its target": (
        lambda run: loosened(run, lambda: replace(run / "link", lambda: shutil.copy2(run / "small", run / "link"))),
        [("type", "link")],
    ),
    "directory becomes a file": (
        lambda run: loosened(run, lambda: [(run / "hollow").rmdir(), write(run / "hollow")]),
        [("type", "hollow")],
    ),
    "the lock file": (
        lambda run: rewrite(run / ".gitrun.lock", b"# gitrun lock 1.0\n#\n"),
        [("modified", ".gitrun.lock")],
    ),
    "the lock file deleted": (
        lambda run: loosened(run, (run / ".gitrun.lock").unlink),
        [("deleted", ".gitrun.lock")],
    ),
}

WARNINGS: dict[str, tuple[Callable[[Path], object], Found]] = {
    "chmod +x": (lambda run: (run / "script.sh").chmod(0o555), [("mode", "script.sh")]),
    "chmod g-r": (lambda run: (run / "small").chmod(0o400), [("mode", "small")]),
    "chmod u+w": (lambda run: (run / "small").chmod(0o640), [("writable", "small")]),
    "chmod a+w": (lambda run: (run / "sub" / "large").chmod(0o666), [("writable", "sub/large")]),
    "chmod u+s": (lambda run: (run / "script.sh").chmod(0o4444), [("mode", "script.sh")]),
    "chmod u+w of a directory": (lambda run: (run / "hollow").chmod(0o755), [("writable", "hollow")]),
    "chmod g-rx of a directory": (lambda run: (run / "hollow").chmod(0o505), [("mode", "hollow")]),
    "chmod of a FIFO": (lambda run: (run / "fifo").chmod(0o600), [("mode", "fifo")]),
    "chmod of a hard link": (
        lambda run: (run / "sub" / "twin").chmod(0o644),
        [("writable", "sub/twin"), ("writable", "sub/twin-too")],
    ),
    "touch": (lambda run: os.utime(run / "small"), [("mtime", "small")]),
    "touch by a nanosecond": (lambda run: os.utime(run / "small", ns=(0, 10**18 + 1)), [("mtime", "small")]),
    "touch a directory": (lambda run: os.utime(run / "hollow"), [("mtime", "hollow")]),
    "touch a symlink": (lambda run: os.utime(run / "link", follow_symlinks=False), [("mtime", "link")]),
    "touch the run": (os.utime, [("mtime", "")]),
    "set an attribute": (lambda run: os.setxattr(run / "hollow", "user.x", b"x"), [("xattr", "hollow")]),
    "change an attribute": (lambda run: os.setxattr(run / "small", "user.note", b"lost"), [("xattr", "small")]),
    "remove an attribute": (lambda run: os.removexattr(run / "small", "user.note"), [("xattr", "small")]),
    "remove an access list": (
        lambda run: [stock("setfacl", "-b", run / "a" / "b" / "c"), (run / "a" / "b" / "c").chmod(0o444)],
        [("xattr", "a/b/c")],
    ),
    "grant by an access list": (
        lambda run: stock("setfacl", "-n", "-m", "u:54321:r", run / "a" / "b" / "c"),
        [("xattr", "a/b/c")],
    ),
    "grant write permission again": (
        lambda run: stock("setfacl", "-m", "m::rw", run / "a" / "b" / "c"),
        [("writable", "a/b/c"), ("xattr", "a/b/c")],
    ),
    "break a hard link": (
        lambda run: loosened(
            run / "sub",
            lambda: [
                shutil.copy2(run / "sub" / "twin", run / "sub" / "copy"),
                os.rename(run / "sub" / "copy", run / "sub" / "twin-too"),
                os.utime(run / "sub", ns=(10**18, 10**18)),
            ],
        ),
        [("links", "sub/twin-too")],
    ),
}


def told(found: tuple[gitrun.Difference, ...]) -> Found:
    """Kinds and paths, without the times of directories in which something came or went."""
    return [(one.kind, os.fsdecode(one.path)) for one in found]


@pytest.mark.parametrize("damage", DIFFERENCES)
def test_difference(locked: Path, damage: str) -> None:
    deed, expected = DIFFERENCES[damage]
    before = sealed_snapshot(locked)
    deed(locked)
    verdict = gitrun.verify(locked)
    assert told(verdict.differences) == expected
    assert (verdict.ok, verdict.exit, verdict.state) == (False, 4, "locked+modified")
    assert all(one.expected or one.actual for one in verdict.differences)
    added = any(kind == "added" for kind, _ in expected)
    gitrun.restore(locked, clean=added)
    assert_untouched(locked)
    assert sealed_snapshot(locked) == before


@pytest.mark.parametrize("damage", WARNINGS)
def test_drift(locked: Path, damage: str) -> None:
    deed, expected = WARNINGS[damage]
    before = sealed_snapshot(locked)
    deed(locked)
    verdict = gitrun.verify(locked)
    assert verdict.ok and verdict.exit == 0
    assert told(verdict.warnings) == expected
    strict = gitrun.verify(locked, strict=True)
    assert not strict.ok and strict.exit == 4
    assert (told(strict.differences), strict.warnings) == (expected, ())
    gitrun.restore(locked)
    assert_untouched(locked)
    assert sealed_snapshot(locked) == before


@pytest.mark.parametrize("damage", DIFFERENCES)
def test_difference_is_seen_by_quick(locked: Path, damage: str) -> None:
    """Nobody can forge a ctime: what was changed after the lock is found without reading the rest."""
    deed, expected = DIFFERENCES[damage]
    deed(locked)
    assert told(gitrun.verify(locked, quick=True).differences) == expected


def test_difference_and_drift_together(locked: Path) -> None:
    rewrite(locked / "small", b"changed\n")
    os.utime(locked / "hollow")
    verdict = gitrun.verify(locked)
    assert told(verdict.differences) == [("modified", "small")]
    assert told(verdict.warnings) == [("mtime", "hollow")]
    assert told(gitrun.verify(locked, strict=True).differences) == [("mtime", "hollow"), ("modified", "small")]


@pytest.mark.parametrize(
    ("damage", "code", "strict", "line"),
    [
        ("modify", 4, 4, "  modified  small"),
        ("delete an empty directory", 4, 4, "  deleted  hollow"),
        ("add an ignored name", 4, 4, "  added  x.log"),
        ("retarget a link", 4, 4, "  target  link  small -> script.sh"),
        ("file becomes a FIFO", 4, 4, "  type  small  file -> FIFO"),
        ("chmod +x", 0, 4, "  mode  script.sh  0444 -> 0555"),
        ("touch", 0, 4, "  mtime  small"),
    ],
)
def test_the_program_says_so(locked: Path, damage: str, code: int, strict: int, line: str) -> None:
    {**DIFFERENCES, **WARNINGS}[damage][0](locked)
    outcome = program("verify", locked)
    assert outcome.code == code
    assert line in outcome.out.splitlines()
    assert program("verify", "--strict", "-q", locked).code == strict


def test_digests_of_what_was_and_is(locked: Path) -> None:
    rewrite(locked / "small", b"changed\n")
    (one,) = gitrun.verify(locked).differences
    assert one.expected.startswith("sha256:") and one.expected.endswith(", 8 bytes")
    assert one.actual.startswith("sha256:") and one.actual != one.expected


@pytest.fixture
def guild_run(run: Path) -> Path:
    """A finished Guild run, whose label may change under the lock."""
    write(run / ".guild" / "opref", "guildfile:/x 0 train ''\n")
    write(run / ".guild" / "attrs" / "exit_status", "0\n")
    write(run / ".guild" / "attrs" / "label", "first\n")
    write(run / ".guild" / "attrs" / "id", "'x'\n")
    write(run / "output", "result\n")
    gitrun.lock(run)
    return run


def test_mutable_file_changed(guild_run: Path) -> None:
    """Allowed, and told; restore leaves it, unless it is named."""
    label = guild_run / ".guild" / "attrs" / "label"
    label.write_text("second\n")
    verdict = gitrun.verify(guild_run)
    assert verdict.ok and told(verdict.mutable) == [("mutable", ".guild/attrs/label")]
    assert gitrun.verify(guild_run, strict=True).ok
    gitrun.restore(guild_run)
    assert label.read_text() == "second\n"
    gitrun.restore(guild_run, [".guild/attrs/label"])
    assert label.read_text() == "first\n"


def test_mutable_file_deleted(guild_run: Path) -> None:
    """Only its content may change."""
    loosened(guild_run / ".guild" / "attrs", (guild_run / ".guild" / "attrs" / "label").unlink)
    assert told(gitrun.verify(guild_run).differences) == [("deleted", ".guild/attrs/label")]


def test_other_attribute_changed(guild_run: Path) -> None:
    rewrite(guild_run / ".guild" / "attrs" / "exit_status", b"1\n")
    assert told(gitrun.verify(guild_run).differences) == [("modified", ".guild/attrs/exit_status")]
