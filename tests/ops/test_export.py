"""export: what is written is read by bagit.py, tar, sha256sum and json, none of which knows gitrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import MODEL, large_object, overwrite, remove, repository_of
from tests.support.picture import picture
from tests.support.program import Told
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]
FORMATS = ("bagit", "tar", "sha256sum", "json")


@pytest.fixture
def rich(run: Path) -> Path:
    """A run with what archives lose."""
    os.link(run / "config.yaml", run / "sub" / "same")
    os.setxattr(run / "config.yaml", "user.note", b"kept")
    os.mkfifo(run / "fifo")
    (run / "a%b\nc\rd").write_bytes(b"odd name")
    (run / "ünï").write_bytes(b"")
    return run


def validates(bag: Path) -> bool:
    """What bagit.py says."""
    done = subprocess.run([sys.executable, "-m", "bagit", "--validate", bag], capture_output=True, text=True)
    return done.returncode == 0


def check(*command: str | Path, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


class TestBag:
    def test_bagit_validates_it(self, rich: Path, tmp_path: Path) -> None:
        gitrun.lock(rich)
        told = gitrun.export(rich, tmp_path / "bag")
        assert validates(tmp_path / "bag")
        assert (tmp_path / "bag" / "data" / "model.bin").read_bytes() == MODEL
        assert (tmp_path / "bag" / "gitrun" / "lock").read_bytes() == (rich / ".gitrun.lock").read_bytes()
        assert any("only listed" in note for note in told.notes)

    def test_bagit_notices_a_changed_byte(self, run: Path, tmp_path: Path) -> None:
        gitrun.lock(run)
        gitrun.export(run, tmp_path / "bag")
        (tmp_path / "bag" / "data" / "config.yaml").write_bytes(b"lr: 0.2\n")
        assert not validates(tmp_path / "bag")

    def test_a_run_without_files(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        gitrun.lock(tmp_path / "empty")
        gitrun.export(tmp_path / "empty", tmp_path / "bag")
        assert validates(tmp_path / "bag")

    @pytest.mark.parametrize("name", [b"\xff", b"a%0Ab", b"a%0db"])
    def test_names_that_a_bag_cannot_hold(self, run: Path, tmp_path: Path, ask: Ask, name: bytes) -> None:
        (run / os.fsdecode(name)).write_bytes(b"x")
        gitrun.lock(run)
        told = ask("export", run, tmp_path / "bag")
        assert told["exit"] == 5 and "tar" in told["error"]["hint"]
        assert not list(tmp_path.glob("*bag*")) and not list(tmp_path.glob(".tmp*"))


class TestTar:
    def test_tar_brings_the_run_back(self, rich: Path, tmp_path: Path) -> None:
        (rich / os.fsdecode(b"\xfe\xff")).write_bytes(b"no utf-8")
        before = picture(rich)
        gitrun.lock(rich)
        gitrun.export(rich, tmp_path / "run.tar", form="tar")
        (tmp_path / "out").mkdir()
        check("tar", "--xattrs", "-xpf", tmp_path / "run.tar", cwd=tmp_path / "out")
        out = tmp_path / "out" / rich.name
        check("sha256sum", "--strict", "--quiet", "-c", ".gitrun.lock", cwd=out)
        (out / ".gitrun.lock").unlink()
        os.utime(out, ns=(rich.stat().st_mtime_ns, rich.stat().st_mtime_ns))
        after = picture(out)
        assert after.keys() == before.keys()
        for path in before.keys() - {b""}:
            assert after[path] == before[path], path

    def test_the_same_bytes_each_time(self, rich: Path, tmp_path: Path) -> None:
        gitrun.lock(rich)
        for name in ("one", "two"):
            gitrun.export(rich, tmp_path / name, form="tar")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_to_stdout(self, run: Path) -> None:
        gitrun.lock(run)
        done = subprocess.run(
            [sys.executable, "-m", "gitrun", "export", "--format", "tar", run, "-"],
            cwd=Path(gitrun.__file__).parents[1],
            capture_output=True,
            check=True,
        )
        listed = subprocess.run(["tar", "-tf", "-"], input=done.stdout, capture_output=True, check=True).stdout
        assert b"train/model.bin" in listed and b"exported" in done.stderr


class TestLists:
    def test_sha256sum(self, rich: Path, tmp_path: Path) -> None:
        gitrun.lock(rich)
        gitrun.export(rich, tmp_path / "sums", form="sha256sum")
        check("sha256sum", "--strict", "--quiet", "-c", tmp_path / "sums", cwd=rich)
        assert b"#" not in (tmp_path / "sums").read_bytes()

    def test_json(self, rich: Path, call: Call) -> None:
        gitrun.lock(rich)
        told = json.loads(program("export", "--format", "json", rich, "-").out)
        entries = {entry["path"]: entry for entry in told["entries"]}
        assert told["commit"] == gitrun.status(rich).commit
        assert entries["config.yaml"]["mode"] == "0644" and entries["link"]["target"] == "sub/secret"
        assert {path.encode() for path in entries} >= {b"", b"model.bin", b"hollow", b"fifo"}


class TestSources:
    @pytest.mark.parametrize("form", ["bagit", "tar"])
    def test_of_a_run_that_is_gone(self, run: Path, tmp_path: Path, form: Any) -> None:
        gitrun.lock(run)
        remove(run)
        gitrun.export(run, tmp_path / "out", form=form)
        assert (tmp_path / "out").exists()

    @pytest.mark.parametrize("form", ["bagit", "tar"])
    def test_what_the_store_lost_comes_from_the_run(self, run: Path, tmp_path: Path, form: Any) -> None:
        gitrun.lock(run)
        large_object(repository_of(run)).unlink()
        gitrun.export(run, tmp_path / "out", form=form)

    @pytest.mark.parametrize("form", ["bagit", "tar"])
    @pytest.mark.parametrize("damage", ["missing", "flipped", "short"])
    def test_what_is_whole_nowhere(self, run: Path, tmp_path: Path, ask: Ask, form: str, damage: str) -> None:
        gitrun.lock(run)
        stored = large_object(repository_of(run))
        overwrite(run / "model.bin", MODEL[::-1])
        if damage == "missing":
            stored.unlink()
        else:
            overwrite(stored, MODEL[::-1] if damage == "flipped" else MODEL[:-1])
        told = ask("export", "--format", form, run, tmp_path / "out")
        assert told["exit"] == 6 and told["error"]["hint"]
        assert not list(tmp_path.glob("*out*"))

    @pytest.mark.parametrize("form", FORMATS)
    def test_never_locked(self, run: Path, tmp_path: Path, ask: Ask, form: str) -> None:
        assert ask("export", "--format", form, run, tmp_path / "out")["exit"] == 3


class TestDestination:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("there", ["file", "directory", "dangling link"])
    def test_nothing_is_overwritten(self, run: Path, tmp_path: Path, ask: Ask, form: str, there: str) -> None:
        gitrun.lock(run)
        out = tmp_path / "out"
        {"file": out.touch, "directory": out.mkdir, "dangling link": lambda: out.symlink_to("x")}[there]()
        assert ask("export", "--format", form, run, out)["exit"] == 5

    def test_a_directory_that_is_not_there(self, run: Path, tmp_path: Path, ask: Ask) -> None:
        gitrun.lock(run)
        assert ask("export", run, tmp_path / "no" / "bag")["exit"] == 5

    @pytest.mark.parametrize("words", [("-",), ("--format", "tar", "--json", "-")])
    def test_what_stdout_cannot_take(self, run: Path, call: Call, words: tuple[str, ...]) -> None:
        gitrun.lock(run)
        assert call("export", run, *words).code == 2

    @pytest.mark.parametrize("form", ["bagit", "tar", "json"])
    def test_a_failure_leaves_nothing(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
    ) -> None:
        gitrun.lock(run)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(gitrun.SystemFailed):
            gitrun.export(run, tmp_path / "out", form=form)
        monkeypatch.undo()
        assert not [path for path in tmp_path.iterdir() if "out" in path.name or "tmp" in path.name]

    def test_the_run_stays_as_it_is(self, rich: Path, tmp_path: Path) -> None:
        gitrun.lock(rich)
        before = picture(rich)
        for form in FORMATS:
            gitrun.export(rich, tmp_path / form, form=form)  # type: ignore[arg-type]
        assert picture(rich) == before and gitrun.verify(rich, strict=True)
