"""restore: what differs comes back, nothing else is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.layouts.runs import make_guild
from tests.ops.runs import MODEL, copy, fill, large_object, loosen, overwrite, remove, repository_of
from tests.support.picture import Seen, without_gitruns
from tests.support.picture import picture as picture_of
from tests.support.program import Told
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


def picture(top: Path) -> dict[bytes, Seen]:
    """A run without the two files that gitrun puts there: their times are nobody's."""
    return without_gitruns(picture_of(top))


def kinds(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["path"], one["kind"]) for one in told]


@pytest.fixture
def locked(run: Path) -> Path:
    gitrun.lock(run)
    return run


def damage(run: Path) -> None:
    """One difference of each kind."""
    loosen(run, run / "sub", run / "sub" / "deep")
    overwrite(run / "config.yaml", b"lr: 0.2\n")
    overwrite(run / "model.bin", b"short")
    (run / "empty").unlink()
    (run / "link").unlink()
    (run / "link").symlink_to("/etc/passwd")
    (run / "go.sh").unlink()
    (run / "go.sh").mkdir()
    (run / "sub" / "secret").chmod(0o644)
    os.utime(run / "sub" / "deep" / "sealed", ns=(1, 1))
    (run / "hollow").rmdir()


class TestWhole:
    def test_everything_comes_back(self, locked: Path, ask: Ask) -> None:
        before = picture(locked)
        damage(locked)
        told = ask("restore", locked)
        assert (told["exit"], told["state"], told["kept"], told["removed"]) == (0, "locked", [], [])
        assert dict(kinds(told["restored"])).items() >= {
            ("config.yaml", "modified"), ("model.bin", "modified"), ("empty", "deleted"), ("hollow", "deleted"),
            ("go.sh", "type"), ("link", "target"),
        }  # fmt: skip
        assert picture(locked) == before
        assert ask("verify", "--strict", locked)["exit"] == 0

    def test_nothing_differs(self, locked: Path, ask: Ask) -> None:
        def untouched(path: Path) -> tuple[int, ...]:
            seen = os.lstat(path)  # all but the time of the last read
            return (*seen[:7], seen.st_mtime_ns, seen.st_ctime_ns)

        before = {p: untouched(p) for p in [locked, *locked.rglob("*")]}
        told = ask("restore", locked)
        assert (told["exit"], told["restored"], told["files"]) == (0, [], 0)
        assert {p: untouched(p) for p in before} == before

    def test_what_is_right_is_not_rewritten(self, locked: Path) -> None:
        inodes = {name: (locked / name).stat().st_ino for name in ("go.sh", "model.bin")}
        overwrite(locked / "config.yaml", b"x")
        gitrun.restore(locked)
        assert {name: (locked / name).stat().st_ino for name in inodes} == inodes

    def test_a_run_that_is_gone(self, locked: Path, ask: Ask) -> None:
        before = picture(locked)
        remove(locked)
        told = ask("restore", locked)
        assert (told["exit"], told["state"], told["files"]) == (0, "locked", 6)
        assert picture(locked) == before
        assert ask("verify", "--strict", locked)["exit"] == 0
        assert ask("lock", locked)["already"]

    def test_a_run_that_is_gone_with_its_parent_directory(self, run: Path, tmp_path: Path, ask: Ask) -> None:
        gitrun.lock(run, settings=gitrun.Settings(store=os.fsencode(tmp_path / "store")))
        before = picture(run)
        remove(run)
        run.parent.rmdir()
        settings = gitrun.Settings(store=os.fsencode(tmp_path / "store"))
        assert gitrun.restore(run, settings=settings).exit == 0
        assert picture(run) == before

    def test_only_the_lock_file_is_missing(self, locked: Path, ask: Ask) -> None:
        before = picture(locked)
        loosen(locked)
        (locked / ".gitrun.lock").unlink()
        assert ask("restore", locked)["exit"] == 0
        assert picture(locked) == before
        assert ask("verify", "--strict", locked)["exit"] == 0

    def test_modes_and_times_come_back(self, locked: Path) -> None:
        before = picture(locked)
        for path in [locked, *locked.rglob("*")]:
            if not path.is_symlink() and path.name not in (".git", ".gitrun.lock"):
                path.chmod(0o777)
            os.utime(path, ns=(1, 1), follow_symlinks=False)
        gitrun.restore(locked)
        assert picture(locked) == before

    def test_a_restored_file_shares_nothing_with_the_store(self, locked: Path) -> None:
        overwrite(locked / "model.bin", b"x")
        gitrun.restore(locked)
        stored = large_object(repository_of(locked))
        assert (locked / "model.bin").stat().st_ino != stored.stat().st_ino
        assert (locked / "model.bin").read_bytes() == MODEL

    def test_of_an_unlocked_run_from_its_last_lock(self, run: Path, ask: Ask) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "config.yaml").write_text("second")
        gitrun.lock(run)
        gitrun.unlock(run)
        before = picture(run)
        (run / "config.yaml").write_text("third")
        (run / "model.bin").unlink()
        told = ask("restore", run)
        assert (told["exit"], told["state"]) == (0, "unlocked")
        assert picture(run) == before  # writable, without lock file

    def test_an_unlocked_run_that_is_gone(self, run: Path) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        before = picture(run)
        remove(run)
        gitrun.restore(run)
        assert picture(run) == before

    def test_never_locked_is_3(self, run: Path, ask: Ask) -> None:
        assert ask("restore", run)["exit"] == 3

    def test_a_copy_has_nothing_to_restore_from(self, locked: Path, ask: Ask) -> None:
        copied = copy(locked, locked.with_name("copy"))
        overwrite(copied / "config.yaml", b"x")
        before = picture(locked)
        assert ask("restore", copied)["exit"] == 3
        assert picture(locked) == before
        assert (copied / "config.yaml").read_bytes() == b"x"


