"""verify: what it finds, what it names, what it trusts."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import LARGE, MODEL, copy, large_object, loosen, overwrite, remove, repository_of
from tests.support.picture import picture
from tests.support.program import Told
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


def found(run: Path, **options: bool) -> list[tuple[str, str]]:
    """Path and kind of every difference, with the exit code checked."""
    verdict = gitrun.verify(run, **options)
    assert verdict.exit == (4 if verdict.differences else 0)
    assert verdict.ok is bool(verdict) is (not verdict.differences)
    return [(os.fsdecode(one.path), one.kind) for one in verdict.differences]


def warned(run: Path) -> list[tuple[str, str]]:
    verdict = gitrun.verify(run)
    assert verdict.ok
    return [(os.fsdecode(one.path), one.kind) for one in verdict.warnings]


def make_socket(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(name)


@pytest.fixture
def locked(run: Path) -> Path:
    """A locked run, with its directories made writable again so that tests can meddle."""
    gitrun.lock(run)
    loosen(run, run / "sub", run / "sub" / "deep", run / "hollow")
    return run


class TestVerdict:
    def test_untouched(self, run: Path, call: Call, ask: Ask) -> None:
        gitrun.lock(run)
        before = {p: s for p, s in picture(run.parent).items() if b".gitrun/" not in p}
        told = call("verify", run)
        assert (told.code, told.err) == (0, "") and told.out.startswith("ok train (")
        verdict = ask("verify", run)
        assert (verdict["ok"], verdict["state"], verdict["differences"], verdict["warnings"]) == (
            True,
            "locked",
            [],
            [],
        )
        assert (verdict["checked_files"], verdict["checked_bytes"]) == (6, LARGE + 41)
        assert call("verify", "--strict", run).code == 0
        assert {p: s for p, s in picture(run.parent).items() if b".gitrun/" not in p} == before

    @pytest.mark.parametrize("never_locked", [True, False])
    def test_a_run_that_is_not_locked_is_3(self, run: Path, ask: Ask, never_locked: bool) -> None:
        if not never_locked:
            gitrun.lock(run)
            gitrun.unlock(run)
        told = ask("verify", run)
        assert (told["exit"], told["error"]["code"]) == (3, "NotLocked")
        assert "gitrun lock" in told["error"]["hint"]

    def test_a_run_that_is_gone_is_3(self, locked: Path, ask: Ask) -> None:
        remove(locked)
        told = ask("verify", locked)
        assert (told["exit"], told["state"]) == (3, "orphaned")
        assert "restore" in told["error"]["hint"]

    def test_nothing_there_is_3(self, tmp_path: Path, call: Call) -> None:
        assert call("verify", tmp_path / "nothing").code == 3

    def test_a_file_is_no_run(self, locked: Path, call: Call) -> None:
        assert call("verify", locked / "config.yaml").code == 3


class TestDifferences:
    def test_content(self, locked: Path, ask: Ask) -> None:
        overwrite(locked / "config.yaml", b"lr: 0.2\n")
        (one,) = ask("verify", locked)["differences"]
        assert (one["path"], one["kind"]) == ("config.yaml", "modified")
        for side, data in (("expected", b"lr: 0.1\n"), ("actual", b"lr: 0.2\n")):
            assert one[side] == f"sha256:{hashlib.sha256(data).hexdigest()}, 8 bytes"

    @pytest.mark.parametrize("name", ["config.yaml", "model.bin", "sub/deep/sealed"])
    @pytest.mark.parametrize("where", [0, -1])
    def test_one_bit(self, locked: Path, name: str, where: int) -> None:
        data = bytearray((locked / name).read_bytes())
        data[where] ^= 1
        times = (locked / name).stat()
        overwrite(locked / name, bytes(data))
        os.utime(locked / name, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert found(locked) == [(name, "modified")]

    @pytest.mark.parametrize("data", [b"", b"lr: 0.1", b"lr: 0.1\n\0"])
    def test_length(self, locked: Path, data: bytes) -> None:
        overwrite(locked / "config.yaml", data)
        assert found(locked) == [("config.yaml", "modified")]

    def test_deleted(self, locked: Path) -> None:
        (locked / "config.yaml").unlink()
        (locked / "link").unlink()
        (locked / "hollow").rmdir()
        assert found(locked) == [("config.yaml", "deleted"), ("hollow", "deleted"), ("link", "deleted")]

    def test_added(self, locked: Path) -> None:
        (locked / "new").touch()
        (locked / "sub" / "dir").mkdir()
        (locked / "sub" / "dir" / "x").symlink_to("nowhere")
        os.mkfifo(locked / "hollow" / "pipe")
        assert found(locked) == [
            ("hollow/pipe", "added"), ("new", "added"), ("sub/dir", "added"), ("sub/dir/x", "added"),
        ]  # fmt: skip

    def test_renamed(self, locked: Path) -> None:
        (locked / "config.yaml").rename(locked / "conf.yaml")
        assert found(locked) == [("conf.yaml", "added"), ("config.yaml", "deleted")]

    @pytest.mark.parametrize("name", ["config.yaml", "link", "hollow"])
    @pytest.mark.parametrize("other", ["file", "directory", "symlink", "fifo", "socket"])
    def test_type(self, locked: Path, name: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path = locked / name
        kind = {"config.yaml": "file", "link": "symlink", "hollow": "directory"}[name]
        path.rmdir() if kind == "directory" else path.unlink()
        monkeypatch.chdir(locked)
        {
            "file": lambda: path.write_bytes(b"lr: 0.1\n"),
            "directory": path.mkdir,
            "symlink": lambda: path.symlink_to("sub/secret" if kind != "symlink" else "sub/deep"),
            "fifo": lambda: os.mkfifo(path),
            "socket": lambda: make_socket(name),
        }[other]()
        expected = "type" if kind != other else {"symlink": "target"}.get(kind)
        assert found(locked) == ([(name, expected)] if expected else [])

    def test_a_symlink_to_the_same_bytes_is_another_type(self, locked: Path) -> None:
        (locked / "config.yaml").rename(locked.parent / "aside")
        (locked / "config.yaml").symlink_to("../aside")
        assert found(locked) == [("config.yaml", "type")]

    def test_the_run_itself_is_a_symlink_now(self, locked: Path, call: Call) -> None:
        locked.rename(locked.with_name("real"))
        locked.symlink_to("real")
        assert call("verify", locked).code == 0  # the directory that it points to is the run, and has its id

    def test_all_are_reported(self, locked: Path, call: Call) -> None:
        for number in range(50):
            (locked / f"new-{number:02}").touch()
        overwrite(locked / "config.yaml", b"x")
        assert len(found(locked)) == 51
        told = call("verify", "-v", locked)
        assert told.code == 4 and sum("new-" in line for line in told.out.splitlines()) == 50

    @pytest.mark.parametrize("name", [".ipynb_checkpoints", "__pycache__", ".x.swp", ".DS_Store", ".nfs0001"])
    def test_litter_is_named_as_such(self, locked: Path, name: str) -> None:
        (locked / name).touch()
        (one,) = gitrun.verify(locked).differences
        assert one.kind == "added" and ("left by" in one.note or "NFS" in one.note)

    @pytest.mark.parametrize("options", [{"quick": True}, {}])
    def test_state_is_remembered(self, locked: Path, options: dict[str, bool]) -> None:
        assert gitrun.status(locked).state == "locked"
        overwrite(locked / "config.yaml", b"x")
        gitrun.verify(locked)
        assert gitrun.status(locked).state == "locked+modified"
        overwrite(locked / "config.yaml", b"lr: 0.1\n")
        assert gitrun.verify(locked, **options).ok
        gitrun.verify(locked)
        assert gitrun.status(locked).state == "locked"


class TestDrift:
    def test_modes_are_warnings(self, run: Path) -> None:
        gitrun.lock(run)
        (run / "config.yaml").chmod(0o644)
        (run / "sub").chmod(0o755)
        (run / "go.sh").chmod(0o444)
        (run / "sub" / "secret").chmod(0o4400)
        expected = [("config.yaml", "writable"), ("go.sh", "mode"), ("sub", "writable"), ("sub/secret", "mode")]
        assert warned(run) == expected
        assert found(run, strict=True) == expected

    def test_everything_writable_is_one_line(self, run: Path) -> None:
        gitrun.lock(run)
        for path in [run, *run.rglob("*")]:
            if not path.is_symlink() and path.name not in (".git", ".gitrun.lock"):
                path.chmod(path.stat().st_mode | 0o200)
        assert warned(run) == [("", "writable")]
        assert gitrun.verify(run).protection == "none"
        assert found(run, strict=True) == [("", "writable")]

    def test_times_are_warnings(self, run: Path) -> None:
        gitrun.lock(run)
        os.utime(run / "config.yaml", ns=(5, 5))
        os.utime(run / "sub", ns=(5, 5))
        os.utime(run / "link", ns=(5, 5), follow_symlinks=False)
        expected = [("config.yaml", "mtime"), ("link", "mtime"), ("sub", "mtime")]
        assert warned(run) == expected
        assert found(run, strict=True) == expected

    def test_extended_attributes_are_warnings(self, run: Path) -> None:
        os.setxattr(run / "go.sh", "user.kept", b"1")
        gitrun.lock(run)
        (run / "config.yaml").chmod(0o644)
        os.setxattr(run / "config.yaml", "user.new", b"1")
        (run / "config.yaml").chmod(0o444)
        os.removexattr(run / "go.sh", "user.kept")
        assert warned(run) == [("config.yaml", "xattr"), ("go.sh", "xattr")]
        assert found(run, strict=True) == [("config.yaml", "xattr"), ("go.sh", "xattr")]

    def test_hard_links_taken_apart_are_warnings(self, run: Path) -> None:
        os.link(run / "config.yaml", run / "twin")
        gitrun.lock(run)
        loosen(run)
        times = (run / "twin").stat().st_mtime_ns
        (run / "twin").unlink()
        (run / "twin").write_bytes(b"lr: 0.1\n")
        (run / "twin").chmod(0o444)
        os.utime(run / "twin", ns=(times, times))
        run.chmod(0o555)
        assert ("twin", "links") in warned(run)
        assert ("twin", "links") in found(run, strict=True)

    def test_protection_is_none_when_anything_is_writable(self, users_run: Path) -> None:
        assert program("lock", users_run, user=True).code == 0
        (users_run / "sub" / "secret").chmod(0o600)
        assert program("verify", "--json", users_run, user=True).object["protection"] == "none"


class TestQuick:
    def test_it_trusts_and_says_so(self, run: Path, ask: Ask, call: Call) -> None:
        gitrun.lock(run)
        verdict = ask("verify", "--quick", run)
        assert (verdict["ok"], verdict["checked_files"], verdict["trusted_files"]) == (True, 0, 6)
        assert "not read" in verdict["notes"][0]
        told = call("verify", "--quick", run)
        assert "not read" in told.err + told.out

    def test_a_full_one_reads_everything(self, run: Path) -> None:
        gitrun.lock(run)
        verdict = gitrun.verify(run)
        assert (verdict.checked_files, verdict.trusted_files) == (6, 0)

    def test_after_any_touch_the_file_is_read_again(self, run: Path) -> None:
        gitrun.lock(run)
        os.utime(run / "config.yaml")
        verdict = gitrun.verify(run, quick=True)
        assert (verdict.ok, verdict.checked_files, verdict.trusted_files) == (True, 1, 5)
        gitrun.verify(run)
        time.sleep(0.05)  # a change within one tick of the kernel's clock proves nothing
        gitrun.verify(run)
        assert gitrun.verify(run, quick=True).trusted_files == 6

    def test_forged_size_and_mtime_are_caught_by_ctime(self, run: Path) -> None:
        gitrun.lock(run)
        times = (run / "config.yaml").stat()
        (run / "config.yaml").chmod(0o644)
        with open(run / "config.yaml", "r+b") as file:
            file.write(b"lr: 9.9\n")
        (run / "config.yaml").chmod(0o444)
        os.utime(run / "config.yaml", ns=(times.st_atime_ns, times.st_mtime_ns))
        after = (run / "config.yaml").stat()
        assert (after.st_size, after.st_mtime_ns, after.st_ino) == (times.st_size, times.st_mtime_ns, times.st_ino)
        assert found(run, quick=True) == [("config.yaml", "modified")]

    def test_another_inode_is_read(self, run: Path) -> None:
        gitrun.lock(run)
        loosen(run)
        times = (run / "config.yaml").stat()
        (run / "other").write_bytes(b"lr: 9.9\n")
        (run / "other").rename(run / "config.yaml")
        (run / "config.yaml").chmod(0o444)
        os.utime(run / "config.yaml", ns=(times.st_atime_ns, times.st_mtime_ns))
        assert found(run, quick=True) == [("config.yaml", "modified")]

    def test_names_and_types_are_always_looked_at(self, locked: Path) -> None:
        (locked / "config.yaml").unlink()
        (locked / "new").touch()
        (locked / "link").unlink()
        (locked / "link").symlink_to("elsewhere")
        assert found(locked, quick=True) == [("config.yaml", "deleted"), ("link", "target"), ("new", "added")]

    def test_a_difference_that_a_full_one_found_stays_found(self, locked: Path) -> None:
        overwrite(locked / "config.yaml", b"lr: 0.2\n")
        assert found(locked) == found(locked, quick=True) == [("config.yaml", "modified")]

    @pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 100, b'{"digest": 1}\n'])
    def test_a_damaged_memory_means_that_everything_is_read(self, run: Path, damage: bytes) -> None:
        gitrun.lock(run)
        (repository_of(run) / "gitrun" / "verified").write_bytes(damage)
        verdict = gitrun.verify(run, quick=True)
        assert (verdict.ok, verdict.checked_files) == (True, 6)

    def test_the_memory_of_another_lock_is_not_trusted(self, run: Path) -> None:
        gitrun.lock(run)
        memory = repository_of(run) / "gitrun" / "verified"
        old = memory.read_bytes()
        gitrun.unlock(run)
        (run / "config.yaml").write_text("lr: 0.2\n")
        gitrun.lock(run)
        memory.write_bytes(old)
        assert gitrun.verify(run, quick=True).checked_files == 6

    def test_strict_and_quick_go_together(self, run: Path) -> None:
        gitrun.lock(run)
        assert gitrun.verify(run, quick=True, strict=True)
        (run / "config.yaml").chmod(0o644)
        assert found(run, quick=True, strict=True) == [("config.yaml", "writable")]

    def test_a_copy_has_no_memory(self, run: Path) -> None:
        gitrun.lock(run)
        assert gitrun.verify(copy(run, run.with_name("copy")), quick=True).checked_files == 6


class TestStore:
    def test_a_sound_one(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        assert ask("verify", "--store", run)["ok"]

    def test_a_flipped_byte_of_a_large_object(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        stored = large_object(repository_of(run))
        overwrite(stored, MODEL[:-1] + b"\0")
        assert ask("verify", run)["exit"] == 0  # it does not need it
        told = ask("verify", "--store", run)
        assert told["exit"] == 6 and not told["ok"]
        assert [(one["path"], one["kind"]) for one in told["differences"]] == [("model.bin", "stored")]

    def test_a_damaged_pack(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        (pack,) = (repository_of(run) / "objects" / "pack").glob("*.pack")
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 0xFF
        overwrite(pack, bytes(data))
        assert ask("verify", "--store", run)["exit"] in (4, 6)


class TestActive:
    def test_specials_are_compared_and_never_opened(self, run: Path) -> None:
        os.mkfifo(run / "pipe")
        gitrun.lock(run)
        assert gitrun.verify(run, strict=True)
        loosen(run)
        (run / "pipe").unlink()
        assert ("pipe", "deleted") in found(run)

    def test_an_unreadable_file_is_no_verdict(self, users_run: Path) -> None:
        assert program("lock", users_run, user=True).code == 0
        (users_run / "config.yaml").chmod(0)
        told = program("verify", "--json", users_run, user=True)
        assert told.code == 8 and told.object["error"]["path"] == str(users_run / "config.yaml")
        (users_run / "config.yaml").chmod(0o444)
        (users_run / "sub").chmod(0)
        told = program("verify", "--json", users_run, user=True)
        assert told.code == 8 and told.object["error"]["path"] == str(users_run / "sub")
        (users_run / "sub").chmod(0o555)

    def test_it_writes_nothing_where_it_may_not(self, users_run: Path) -> None:
        assert program("lock", users_run, user=True).code == 0
        store = users_run.parent / ".gitrun"
        modes = {path: path.lstat().st_mode for path in [store, *store.rglob("*")]}
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode) & 0o555)
        assert program("verify", users_run, user=True).code == 0
        assert program("verify", "--quick", users_run, user=True).code == 0
        assert program("status", users_run, user=True).code == 0
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))
