"""Which runs a command line names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gitrun.cli._targets import Target, resolve, resolve_one, runs_here, stores
from gitrun.entry import LOCK_FILE
from gitrun.errors import RunNotFound, UsageError
from gitrun.settings import Settings
from gitrun.store import RunRecord

HERE = Settings()


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GUILD_HOME", "CONDA_PREFIX", "VIRTUAL_ENV", "GUILD_CONFIG", "GUILD_HOME_SCHEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(run: Path, run_id: str = "run-00000000", store: Path | None = None) -> Path:
    """A run that has a repository, as far as one can tell without opening it."""
    run.mkdir(parents=True, exist_ok=True)
    repository = (store or run.parent / ".gitrun") / f"{run.name}.git"
    (repository / "gitrun").mkdir(parents=True)
    path = bytes(run) if store else os.path.join(b"..", os.fsencode(run.name))
    (repository / "gitrun" / "run").write_bytes(RunRecord(run_id, path).encode())
    return run


def guild_run(path: Path) -> Path:
    (path / ".guild").mkdir(parents=True)
    (path / ".guild" / "opref").write_text("guildfile:. x train\n")
    return path


def paths(targets: list[Target]) -> list[str]:
    assert not [target.failure for target in targets if target.failure]
    return [os.fsdecode(target.path) for target in targets]


def test_default_is_the_current_directory(top: Path) -> None:
    assert paths(resolve([], [], HERE)) == [str(top)]


@pytest.mark.parametrize("argument", ["a", "./a", "a/", "a/.", "x/../a", "link", "{top}/a", "{top}//a"])
def test_a_path_in_any_form_is_the_same_run(argument: str, top: Path) -> None:
    (top / "a").mkdir()
    (top / "x").mkdir()
    (top / "link").symlink_to("a")
    assert resolve_one(argument.format(top=top), HERE) == bytes(top / "a")


def test_a_run_named_twice_is_one(top: Path) -> None:
    (top / "a").mkdir()
    assert len(resolve(["a", "a/", "./a"], [], HERE)) == 1


def test_a_file_is_no_run(top: Path) -> None:
    (top / "a").touch()
    with pytest.raises(RunNotFound, match="is a directory"):
        resolve_one("a", HERE)


def test_nothing_is_no_run(top: Path) -> None:
    [target] = resolve(["nothing"], [], HERE)
    assert target.failure is not None
    assert (target.failure.exit, target.failure.code) == (3, "RunNotFound")
    assert target.failure.hint


def test_a_name_of_any_bytes(top: Path) -> None:
    name = os.fsdecode(b"-\xff\n")
    os.mkdir(name)
    assert resolve_one(name, HERE) == bytes(top) + b"/-\xff\n"


@pytest.mark.parametrize("argument", ["/dev/fd/0", "/proc/self/cwd", "/dev/stdin"])
def test_magic_places_are_left_for_the_verb_to_refuse(argument: str, top: Path) -> None:
    assert resolve_one(argument, HERE) == argument.encode()


def test_a_run_that_is_gone_is_known_by_its_repository(top: Path) -> None:
    recorded(top / "a").rmdir()
    assert resolve_one("a", HERE) == bytes(top / "a")


def test_the_current_directory_is_gone(top: Path) -> None:
    (top / "a").mkdir()
    os.chdir(top / "a")
    (top / "a").rmdir()
    [target] = resolve([], [], HERE)
    os.chdir(top)
    assert target.failure is not None
    assert target.failure.exit in (3, 8)


IDS = ["3f2a" + "0" * 28, "3f9b" + "0" * 28, "a111" + "0" * 28]


@pytest.fixture
def home(top: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for run_id in IDS:
        guild_run(top / "guild" / "runs" / run_id)
    monkeypatch.setenv("GUILD_HOME", str(top / "guild"))
    return top / "guild"


def test_a_guild_run_by_the_beginning_of_its_id(home: Path) -> None:
    assert resolve_one("a1", HERE) == bytes(home / "runs" / IDS[2])


def test_a_directory_goes_before_an_id(home: Path, top: Path) -> None:
    (top / "a1").mkdir()
    assert resolve_one("a1", HERE) == bytes(top / "a1")


def test_an_ambiguous_beginning_names_the_candidates(home: Path) -> None:
    with pytest.raises(UsageError) as raised:
        resolve_one("3f", HERE)
    assert IDS[0] in raised.value.message
    assert IDS[1] in raised.value.message


def test_all_finds_what_is_recognised_or_recorded(top: Path) -> None:
    guild_run(top / "w" / "runs" / "g")
    guild_run(top / "w" / "runs" / "g" / "nested")
    recorded(top / "w" / "plain")
    (top / "w" / "never-locked").mkdir()
    (top / "w" / "copied").mkdir()
    (top / "w" / "copied" / os.fsdecode(LOCK_FILE)).touch()
    (top / "w" / "link").symlink_to("plain")
    recorded(top / "w" / "gone").rmdir()
    expected = [str(top / "w" / name) for name in ("copied", "gone", "plain", "runs/g")]
    assert paths(resolve([], ["w"], HERE)) == expected
    assert paths(resolve([], ["w"], HERE, gone=False)) == [path for path in expected if not path.endswith("gone")]


def test_all_of_a_run_is_the_run(top: Path) -> None:
    recorded(top / "a")
    assert paths(resolve([], ["a"], HERE)) == [str(top / "a")]


def test_all_with_a_store_elsewhere(top: Path) -> None:
    settings = Settings(store=bytes(top / "store"))
    recorded(top / "w" / "a", "a-00000000", top / "store")
    recorded(top / "w" / "b", "b-00000000", top / "store").rmdir()
    recorded(top / "other", "c-00000000", top / "store")
    assert paths(resolve([], ["w"], settings)) == [str(top / "w" / "a"), str(top / "w" / "b")]


def test_all_below_nothing(top: Path) -> None:
    [target] = resolve([], ["nowhere"], HERE)
    assert target.failure is not None
    assert target.failure.exit == 3


def test_all_tells_what_it_could_not_search(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(top / "w" / "a")
    (top / "w" / "secret").mkdir(parents=True)
    scandir = os.scandir

    def refusing(path: bytes) -> object:
        if path.endswith(b"secret"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    secret, run = resolve([], ["w"], HERE)
    assert secret.failure is not None
    assert (secret.failure.exit, secret.failure.path) == (8, bytes(top / "w" / "secret"))
    assert run.path == bytes(top / "w" / "a")


def test_status_here_is_all_runs_of_the_store(top: Path) -> None:
    recorded(top / "a")
    recorded(top / "gone").rmdir()
    (top / "never-locked").mkdir()
    guild_run(top / "g")
    assert paths(runs_here(HERE)) == [str(top / name) for name in ("a", "g", "gone")]


def test_status_here_without_a_store_is_this_directory(top: Path) -> None:
    (top / "a").mkdir()
    assert runs_here(HERE) == []


def test_status_in_a_run_is_that_run(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(top / "a")
    recorded(top / "a" / "inner")
    monkeypatch.chdir(top / "a")
    assert runs_here(HERE) == []


def test_stores(top: Path) -> None:
    recorded(top / "w" / "a")
    recorded(top / "w" / "deep" / "b")
    assert paths(stores(["w"], HERE)) == [str(top / "w" / ".gitrun"), str(top / "w" / "deep" / ".gitrun")]
    assert paths(stores(["w/.gitrun"], HERE)) == [str(top / "w" / ".gitrun")]


@pytest.mark.parametrize("directory", ["w", "w/a"])
def test_the_store_of_the_current_directory(directory: str, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(top / "w" / "a")
    monkeypatch.chdir(top / directory)
    assert paths(stores([], HERE)) == [str(top / "w" / ".gitrun")]


def test_no_store(top: Path) -> None:
    (top / "w").mkdir()
    assert [target.failure.exit for target in stores(["w"], HERE) if target.failure] == [3]
    assert [target.failure.exit for target in stores([], HERE) if target.failure] == [3]
