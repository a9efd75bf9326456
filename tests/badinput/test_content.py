"""Bad input, section D: contents that filters, pointers and thresholds could damage, and files that change meanwhile."""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gitrun
from gitrun import gather, hashing, making
from gitrun.pointer import Pointer
from tests.support.snapshots import snapshot
from tests.support.trial import (
    LARGE,
    assert_clone_has_all_bytes,
    assert_refused,
    assert_stock_tools_agree,
    assert_unchanged,
    assert_untouched,
    entry_of,
    program,
    record,
    round_trip,
    stock,
    write,
)

OID = hashlib.sha256(b"x").hexdigest()
POINTER = Pointer(OID, 12345).encode()
DIGEST_OF_4_GIB = "07d357bda5c988a206bb478ade5af844c26eaf242e951e5ac4d4f85b417ed69f"
"""Of 4 GiB of NULs and an `x`."""


def stored(run: Path) -> dict[bytes, str]:
    """How each file of a locked run is stored."""
    return {entry.path: entry.storage for entry in record(run).entries if entry.kind == "f"}


# -- 65, 66: line ends, keywords, encodings --

HOSTILE_CONFIG = """\
[core]
\tautocrlf = {autocrlf}
\tsafecrlf = true
\teol = crlf
\tattributesFile = {attributes}
[filter "evil"]
\tclean = tr a-z A-Z
\tsmudge = tr a-z A-Z
\trequired = true
"""


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
def test_d65_line_ends(run: Path, tmp_path: Path, autocrlf: str) -> None:
    attributes = write(tmp_path / "attributes", "* text=auto eol=crlf ident filter=evil working-tree-encoding=UTF-16\n")
    config = write(tmp_path / "config", HOSTILE_CONFIG.format(autocrlf=autocrlf, attributes=attributes))
    for number, content in enumerate(
        (b"a\r\nb\r\n", b"a\nb\n", b"a\r\nb\n", b"a\rb\r", b"\r\n", b"a\r\r\nb", b"a\r\n\x1a")
    ):
        write(run / f"{number}.txt", content)
    write(run / "large.txt", b"a\r\nb\n" * LARGE)
    before, env = snapshot(run), {"GIT_CONFIG_GLOBAL": str(config)}
    assert program("lock", run, env=env).code == 0
    assert program("verify", "--strict", run, env=env).code == 0
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    stock("rm", "-rf", run)
    assert program("restore", run, env=env).code == 0
    assert program("unlock", run, env=env).code == 0
    assert snapshot(run) == before


def test_d65_the_clone_of_somebody_with_autocrlf(run: Path, tmp_path: Path) -> None:
    """`* -text` at the top of the tree keeps git from converting there, too."""
    write(run / "unix.txt", b"a\nb\n")
    write(run / "windows.txt", b"a\r\nb\r\n")
    gitrun.lock(run)
    stock("git", "config", "--global", "core.autocrlf", "true")
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    assert stock("git", "-C", tmp_path / "clone", "status", "--porcelain") == b""


def test_d66_keywords_and_encodings(run: Path, tmp_path: Path) -> None:
    write(run / ".gitattributes", "*.c ident\n*.txt working-tree-encoding=UTF-16LE text\n*.bin filter=evil\n")
    write(run / "sub" / ".gitattributes", "* text eol=crlf\n")
    for name in ("x.c", "sub/x.c"):
        write(run / name, b"$Id$ $Id: 0123456789 $ $Date$\n")
    write(run / "x.txt", "\ufeffnot UTF-16\n".encode("utf-8"))
    write(run / "y.txt", "UTF-16\n".encode("utf-16-le"))
    write(run / "z.bin", b"\0\xff")
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")


# -- 67 to 70: pointers of git-lfs, and what looks like them --