class TestDryRun:
    def test_it_tells_and_does_nothing(self, locked: Path, ask: Ask) -> None:
        damage(locked)
        before = picture(locked.parent)
        told = ask("restore", "--dry-run", locked)
        assert told["dry_run"] and told["exit"] == 0
        assert picture(locked.parent) == before
        done = ask("restore", locked)
        assert told["restored"] == done["restored"] and (told["files"], told["bytes"]) == (done["files"], done["bytes"])

    def test_of_a_run_that_is_gone(self, locked: Path, ask: Ask) -> None:
        remove(locked)
        told = ask("restore", "--dry-run", locked)
        assert told["exit"] == 0 and told["files"] == 6
        assert not locked.exists()


class TestAdded:
    @pytest.fixture
    def grown(self, locked: Path) -> Path:
        loosen(locked, locked / "sub")
        (locked / "new").write_text("new")
        (locked / "sub" / "dir").mkdir()
        (locked / "sub" / "dir" / "x").write_text("x")
        return locked

    def test_they_are_named_and_kept(self, grown: Path, ask: Ask, call: Call) -> None:
        overwrite(grown / "config.yaml", b"x")
        told = ask("restore", grown)
        assert kinds(told["kept"]) == [("new", "added"), ("sub/dir", "added"), ("sub/dir/x", "added")]
        assert (grown / "new").read_text() == "new" and (grown / "config.yaml").read_bytes() == b"lr: 0.1\n"
        assert "added  new" in call("restore", grown).out

    def test_clean_removes_them(self, grown: Path, call: Call) -> None:
        outside = grown.parent / "outside"
        outside.mkdir()
        (outside / "theirs").touch()
        (grown / "sub" / "dir" / "out").symlink_to(outside)
        assert call("restore", "--clean", "--yes", grown).code == 0
        assert not (grown / "new").exists() and not (grown / "sub" / "dir").exists()
        assert (outside / "theirs").exists()
        assert gitrun.verify(grown, strict=True)

    def test_clean_asks_first(self, grown: Path) -> None:
        told = program("restore", "--clean", grown)
        assert told.code == 2 and "--yes" in told.err
        assert (grown / "new").exists()

    def test_a_directory_in_the_way_that_holds_files_is_refused(self, locked: Path, ask: Ask) -> None:
        loosen(locked)
        (locked / "config.yaml").unlink()
        (locked / "config.yaml").mkdir()
        (locked / "config.yaml" / "precious").write_text("precious")
        overwrite(locked / "go.sh", b"x")
        told = ask("restore", locked)
        assert told["exit"] == 5 and told["error"]["path"].endswith("config.yaml/precious")
        assert (locked / "config.yaml" / "precious").exists() and (locked / "go.sh").read_bytes() == b"x"
        assert gitrun.restore(locked, clean=True).exit == 0
        assert gitrun.verify(locked, strict=True)

    def test_an_empty_directory_in_the_way_is_not(self, locked: Path, ask: Ask) -> None:
        loosen(locked)
        (locked / "config.yaml").unlink()
        (locked / "config.yaml").mkdir()
        assert ask("restore", locked)["exit"] == 0
        assert gitrun.verify(locked, strict=True)


