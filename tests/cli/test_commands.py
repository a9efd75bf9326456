"""The verbs on real runs, as a person or a script calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gitrun.cli.main import run

SCHEMA = Draft202012Validator(json.loads((Path(__file__).parents[2] / "docs" / "json-schema.json").read_text()))
HOSTILE = os.fsdecode(b"a\x1b]0;owned\x07\n\xff")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("{}")
        (tmp_path / name / HOSTILE).write_text("data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The JSON objects printed, each of which follows the schema."""
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for one in objects:
        SCHEMA.validate(one)
    return objects


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def tamper(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("{!}")


def test_from_lock_to_unlock(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "one"]) == 0
    assert lines(capsys)[0].startswith("locked one (")
    assert run(["verify", "one"]) == 0
    assert lines(capsys)[0].startswith("ok one (")
    tamper(runs / "one" / "metrics.json")
    assert run(["verify", "one"]) == 4
    assert lines(capsys)[1] == "  modified  metrics.json"
    assert run(["lock", "one"]) == 5
    assert run(["unlock", "one"]) == 0
    assert lines(capsys)[0].startswith("unlocked one (")
    assert run(["verify", "one"]) == 3


def test_several_runs_in_parallel(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "-j2", "one", "two"]) == 0
    assert [line.split()[1] for line in lines(capsys)] == ["one", "two"]
    tamper(runs / "two" / "metrics.json")
    assert run(["verify", "-j2", "one", "nothing", "two"]) == 4
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[:2]] == ["ok", "CHANGED"]
    assert err.startswith("gitrun: there is no such run: ")


def test_every_verb_in_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "--json", "one"]) == 0
    assert run(["status", "--json", "one", "two"]) == 0
    assert run(["path", "--json", "one"]) == 0
    assert run(["verify", "--json", "one"]) == 0
    tamper(runs / "one" / "metrics.json")
    assert run(["verify", "--json", "one"]) == 4
    assert run(["unlock", "--json", "one"]) == 0
    assert run(["verify", "--json", "one"]) == 3
    objects = told(capsys)
    assert [one["state"] for one in objects] == [
        "locked", "locked", "unlocked", "locked", "locked", "locked+modified", "unlocked", "unlocked",
    ]  # fmt: skip
    assert objects[5]["differences"][0]["path"] == "metrics.json"
    assert objects[7]["error"]["code"] == "NotLocked"


def test_control_characters_of_names_never_reach_the_screen(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "one"]) == 0
    tamper(runs / "one" / HOSTILE)
    assert run(["verify", "-v", "one"]) == 4
    out, err = capsys.readouterr()
    assert all(char.isprintable() or char == "\n" for char in out + err)
    assert "a\\x1b]0;owned\\x07\\n\\xff" in out


def test_status_shows_the_runs_of_this_directory(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "-q", "one", "two"]) == 0
    assert run(["status"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()] == ["one", "two"]
    assert err.startswith("2 runs: 2 locked, ")


def test_all_never_guesses(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "--all", "."]) == 3
    assert run(["lock", "one"]) == 0
    capsys.readouterr()
    assert run(["verify", "--all", "."]) == 0
    assert [line.split()[1] for line in lines(capsys)] == ["one"]


def test_path_is_exact_for_programs(runs: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    name = os.fsdecode(b"n\xff\x1b")
    (runs / "one").rename(runs / name)
    assert run(["lock", "-q", name]) == 0
    assert run(["path", name]) == 0
    assert capfdbinary.readouterr().out == bytes(runs) + b"/.gitrun/n\xff\x1b.git\n"


def test_a_bad_size_is_wrong_usage(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "--large-threshold", "big", "one"]) == 2
    assert "512K" in capsys.readouterr().err


def program(*args: str) -> list[str]:
    return [sys.executable, "-m", "gitrun", *args]


def test_git_is_git(runs: Path) -> None:
    assert run(["lock", "-q", "-m", "as published", "one"]) == 0
    done = subprocess.run(
        program("git", "one", "--", "log", "--format=%s%n%b"), capture_output=True, text=True, check=True
    )
    assert "as published" in done.stdout
    assert (
        subprocess.run(program("git", "one", "cat-file", "-e", "nothing"), capture_output=True, check=False).returncode
        == 128
    )


def test_a_reader_who_has_enough_is_no_error(runs: Path) -> None:
    assert run(["lock", "-q", "one", "two"]) == 0
    reader, writer = os.pipe()
    os.close(reader)
    for jobs in ("-j1", "-j2"):
        done = subprocess.run(program("verify", jobs, "one", "two"), stdout=writer, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(writer)


def test_restore_asks_before_it_removes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "-q", "one"]) == 0
    (runs / "one").chmod(0o755)
    (runs / "one" / "new").touch()
    assert subprocess.run(program("restore", "--clean", "one"), stdin=subprocess.DEVNULL, check=False).returncode == 2
    assert (runs / "one" / "new").exists()
    assert run(["restore", "--clean", "--dry-run", "one"]) == 0
    assert "would remove: 1 entry" in lines(capsys)
    assert (runs / "one" / "new").exists()
    assert run(["restore", "--clean", "--yes", "one"]) == 0
    assert not (runs / "one" / "new").exists()


@pytest.mark.parametrize("absolute", [False, True])
def test_restore_of_one_file(absolute: bool, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "-q", "one"]) == 0
    tamper(runs / "one" / "metrics.json")
    tamper(runs / "one" / HOSTILE)
    assert run(["restore", "one", str(runs / "one" / "metrics.json") if absolute else "metrics.json"]) == 0
    assert lines(capsys)[1] == "  modified  metrics.json"
    assert (runs / "one" / HOSTILE).read_text() == "{!}"


def test_restore_of_a_run_that_is_gone(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "-q", "one"]) == 0
    subprocess.run(["chmod", "-R", "u+w", "one"], check=True)
    subprocess.run(["rm", "-r", "one"], check=True)
    assert run(["restore", "one"]) == 0
    assert [line.partition(":")[2] for line in lines(capsys)] == [" the whole run (2 files, 6 B written)"]
    assert run(["verify", "one"]) == 0
