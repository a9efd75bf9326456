"""The pager, on a real terminal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import gitrun
from tests.support.program import gitrun as program
from tests.support.terminal import on_terminal

MARKING = "sed 's/^/paged: /'"


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """An unlocked run with more differences than a screen has lines."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "text").write_text("".join(f"{n}\n" for n in range(60)))
    gitrun.lock(run)
    gitrun.unlock(run)
    (run / "text").write_text("".join(f"{n}!\n" for n in range(60)))
    return run


def paged_lines(text: str) -> int:
    return sum(line.startswith("paged: ") for line in text.splitlines())


@pytest.mark.parametrize("verb", ["diff", "log"])
def test_long_output_goes_through_the_users_pager(changed: Path, verb: str) -> None:
    told = on_terminal(verb, changed, env={"GIT_PAGER": MARKING})
    assert told.code == 0 and paged_lines(told.out) > 2
    assert "\x1b[" in told.out


def test_the_configured_pager_counts_before_the_variable(changed: Path) -> None:
    subprocess.run(["git", "config", "--global", "core.pager", MARKING], check=True)
    assert paged_lines(on_terminal("diff", changed, env={"PAGER": "cat"}).out) > 60


@pytest.mark.parametrize("pager", ["", "cat", "there-is-no-such-pager"])
def test_without_a_pager_it_is_printed(changed: Path, pager: str) -> None:
    told = on_terminal("diff", changed, env={"GIT_PAGER": pager})
    assert told.code == 0 and "+59!" in told.out


def test_who_leaves_the_pager_early_has_seen_enough(changed: Path) -> None:
    (changed / "text").write_text("".join(f"{n} and more text to fill a pipe\n" for n in range(20_000)))
    told = on_terminal("diff", "--exit-code", changed, env={"GIT_PAGER": "head -n 3"})
    assert told.code == 4 and "Traceback" not in told.out and len(told.out) < 400


def test_interrupt_belongs_to_the_pager(changed: Path) -> None:
    told = on_terminal("diff", changed, env={"GIT_PAGER": "trap 'echo caught' INT; cat; sleep 1"}, keys=b"\x03")
    assert told.code == 0 and "interrupt" not in told.out.lower()


def test_a_pipe_and_json_have_no_pager(changed: Path) -> None:

    assert not paged_lines(program("diff", changed, env={**os.environ, "GIT_PAGER": MARKING}).out)
    assert not paged_lines(on_terminal("diff", "--json", changed, env={"GIT_PAGER": MARKING}).out)


def test_a_failure_needs_no_pager(tmp_path: Path) -> None:
    told = on_terminal("diff", tmp_path, env={"GIT_PAGER": MARKING})
    assert told.code == 3 and not paged_lines(told.out)


def test_control_characters_of_a_name_never_reach_the_pager(changed: Path) -> None:
    (changed / "\x1b[31mred").write_text("\x1b[32mgreen\n")
    told = on_terminal("diff", changed, env={"GIT_PAGER": MARKING})
    assert "\x1b[31mred" not in told.out and "\x1b[32mgreen" not in told.out and "green" in told.out
