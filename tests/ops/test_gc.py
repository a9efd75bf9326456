"""gc drops what nothing uses, tells what it frees, and takes nothing from any lock."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from gitrun.errors import RunNotFound
from gitrun.guard import guarded, pool_guarded
from gitrun.ops._context import context
from tests.support.trial import assert_stock_tools_agree
from tests.support.users import remove_tree

BIG = os.urandom((1 << 20) + 5)
OTHER = os.urandom(1 << 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two locked runs that share a large file; one has another large file in an earlier lock."""
    base = tmp_path_factory.mktemp("gc") / "work"
    for name in ("one", "two"):
        (base / name).mkdir(parents=True)
        (base / name / "model.bin").write_bytes(BIG)
        (base / name / "name").write_text(name)
    (base / "one" / "old.bin").write_bytes(OTHER)
    gitrun.lock(base / "two")
    gitrun.lock(base / "one")
    gitrun.unlock(base / "one")
    (base / "one" / "old.bin").unlink()
    gitrun.lock(base / "one")
    return base


@pytest.fixture
def base(made: Path, tmp_path: Path) -> Path:
    """A copy of the directory of these runs, with their store."""
    subprocess.run(["cp", "-a", "--", made, tmp_path / "work"], check=True)
    return tmp_path / "work"


@pytest.fixture
def store(base: Path) -> Path:
    return base / ".gitrun"


def names(result: gitrun.GcResult, store: Path) -> set[str]:
    return {os.path.relpath(os.fsdecode(path), store) for path in result.removed}


def files(top: Path) -> set[Path]:
    return {path for path in top.rglob("*") if not path.is_dir()}


def large(top: Path) -> set[str]:
    return {path.name for path in (top / "lfs" / "objects").rglob("*") if path.is_file()}


def assert_all_well(base: Path) -> None:
    for run in (base / "one", base / "two"):
        assert_stock_tools_agree(run)
        assert gitrun.verify(run, store=True).ok


def test_nothing_to_drop(base: Path, store: Path) -> None:
    """Earlier locks count as much as the newest."""
    before = files(store)
    result = gitrun.gc(store)
    assert (result.removed, result.freed_bytes, result.exit, result.notes) == ((), 0, 0, ())
    assert files(store) == before and len(large(store)) == 2


def test_a_lock_that_only_the_history_knows_counts_too(base: Path, store: Path) -> None:
    (store / "one.git" / "refs" / "gitrun" / "locks" / "1").unlink()
    assert gitrun.gc(store).removed == ()