LOOK_ALIKES = {
    "no-newline": POINTER[:-1],
    "crlf": POINTER.replace(b"\n", b"\r\n"),
    "trailing-blanks": POINTER + b"  \n\n",
    "leading-blanks": b"\n \t" + POINTER,
    "plus": POINTER.replace(b"size ", b"size +"),
    "zeros": POINTER.replace(b"size ", b"size 000"),
    "old-url": POINTER.replace(b"git-lfs.github.com", b"hawser.github.com"),
    "older-url": POINTER.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
    "extension": POINTER.replace(b"oid", b"ext-0-foo sha256:" + OID.encode() + b"\noid"),
    "largest-size": Pointer(OID, 2**63 - 1).encode(),
    "size-zero": POINTER.replace(b"12345", b"0"),
}
PLAIN = {
    "upper-case": POINTER.replace(OID.encode(), OID.upper().encode()),
    "extra-key": POINTER + b"zzz yyy\n",
    "bom": b"\xef\xbb\xbf" + POINTER,
    "negative": POINTER.replace(b"12345", b"-1"),
    "too-large": POINTER.replace(b"12345", str(2**63).encode()),
    "much-too-large": POINTER.replace(b"12345", b"9" * 30),
    "md5": POINTER.replace(b"sha256", b"md5"),
    "short-oid": POINTER.replace(OID.encode(), OID[:-1].encode()),
}


def test_d67_pointer(run: Path, tmp_path: Path) -> None:
    write(run / "pointer", POINTER)
    round_trip(run)
    gitrun.lock(run)
    assert entry_of(run, b"pointer").storage == "lfs"
    assert_clone_has_all_bytes(run, tmp_path / "clone")


def test_d67_pointer_to_a_large_file_of_the_run_itself(run: Path, tmp_path: Path) -> None:
    """As in a repository that was cloned without git-lfs, beside one that was not."""
    content = b"large\n" * LARGE
    write(run / "large", content)
    write(run / "pointer", Pointer(hashlib.sha256(content).hexdigest(), len(content)).encode())
    write(run / "pointer-to-pointer", Pointer(hashlib.sha256(POINTER).hexdigest(), len(POINTER)).encode())
    write(run / "pointed-to", POINTER)
    round_trip(run)
    gitrun.lock(run)
    assert set(stored(run).values()) == {"lfs"}
    assert_clone_has_all_bytes(run, tmp_path / "clone")


def test_d68_look_alikes(run: Path, tmp_path: Path) -> None:
    for name, content in LOOK_ALIKES.items():
        write(run / name, content)
    round_trip(run)
    gitrun.lock(run)
    assert set(stored(run).values()) == {"lfs"}
    assert_clone_has_all_bytes(run, tmp_path / "clone")


def test_d68_symlink_to_pointer_text(run: Path, tmp_path: Path) -> None:
    for name, content in LOOK_ALIKES.items():
        os.symlink(content, os.fsencode(run / name))
    os.symlink("elsewhere", run / "ordinary")
    round_trip(run)
    gitrun.lock(run)
    assert_stock_tools_agree(run)
    subprocess.run(["git", "clone", "-q", gitrun.path(run), tmp_path / "clone"], check=True)
    assert [path.name for path in (tmp_path / "clone").iterdir() if path.is_symlink()] == ["ordinary"]


def test_d69_what_git_lfs_takes_for_content(run: Path, tmp_path: Path) -> None:
    for name, content in PLAIN.items():
        write(run / name, content)
    round_trip(run)
    gitrun.lock(run)
    assert set(stored(run).values()) == {"blob"}
    assert_clone_has_all_bytes(run, tmp_path / "clone")


@pytest.mark.parametrize("fill", [b" ", b"\n", b"x", b"\0"], ids=repr)
def test_d70_pointers_of_1023_to_1025_bytes(run: Path, tmp_path: Path, fill: bytes) -> None:
    for size in (1022, 1023, 1024, 1025):
        write(run / str(size), POINTER + fill * (size - len(POINTER)))
    round_trip(run)
    gitrun.lock(run)
    blanks = fill.isspace()
    expected = {b"1022": "lfs", b"1023": "lfs", b"1024": "blob", b"1025": "blob"}
    assert stored(run) == (expected if blanks else dict.fromkeys(expected, "blob"))
    assert_clone_has_all_bytes(run, tmp_path / "clone")


# -- 71, 72: thresholds and equal files --