class TestPaths:
    def test_only_what_is_named(self, locked: Path, ask: Ask) -> None:
        damage(locked)
        told = ask("restore", locked, "config.yaml", "sub")
        assert told["exit"] == 0
        assert {path for path, _ in kinds(told["restored"])} <= {
            "config.yaml",
            "sub",
            "sub/secret",
            "sub/deep",
            "sub/deep/sealed",
        }
        assert (locked / "config.yaml").read_bytes() == b"lr: 0.1\n"
        assert (locked / "sub" / "secret").stat().st_mode & 0o777 == 0o400
        assert not (locked / "empty").exists()

    @pytest.mark.parametrize("name", ["nothing", "sub/nothing"])
    def test_an_unknown_one_is_wrong_usage(self, locked: Path, ask: Ask, name: str) -> None:
        overwrite(locked / "config.yaml", b"x")
        told = ask("restore", locked, name, "config.yaml")
        assert told["exit"] == 2
        assert (locked / "config.yaml").read_bytes() == b"x"

    @pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "sub/../../outside", ".."])
    def test_one_outside_is_wrong_usage(self, locked: Path, call: Call, name: str) -> None:
        (locked.parent / "outside").write_text("theirs")
        assert call("restore", locked, name).code == 2
        assert (locked.parent / "outside").read_text() == "theirs"

    def test_the_whole_run_by_its_dot(self, locked: Path) -> None:
        damage(locked)
        assert gitrun.restore(locked, ["."]).exit == 0
        assert gitrun.verify(locked, strict=True)

    def test_bytes_will_do(self, locked: Path) -> None:
        overwrite(locked / "config.yaml", b"x")
        assert gitrun.restore(os.fsencode(locked), [b"config.yaml"]).files == 1

    def test_a_parent_that_is_gone_comes_too(self, locked: Path, ask: Ask) -> None:
        loosen(locked, locked / "sub", locked / "sub" / "deep")
        shutil.rmtree(locked / "sub")
        told = ask("restore", locked, "sub/deep/sealed")
        assert told["exit"] == 0, told
        assert (locked / "sub" / "deep" / "sealed").read_bytes() == b"read-only before"
        assert not (locked / "sub" / "secret").exists()

    def test_from_inside_the_run(self, locked: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        overwrite(locked / "sub" / "secret", b"x")
        monkeypatch.chdir(locked)
        assert call("restore", ".", "sub/secret").code == 0
        assert (locked / "sub" / "secret").read_bytes() == b"s3cret"


class TestMutable:
    @pytest.fixture
    def guild_run(self, tmp_path: Path) -> Path:
        run = make_guild(tmp_path)
        (run / ".guild" / "attrs" / "label").write_text("first\n")
        gitrun.lock(run)
        (run / ".guild" / "attrs" / "label").write_text("second\n")
        return run

    def test_they_are_left_alone(self, guild_run: Path, ask: Ask) -> None:
        told = ask("restore", guild_run)
        assert (told["exit"], told["restored"]) == (0, [])
        assert (guild_run / ".guild" / "attrs" / "label").read_text() == "second\n"

    def test_unless_named(self, guild_run: Path, ask: Ask) -> None:
        told = ask("restore", guild_run, ".guild/attrs/label")
        assert told["exit"] == 0
        assert (guild_run / ".guild" / "attrs" / "label").read_text() == "first\n"
        assert (guild_run / ".guild" / "attrs" / "label").stat().st_mode & 0o200
        assert gitrun.verify(guild_run, strict=True)

    def test_or_with_the_whole_run_gone(self, guild_run: Path) -> None:
        remove(guild_run)
        gitrun.restore(guild_run)
        assert (guild_run / ".guild" / "attrs" / "label").read_text() == "first\n"
        assert gitrun.verify(guild_run, strict=True)


class TestDamagedStore:
    def test_a_lost_object_is_named_and_the_rest_restored(self, locked: Path, call: Call) -> None:
        damage(locked)
        large_object(repository_of(locked)).unlink()
        told = call("restore", locked)
        assert told.code == 6 and "model.bin" in told.err
        assert (locked / "config.yaml").read_bytes() == b"lr: 0.1\n"
        assert [d.path for d in gitrun.verify(locked).differences] == [b"model.bin"]

    @pytest.mark.parametrize("how", ["flipped", "truncated", "extended", "symlink", "directory", "fifo"])
    def test_a_damaged_object_is_never_served(self, locked: Path, call: Call, how: str) -> None:
        damaged = bytearray(MODEL)
        damaged[1000] ^= 1
        stored = large_object(repository_of(locked))
        overwrite(locked / "model.bin", b"mine")
        (stored.parent / "aside").write_bytes(MODEL)
        if how in ("flipped", "truncated", "extended"):
            overwrite(stored, {"flipped": bytes(damaged), "truncated": MODEL[:-1], "extended": MODEL + b"x"}[how])
        else:
            stored.unlink()
            {
                "symlink": lambda: stored.symlink_to("aside"),
                "directory": stored.mkdir,
                "fifo": lambda: os.mkfifo(stored),
            }[how]()
        told = call("restore", locked)
        assert told.code == 6 and "model.bin" in told.err and "Traceback" not in told.err
        assert not (locked / "model.bin").exists() or (locked / "model.bin").read_bytes() == b"mine"

    def test_nothing_half_there_remains(self, locked: Path, call: Call) -> None:
        large_object(repository_of(locked)).unlink()
        overwrite(locked / "model.bin", b"mine")
        call("restore", locked)
        left = [p.name for p in locked.rglob("*") if "tmp" in p.name]
        assert not left
        assert gitrun.status(locked).state in ("locked", "locked+modified")


def test_hard_links_come_back(run: Path) -> None:
    os.link(run / "config.yaml", run / "sub" / "twin")
    gitrun.lock(run)
    loosen(run, run / "sub")
    (run / "sub" / "twin").unlink()
    gitrun.restore(run)
    assert (run / "sub" / "twin").stat().st_ino == (run / "config.yaml").stat().st_ino
    assert gitrun.verify(run, strict=True)


def test_symlinks_on_the_way_are_not_followed(locked: Path) -> None:
    outside = locked.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("theirs")
    loosen(locked, locked / "sub", locked / "sub" / "deep")
    shutil.rmtree(locked / "sub")
    (locked / "sub").symlink_to(outside)
    before = picture(outside)
    gitrun.restore(locked)
    assert picture(outside) == before
    assert gitrun.verify(locked, strict=True)


def test_as_an_ordinary_user(users_run: Path) -> None:
    assert program("lock", users_run, user=True).code == 0
    before = picture(users_run)
    damage(users_run)
    subprocess.run(["chown", "-hR", "--reference", users_run, users_run], check=True)
    told = program("restore", users_run, user=True)
    assert told.code == 0, told.err
    assert picture(users_run) == before


def test_twice_is_once(locked: Path) -> None:
    damage(locked)
    gitrun.restore(locked)
    again = gitrun.restore(locked)
    assert (again.restored, again.files) == ((), 0)


def test_relative_parts_in_the_name_of_the_run(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(locked.parent)
    overwrite(locked / "config.yaml", b"x")
    assert gitrun.restore("../work/./train/").files == 1
    fill(locked.parent / "other")