def test_a_pool_entry_that_no_run_links_to(base: Path, store: Path) -> None:
    shutil.rmtree(store / "one.git")
    dry = gitrun.gc(store, dry_run=True)
    assert len(large(store)) == 2
    result = gitrun.gc(store)
    assert dry.removed == result.removed and dry.freed_bytes == result.freed_bytes == len(OTHER)
    assert len(large(store)) == 1
    assert not [path for path in (store / "lfs" / "objects").rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert gitrun.verify(base / "two", store=True).ok


def test_a_large_file_that_no_lock_lists(base: Path, store: Path) -> None:
    """Its bytes are free, and counted, once: when its last name goes."""
    stray = store / "two.git" / "lfs" / "objects" / "ab" / "cd" / ("abcd" + "0" * 60)
    pooled = store / stray.relative_to(store / "two.git")
    for path in (stray, pooled):
        path.parent.mkdir(parents=True)
    stray.write_bytes(bytes(1000))
    os.link(stray, pooled)
    dry = gitrun.gc(store, dry_run=True)
    result = gitrun.gc(store)
    assert dry.removed == result.removed == (os.fsencode(stray), os.fsencode(pooled))
    assert dry.freed_bytes == result.freed_bytes == 1000
    assert not stray.parent.parent.exists() and not pooled.parent.parent.exists()
    assert_all_well(base)


def test_bytes_that_another_name_keeps_are_not_free(base: Path, store: Path, tmp_path: Path) -> None:
    stray = store / "two.git" / "lfs" / "objects" / "ab" / "cd" / ("abcd" + "0" * 60)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(bytes(1000))
    for number in range(2):
        os.link(stray, tmp_path / f"kept{number}")
    result = gitrun.gc(store)
    assert (names(result, store), result.freed_bytes) == ({str(stray.relative_to(store))}, 0)


def test_copies_where_there_are_no_hard_links(base: Path, store: Path) -> None:
    """A pool without any link: what a repository holds too stays, the rest goes."""
    for path in files(store / "lfs"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    stray = store / "lfs" / "objects" / "ab" / "cd" / ("abcd" + "0" * 60)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    assert names(gitrun.gc(store), store) == {str(stray.relative_to(store))}
    assert len(large(store)) == 2


def test_97_leftovers_of_commands_that_were_killed(base: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repository at once, since its guard is held; in the store, which anybody may use, after a while."""
    repository = store / "one.git"
    left = {"one.git/gitrun/spool", "one.git/refs/tags/.tmp-gitrun-1", "one.git/lfs/objects/.tmp-gitrun-2"}
    late = {".tmp-gitrun-3", "lfs/objects/.tmp-gitrun-4"}
    (repository / "gitrun" / "spool").mkdir()
    (repository / "gitrun" / "spool" / "objects.pack").write_bytes(b"x" * 10)
    (store / ".tmp-gitrun-3" / "refs").mkdir(parents=True)
    (store / ".tmp-gitrun-3" / "HEAD").write_bytes(b"x" * 5)
    for name in (*left, *late):
        if not (store / name).exists():
            (store / name).write_bytes(b"x")
    result = gitrun.gc(store)
    assert names(result, store) == left and result.freed_bytes == 12
    monkeypatch.setattr("gitrun.ops.gc.STALE_AFTER", -1.0)
    result = gitrun.gc(store)
    assert names(result, store) == late and result.freed_bytes == 6
    assert not any((store / name).exists() for name in (*left, *late))
    assert_all_well(base)


def test_damaged_files_are_kept_for_a_while(base: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = store / "one.git"
    (repository / "refs" / "heads" / "main").write_bytes(b"")
    (repository / "lfs" / "bad").mkdir()
    (repository / "lfs" / "bad" / "oid").write_bytes(b"bad")
    gitrun.fsck(base / "one", repair=True)
    assert gitrun.gc(store).removed == ()
    monkeypatch.setattr("gitrun.ops.gc.BAD_KEPT", -1.0)
    assert names(gitrun.gc(store), store) == {"one.git/gitrun/bad/main", "one.git/lfs/bad/oid"}


def stray_in(repository: Path) -> Path:
    stray = repository / "lfs" / "objects" / "ab" / "cd" / ("abcd" + "0" * 60)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    return stray


def test_what_another_gitrun_works_on_is_left_alone(base: Path, store: Path) -> None:
    mine, free = stray_in(store / "one.git"), stray_in(store / "two.git")
    pooled = stray_in(store)
    with guarded(context(base / "one").place, shared=True):
        result = gitrun.gc(store)
    assert result.removed == (os.fsencode(free),)
    assert mine.exists() and pooled.exists()
    assert [note.partition(":")[0] for note in result.notes] == [
        "one.git was left alone",
        "the pool was left alone",
    ]


def test_the_pool_is_left_alone_while_a_lock_looks_into_it(base: Path, store: Path) -> None:
    pooled = stray_in(store)
    with pool_guarded(context(base / "one").place, shared=True):
        result = gitrun.gc(store)
    assert pooled.exists() and result.removed == () and len(result.notes) == 1
    assert gitrun.gc(store).removed == (os.fsencode(pooled),)


@pytest.mark.parametrize("damage", ["refs/tags/locked", "refs/heads/main", "objects"])
def test_a_damaged_repository_is_left_alone(base: Path, store: Path, damage: str) -> None:
    """What it lists cannot be told, so nothing counts as unlisted."""
    stray = stray_in(store / "one.git")
    path = store / "one.git" / damage
    if path.is_dir():
        shutil.rmtree(path)
        path.mkdir()
    else:
        path.write_bytes(b"")
    result = gitrun.gc(store)
    assert stray.exists() and result.removed == () and "one.git was left alone" in result.notes[0]


def test_an_interrupted_run_is_left_alone(base: Path, store: Path) -> None:
    stray = stray_in(store / "one.git")
    (store / "one.git" / "gitrun" / "journal").write_bytes(b"")
    assert "did not finish" in gitrun.gc(store).notes[0]
    assert stray.exists()


def test_the_repository_of_an_orphaned_run_stays(base: Path, store: Path) -> None:
    remove_tree(base / "one")
    assert gitrun.gc(store).removed == ()
    gitrun.restore(base / "one")
    assert gitrun.verify(base / "one", store=True).ok


def test_links_in_a_store_are_not_followed(base: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("kept")
    (store / "one.git" / "gitrun" / "spool").symlink_to(tmp_path / "victim")
    (store / "lfs" / "objects" / "zz").symlink_to(tmp_path / "victim")
    gitrun.gc(store)
    assert (tmp_path / "victim" / "file").read_text() == "kept"


@pytest.mark.parametrize("argument", [".gitrun", ".", "one"])
def test_a_store_by_many_names(base: Path, store: Path, argument: str) -> None:
    stray_in(store)
    result = gitrun.gc(base / argument)
    assert result.path == os.fsencode(store) and len(result.removed) == 1


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound):
        gitrun.gc(tmp_path)


def test_the_command(base: Path, store: Path, ask: Callable[..., dict[str, Any]]) -> None:
    stray_in(store)
    stray_in(store / "one.git")
    with guarded(context(base / "two").place, shared=True):
        told = ask("gc", "--dry-run", base)
    assert told["path"] == str(store) and told["dry_run"] and len(told["removed"]) == 1
    assert told["notes"][0].startswith("two.git was left alone")