@pytest.mark.parametrize("threshold", [1, 100, 4096, LARGE])
def test_d71_threshold(run: Path, tmp_path: Path, threshold: int) -> None:
    for difference in (-1, 0, 1):
        write(run / f"{difference:+}", b"x" * (threshold + difference))
    option = f"--large-threshold={threshold}"
    assert program("lock", option, run).code == 0
    assert stored(run) == {b"+0": "lfs", b"+1": "lfs", b"-1": "blob"}
    assert record(run).header("threshold") == str(threshold)
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    gitrun.unlock(run)
    round_trip(run, large_threshold=threshold)


def test_d71_default_threshold(run: Path) -> None:
    for difference in (-1, 0, 1):
        write(run / f"{difference:+}", b"x" * (LARGE + difference))
    gitrun.lock(run)
    assert stored(run) == {b"+0": "lfs", b"+1": "lfs", b"-1": "blob"}


@pytest.mark.parametrize("value", ["0", "-1", "1.5.5", "12Q", "", "ten", "9" * 5000])
def test_d71_threshold_that_is_none(run: Path, value: str) -> None:
    write(run / "file")
    before = snapshot(run.parent)
    outcome = program("lock", f"--large-threshold={value}", run)
    assert outcome.code == 2 and "Traceback" not in outcome.err
    assert_unchanged(before, run.parent)


def test_d72_equal_files(run: Path, tmp_path: Path) -> None:
    contents = {"small": b"small\n", "large": b"large\n" * LARGE, "pointer": POINTER}
    for name, content in contents.items():
        for number in range(3):
            write(run / f"{name}-{number}", content)
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    assert len(objects(run)) == 2  # the large one and the pointer
    for name in contents:
        gitrun.unlock(run)
        (run / f"{name}-0").unlink()
        gitrun.lock(run)
        (run / f"{name}-1").chmod(0o644)
        write(run / f"{name}-1", "damaged")
        gitrun.restore(run)
        assert_untouched(run)


def objects(run: Path) -> list[Path]:
    """The LFS objects of a run."""
    return sorted(path for path in (gitrun.path(run) / "lfs" / "objects").rglob("*") if path.is_file())


def test_d72_a_small_file_equal_to_a_pointer_of_a_large_one(run: Path, tmp_path: Path) -> None:
    """Both have the same blob in the tree, and must not be taken for one another."""
    content = b"large\n" * LARGE
    write(run / "a-large", content)
    write(run / "b-pointer", Pointer(hashlib.sha256(content).hexdigest(), len(content)).encode())
    gitrun.lock(run, link="none")
    gitrun.unlock(run)
    round_trip(run)


# -- 74: sizes --


def test_d74_sizes_around_every_border(run: Path, tmp_path: Path) -> None:
    borders = [0, 1, 2, 512, 1024, 4096, 65536, LARGE, 2 * LARGE, 4 * LARGE]
    for size in sorted({max(0, border + difference) for border in borders for difference in (-1, 0, 1)}):
        write(run / f"nul-{size}", b"\0" * size)
        write(run / f"ff-{size}", b"\xff" * size)
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")


def test_d74_size_of_more_than_32_bits(run: Path) -> None:
    """4 GiB of holes and one byte, whose content is not stored, so that only hashing costs."""
    with open(run / "file", "wb") as file:
        file.seek(2**32)
        file.write(b"x")
    gitrun.lock(run, link="none")
    assert (entry_of(run, b"file").size, entry_of(run, b"file").sha256) == (2**32 + 1, DIGEST_OF_4_GIB)


# -- 75 to 80: what changes meanwhile --


