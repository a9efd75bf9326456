"""Upstream runs: what a lock records of them, `lock --upstream`, `verify --upstream`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from gitrun.lockfile import LockFile
from gitrun.upstream import recorded
from tests.ops.runs import overwrite, remove
from tests.support.program import Told

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Three Guild runs, each made from the one before: a file, then a directory, by links."""
    home = tmp_path / "home" / "runs"
    runs = tuple(home / (digit * 32) for digit in "abc")
    for run in runs:
        (run / ".guild" / "attrs").mkdir(parents=True)
        (run / ".guild" / "opref").write_text("guildfile:/x h '' train\n")
        (run / "out").mkdir()
        (run / "out" / "model").write_text(run.name)
    (runs[1] / "model").symlink_to(f"../{runs[0].name}/out/model")
    (runs[2] / "up").symlink_to(f"../{runs[1].name}/out")
    return runs  # type: ignore[return-value]


def headers(run: Path) -> list[tuple[str, str, bytes]]:
    return [tuple(it) for it in recorded(LockFile.decode((run / ".gitrun.lock").read_bytes()))]  # type: ignore[misc]


class TestRecord:
    def test_the_lock_of_each_run_that_links_lead_into(self, chain: tuple[Path, ...]) -> None:
        first = gitrun.lock(chain[0])
        gitrun.lock(chain[1])
        assert headers(chain[1]) == [(chain[0].name, first.commit, b"../" + os.fsencode(chain[0].name))]
        assert headers(chain[0]) == []

    def test_one_that_is_not_locked(self, chain: tuple[Path, ...]) -> None:
        gitrun.lock(chain[1])
        assert headers(chain[1]) == [(chain[0].name, "", b"../" + os.fsencode(chain[0].name))]

    def test_the_lock_file_stays_one_that_decodes_to_itself(self, chain: tuple[Path, ...]) -> None:
        (chain[1] / "also").symlink_to(chain[2] / "out")
        gitrun.lock(chain[1])
        data = (chain[1] / ".gitrun.lock").read_bytes()
        assert LockFile.decode(data).encode() == data and len(headers(chain[1])) == 2

    @pytest.mark.parametrize("target", ["../nowhere", "/etc/hostname", "out", ".", "..", "../../runs"])
    def test_links_that_lead_into_no_other_run(self, chain: tuple[Path, ...], target: str) -> None:
        (chain[0] / "link").symlink_to(target)
        gitrun.lock(chain[0])
        assert headers(chain[0]) == []

    def test_plain_runs_count_once_they_have_been_locked(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(name)
        (tmp_path / "two" / "link").symlink_to(tmp_path / "one" / "file")
        gitrun.lock(tmp_path / "two")
        assert headers(tmp_path / "two") == []
        gitrun.unlock(tmp_path / "two")
        one = gitrun.lock(tmp_path / "one")
        gitrun.lock(tmp_path / "two")
        assert [(run, commit) for run, commit, _ in headers(tmp_path / "two")] == [(one.run, one.commit)]

    def test_another_parent_is_recorded_by_its_absolute_path(self, chain: tuple[Path, ...], tmp_path: Path) -> None:
        other = tmp_path / "elsewhere" / "run"
        other.mkdir(parents=True)
        (other / "link").symlink_to(chain[0] / "out")
        gitrun.lock(other)
        assert headers(other)[0][2] == os.fsencode(chain[0])


class TestLock:
    def test_the_farthest_first(self, chain: tuple[Path, ...]) -> None:
        told = gitrun.lock(chain[2], upstream=True)
        assert all(gitrun.verify(run) for run in chain)
        assert headers(chain[2])[0][1] == gitrun.status(chain[1]).commit
        assert headers(chain[1])[0][1] == gitrun.status(chain[0]).commit
        assert [note for note in told.notes if "upstream" in note] and len(told.notes) == 2

    def test_what_is_locked_stays_as_it_is(self, chain: tuple[Path, ...]) -> None:
        before = gitrun.lock(chain[1]).commit
        gitrun.lock(chain[2], upstream=True)
        assert gitrun.status(chain[1]).commit == before

    def test_circles_end(self, chain: tuple[Path, ...]) -> None:
        (chain[0] / "back").symlink_to(f"../{chain[2].name}/out")
        gitrun.lock(chain[2], upstream=True)
        assert all(gitrun.verify(run, upstream=True).exit in (0, 4) for run in chain)
        assert all(gitrun.verify(run) for run in chain)

    def test_an_active_one_stops_it(self, chain: tuple[Path, ...], ask: Ask) -> None:
        (chain[0] / ".guild" / "PENDING").touch()
        assert ask("lock", "--upstream", chain[2])["exit"] == 5
        assert not any((run / ".gitrun.lock").exists() for run in chain)

    def test_without_the_option_nobody_else_is_locked(self, chain: tuple[Path, ...]) -> None:
        gitrun.lock(chain[2])
        assert not (chain[1] / ".gitrun.lock").exists()


class TestVerify:
    @pytest.fixture
    def locked(self, chain: tuple[Path, ...]) -> tuple[Path, ...]:
        gitrun.lock(chain[2], upstream=True)
        return chain

    def test_the_whole_chain(self, locked: tuple[Path, ...]) -> None:
        told = gitrun.verify(locked[2], upstream=True)
        assert told and [(it.run, it.of, it.kind) for it in told.upstream] == [
            (locked[1].name, locked[2].name, "ok"),
            (locked[0].name, locked[1].name, "ok"),
        ]
        assert gitrun.verify(locked[2]).upstream == ()

    @pytest.mark.parametrize("what", ["modified", "unlocked", "relocked", "gone"])
    def test_what_became_of_the_farthest(self, locked: tuple[Path, ...], call: Call, what: str) -> None:
        far = locked[0]
        if what == "modified":
            overwrite(far / "out" / "model", b"x" * 32)
        elif what == "gone":
            remove(far)
        else:
            gitrun.unlock(far)
            if what == "relocked":
                (far / "out" / "more").write_text("more")
                gitrun.lock(far)
        told = gitrun.verify(locked[2], upstream=True)
        assert not told and told.exit == 4 and not told.differences
        assert [it.kind for it in told.upstream] == ["ok", what]
        assert gitrun.verify(locked[2])
        shown = call("verify", "--upstream", locked[2])
        assert shown.code == 4 and "CHANGED" in shown.out and far.name[:8] in shown.out

    def test_one_that_had_no_lock_proves_nothing(self, chain: tuple[Path, ...], ask: Ask) -> None:
        gitrun.lock(chain[1])
        told = ask("verify", "--upstream", chain[1])
        assert told["exit"] == 0 and told["upstream"][0]["kind"] == "unrecorded"

    def test_a_chain_that_moved_as_a_whole(self, locked: tuple[Path, ...]) -> None:
        moved = locked[2].parent.parent.with_name("moved")
        locked[2].parent.parent.rename(moved)
        assert gitrun.verify(moved / "runs" / locked[2].name, upstream=True)

    def test_a_link_that_leads_elsewhere_now_is_a_difference_of_the_run(self, locked: tuple[Path, ...]) -> None:
        locked[2].chmod(0o755)
        (locked[2] / "up").unlink()
        (locked[2] / "up").symlink_to("/etc")
        told = gitrun.verify(locked[2], upstream=True)
        assert [it.kind for it in told.differences] == ["target"] and len(told.upstream) == 2
