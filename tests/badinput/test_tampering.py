"""Bad input, sections E and G: no flock, odd clocks, and lock files that somebody edited."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import gitrun
from gitrun.entry import LOCK_FILE
from gitrun.guard import guarded
from gitrun.lockfile import LockFile
from gitrun.ops import unlock as unlocking
from tests.support.tools import CHECKOUT

LOCK = LOCK_FILE.decode()
DIGEST = hashlib.sha256(b"a").hexdigest().encode()


def change(path: Path, data: bytes) -> None:
    """Puts `data` into the lock file of a locked run, by force."""
    path.parent.chmod(0o755)
    path.unlink()
    path.write_bytes(data)
    path.parent.chmod(0o555)


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "a").write_text("a")
    gitrun.lock(run)
    return run


@pytest.fixture
def copied(locked: Path, tmp_path: Path) -> Path:
    """A copy of a locked run, far from its repository."""
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "run"
    subprocess.run(["cp", "-a", locked, copy], check=True)
    subprocess.run(["rm", "-rf", tmp_path / ".gitrun"], check=True)
    return copy


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "another digest": lambda data: data.replace(DIGEST, bytes(reversed(DIGEST))),
    "cut in half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "nonsense": lambda data: b"\0\xff" * 1000,
    "JSON": lambda data: b'{"a": [[[[[NaN]]]]], "a": 1}',
    "newer format": lambda data: data.replace(b"lock 1.0", b"lock 9.0"),
    "counts that are no numbers": lambda data: data.replace(b"# files: 1\n", b"# files: x\n"),
    "a path that leaves the run": lambda data: data.replace(b"  a\n", b"  ../a\n"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_g133_edited_lock_file(locked: Path, edit: Callable[[bytes], bytes]) -> None:
    """It is a difference like any other; what else differs is told by the one that the tag vouches for."""
    change(locked / LOCK, edit((locked / LOCK).read_bytes()))
    verdict = gitrun.verify(locked)
    assert [(it.path, it.kind) for it in verdict.differences] == [(LOCK_FILE, "modified")]
    assert (verdict.exit, verdict.state, gitrun.status(locked).state) == (4, "locked+modified", "locked+modified")
    gitrun.restore(locked)
    assert gitrun.verify(locked)


def test_g133_it_hides_nothing(locked: Path) -> None:
    """A changed file and a lock file that agrees with it."""
    record = LockFile.decode((locked / LOCK).read_bytes())
    (locked / "a").chmod(0o644)
    (locked / "a").write_text("b")
    entries = [entry._replace(sha256="0" * 64) if entry.path == b"a" else entry for entry in record.entries]
    change(locked / LOCK, type(record)(record.headers, tuple(entries)).encode())
    assert [it.kind for it in gitrun.verify(locked).differences] == ["modified", "modified"]


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_g134_the_only_record_of_a_copy(copied: Path, edit: Callable[[bytes], bytes]) -> None:
    good = (copied / LOCK).read_bytes()
    assert gitrun.verify(copied)
    change(copied / LOCK, edit(good))
    if edit is EDITS["another digest"]:
        assert gitrun.verify(copied).exit in (0, 4)  # it is the only witness
        return
    with pytest.raises(gitrun.RecordError) as refused:
        gitrun.verify(copied)
    assert refused.value.exit_code == 6 and refused.value.path == os.fsencode(copied / LOCK)
    assert gitrun.status(copied).state in ("detached", "unlocked")


def test_g134_a_lock_file_larger_than_any(copied: Path) -> None:
    change(copied / LOCK, b"")
    os.truncate(copied / LOCK, (1 << 30) + 1)
    with pytest.raises(gitrun.LockFileInvalid, match="too large"):
        gitrun.verify(copied)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_e92_without_flock_a_soft_lock_serves(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    assert gitrun.verify(locked)
    gitrun.unlock(locked)
    gitrun.lock(locked)
    assert [path.name for path in (tmp_path / ".gitrun").iterdir()] == ["run.git"]


def test_e92_without_flock_the_second_one_is_refused(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import SoftFileLock

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(unlocking, "guarded", partial(guarded, patience=0.1))
    with SoftFileLock(tmp_path / ".gitrun" / "run.guard"), pytest.raises(gitrun.RunBusy):
        gitrun.unlock(locked)
    assert gitrun.status(locked).state == "locked"


@pytest.mark.parametrize("when", [0, 86400, 4102444800, 253402300799])
def test_e98_any_clock(tmp_path: Path, when: int) -> None:
    """In 1970, in 2100, in 9999: locked, verified, unlocked and locked again at an earlier time."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "a").write_text("a")
    script = (
        "import sys, time, gitrun\n"
        "now = [float(sys.argv[1])]\n"
        "time.time = lambda: now[0]\n"
        "time.time_ns = lambda: int(now[0]) * 10**9\n"
        "assert gitrun.lock('run').locked_at == int(now[0])\n"
        "assert gitrun.verify('run') and gitrun.verify('run', quick=True)\n"
        "gitrun.unlock('run')\n"
        "now[0] = max(0, now[0] - 10**6)\n"
        "gitrun.lock('run')\n"
        "print(gitrun.status('run').locks, gitrun.fsck('run').ok)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(when)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "2 True\n", done.stderr


@pytest.mark.parametrize("when", [-1, 0, 4102444800])
def test_e98_any_time_of_a_file(tmp_path: Path, when: int) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "a").write_text("a")
    os.utime(run / "a", (when, when))
    gitrun.lock(run)
    (run / "a").chmod(0o644)
    (run / "a").write_text("b")
    gitrun.restore(run)
    assert (run / "a").stat().st_mtime == when and gitrun.verify(run, strict=True)