@contextmanager
def meanwhile(deed: Callable[[], object]) -> Iterator[None]:
    """Another thread does something again and again for the duration of a block."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            deed()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        done.set()
        worker.join()


@pytest.mark.parametrize("size", [100_000, 3 * LARGE], ids=["small", "large"])
def test_d75_file_that_is_overwritten_all_the_time(run: Path, size: int) -> None:
    """Either it is seen to change, or what was hashed is what is there; never a digest of a mixture."""
    path = write(run / "file", b"a" * size)

    def overwrite() -> None:
        for letter in b"ab":
            fd = os.open(path, os.O_WRONLY)
            os.pwrite(fd, bytes([letter]) * size, 0)
            os.close(fd)

    with meanwhile(overwrite):
        outcome = program("lock", "--json", run)
    assert outcome.code == 5
    assert outcome.object["error"]["code"] in ("ChangedWhileReading", "RunActive")
    assert outcome.object["error"]["path"] == str(path)
    assert sorted(os.listdir(run.parent)) == ["run"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("size", [100_000, 3 * LARGE], ids=["small", "large"])
def test_d76_log_that_grows(run: Path, size: int) -> None:
    """SPEC section 6 knows no `--wait`."""
    path = write(run / "train.log", b"a" * size)

    def grow() -> None:
        with open(path, "ab") as file:
            file.write(b"step\n")

    with meanwhile(grow):
        outcome = program("lock", "--json", run)
    assert outcome.code == 5
    assert outcome.object["error"]["code"] in ("ChangedWhileReading", "RunActive")
    assert sorted(os.listdir(run.parent)) == ["run"]


def test_d77_size_and_time_forged(run: Path) -> None:
    """Found by the content; by `--quick`, too, since nobody can put the ctime back."""
    path = write(run / "file", "locked\n")
    gitrun.lock(run)
    assert gitrun.verify(run).ok
    was = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"l0cked\n")
    path.chmod(0o444)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    for quick in (False, True):
        verdict = gitrun.verify(run, quick=quick)
        assert [(one.kind, one.path) for one in verdict.differences] == [("modified", b"file")]
    assert program("verify", "--quick", run).code == program("verify", run).code == 4
    assert_refused("lock", run, code="RunChanged", path=path)


def interposed(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object]) -> None:
    """Does something once, after the run was listed and before its first file is read."""

    def walked(run: bytes) -> list[hashing.Node]:
        monkeypatch.undo()
        nodes = making.walk(run)
        deed()
        return nodes

    monkeypatch.setattr(making, "walk", walked)


@pytest.mark.parametrize("size", [5, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("deed", ["truncate", "grow", "replace", "remove", "same size"])
def test_d78_changed_between_list_and_open(run: Path, monkeypatch: pytest.MonkeyPatch, deed: str, size: int) -> None:
    path = write(run / "sub" / "file", b"x" * size)

    def replace() -> None:
        write(run.parent / "new", b"x" * size)
        os.utime(run.parent / "new", ns=(path.stat().st_mtime_ns,) * 2)
        os.rename(run.parent / "new", path)

    deeds: dict[str, Callable[[], object]] = {
        "truncate": lambda: os.truncate(path, 0),
        "grow": lambda: path.write_bytes(b"x" * (size + 1)),
        "replace": replace,
        "remove": path.unlink,
        "same size": lambda: path.write_bytes(b"y" * size),
    }
    interposed(monkeypatch, deeds[deed])
    with pytest.raises(gitrun.ChangedWhileReading) as caught:
        gitrun.lock(run)
    assert caught.value.path == os.fsencode(path)
    assert os.listdir(run) == ["sub"] and os.listdir(run.parent) == ["run"]
    assert run.stat().st_mode & 0o222
    round_trip(run)


ADDED: dict[str, Callable[[Path], object]] = {
    "file": lambda run: write(run / "sub" / "new"),
    "directory": lambda run: (run / "new").mkdir(),
    "symlink": lambda run: (run / "sub" / "new").symlink_to("x"),
    "fifo": lambda run: os.mkfifo(run / "new"),
    "hard link": lambda run: os.link(run / "sub" / "file", run / "new"),
}


@pytest.mark.parametrize("kind", ADDED)
def test_d80_added_after_the_walk(run: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    write(run / "sub" / "file")
    interposed(monkeypatch, lambda: ADDED[kind](run))
    with pytest.raises(gitrun.ChangedWhileReading):
        gitrun.lock(run)
    assert os.listdir(run.parent) == ["run"]
    assert {path.stat().st_mode & 0o222 for path in (run, run / "sub", run / "sub" / "file")} == {0o200}
    round_trip(run)


@pytest.mark.parametrize("moment", ["added", "removed", "retargeted", "renamed"])
def test_d80_changed_between_hashing_and_sealing(run: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """The second look finds it, and everything is put back."""
    write(run / "sub" / "file")
    (run / "link").symlink_to("sub/file")
    os.mkfifo(run / "fifo")
    deeds: dict[str, Callable[[], object]] = {
        "added": lambda: write(run / "sub" / "new"),
        "removed": (run / "fifo").unlink,
        "retargeted": lambda: ((run / "link").unlink(), (run / "link").symlink_to("sub/elsf")),
        "renamed": lambda: os.rename(run / "fifo", run / "sub" / "fifo"),
    }
    gathered = gather.gather

    def gathering(*arguments: object) -> object:
        found = gathered(*arguments)  # type: ignore[arg-type]
        deeds[moment]()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(making, "gather", gathering)
        with pytest.raises(gitrun.ChangedWhileReading):
            gitrun.lock(run)
    assert os.listdir(run.parent) == ["run"] and not (run / ".gitrun.lock").exists()
    assert {path.stat().st_mode & 0o222 for path in (run, run / "sub", run / "sub" / "file")} == {0o200}
    round_trip(run)


@pytest.mark.parametrize("link", ["auto", "none"])
@pytest.mark.parametrize("size", [5, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("names", [1, 2])
def test_d77_rewritten_between_hashing_and_sealing(
    run: Path, monkeypatch: pytest.MonkeyPatch, names: int, size: int, link: str
) -> None:
    """Size and times were put back: only the ctime tells, and sealing would have changed that."""
    path = write(run / "sub" / "file", b"x" * size)
    if names == 2:
        os.link(path, run / "other name")
    gathered = gather.gather

    def gathering(*arguments: object) -> object:
        found = gathered(*arguments)  # type: ignore[arg-type]
        before = path.stat()
        path.write_bytes(b"y" * size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(making, "gather", gathering)
        with pytest.raises(gitrun.ChangedWhileReading):
            gitrun.lock(run, link=link)  # type: ignore[arg-type]
    assert os.listdir(run.parent) == ["run"] and not (run / ".gitrun.lock").exists()
    assert path.stat().st_mode & 0o222
    round_trip(run)


# -- 82, 83: who writes --

HOLD = """\
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[2] == "mapped":
    map = mmap.mmap(fd, 0)
    os.close(fd)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, how: str) -> Iterator[int]:
    """Another process has the file open, or mapped, for writing for the duration of a block; the value is its id."""
    command = [sys.executable, "-c", HOLD, path, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.stdin.close()


@pytest.mark.parametrize("size", [5, LARGE], ids=["small", "large"])
def test_d82_open_for_writing(run: Path, size: int) -> None:
    path = write(run / "sub" / "file", b"x" * size)
    with held(path, "open") as pid:
        assert_refused("lock", run, code="RunActive", path=path, says=f"by process {pid}")
        assert program("lock", "--force", run).code == 0
    assert_untouched(run)
    gitrun.unlock(run)
    round_trip(run)


@pytest.mark.parametrize("size", [5, LARGE], ids=["small", "large"])
def test_d83_mapped_for_writing(run: Path, size: int) -> None:
    """With the descriptor closed, so that no list of open files shows it."""
    path = write(run / "file", b"x" * size)
    with held(path, "mapped"):
        assert_refused("lock", run, code="RunActive", path=path, says="open for writing")
    assert program("lock", run).code == 0


def test_d82_open_for_reading_is_no_matter(run: Path) -> None:
    path = write(run / "file")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        assert program("lock", run).code == 0


def test_d82_own_process_as_a_library(run: Path) -> None:
    """A training script that locks its own run with a log still open."""
    with open(write(run / "log"), "ab"), pytest.raises(gitrun.RunActive):
        gitrun.lock(run)
    gitrun.lock(run)


def test_d82_writer_that_comes_and_goes(run: Path) -> None:
    """It may come between two looks: either the lock is refused, or what was hashed is what is there."""
    path = write(run / "file")
    ready = threading.Event()

    def write_late() -> None:
        ready.set()
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            fd = os.open(path, os.O_WRONLY)
            os.pwrite(fd, os.urandom(1), 0)
            os.close(fd)

    thread = threading.Thread(target=write_late)
    thread.start()
    ready.wait()
    outcome = program("lock", run)
    thread.join()
    if outcome.code == 0:
        assert gitrun.verify(run).ok
    else:
        assert outcome.code == 5 and os.listdir(run) == ["file"]
