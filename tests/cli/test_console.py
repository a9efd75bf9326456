from __future__ import annotations

import io
import json

import pytest

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._failures import Failure, failure_of
from gitrun.cli._signals import Stopped
from gitrun.errors import RunNotFound

COMMON = Common()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(common: Common = COMMON, *, terminal: bool = False) -> tuple[Console, io.StringIO, io.StringIO]:
    out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    return Console(common, _out=out, _err=err), out, err


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_colour_is_for_terminals() -> None:
    shown, out, _ = console(terminal=True)
    shown.data(Painted("ok", "green"), " run")
    assert out.getvalue() == "\x1b[32mok\x1b[0m run\n"
    shown, out, _ = console()
    shown.data(Painted("ok", "green"), " run")
    assert out.getvalue() == "ok run\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_unwanted(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    shown, out, _ = console(terminal=True)
    shown.data(Painted("ok", "green"))
    assert out.getvalue() == "ok\n"


HOSTILE = "a\x1b]0;owned\x07\nb\r\x9b31m\u202etxt\u200b"


@pytest.mark.parametrize("terminal", [True, False])
def test_no_control_character_is_ever_printed_raw(terminal: bool) -> None:
    shown, out, err = console(terminal=terminal)
    shown.data(HOSTILE, Painted(HOSTILE, ""))
    shown.note(HOSTILE)
    shown.hint(HOSTILE)
    shown.notes([HOSTILE])
    shown.failure(Failure(5, "Refused", HOSTILE, HOSTILE.encode(), HOSTILE, HOSTILE))
    printed = (out.getvalue() + err.getvalue()).replace("\x1b[1m", "").replace("\x1b[31m", "")
    printed = printed.replace("\x1b[33m", "").replace("\x1b[0m", "")
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert len(out.getvalue().splitlines()) == 1


def test_a_failure_is_a_line_and_a_hint() -> None:
    shown, out, err = console()
    error = RunNotFound("there is no such run", path=b"/runs/a\nb", hint="try another")
    shown.failure(failure_of(error, "lock"))
    assert not out.getvalue()
    assert err.getvalue() == "gitrun: there is no such run: /runs/a\\nb\nhint: try another\n"


def test_quiet_leaves_data_and_failures() -> None:
    shown, out, err = console(Common(quiet=True))
    shown.good("ok")
    shown.notes(["by the way"])
    shown.data("CHANGED")
    shown.failure(Failure(5, "Refused", "no"))
    assert (out.getvalue(), err.getvalue()) == ("CHANGED\n", "gitrun: no\n")


def test_json_is_ascii_on_one_line() -> None:
    shown, out, _ = console(Common(json=True))
    shown.json({"path": "ü\n\x1b"})
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue()) == {"path": "ü\n\x1b"}


@pytest.mark.parametrize("common", [Common(json=True), Common(quiet=True), Common(progress=False)])
def test_progress_is_not_shown_where_it_disturbs(common: Common) -> None:
    assert not console(common, terminal=True)[0].shows_progress


def test_progress_is_for_terminals() -> None:
    assert console(terminal=True)[0].shows_progress
    assert not console()[0].shows_progress


def test_width(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console()[0].width == 0
    assert console(terminal=True)[0].width == 80
    monkeypatch.setenv("COLUMNS", "20")
    assert console(terminal=True)[0].width == 20


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (OSError(28, "No space left on device", "/x"), 8, "SystemFailed"),
        (MemoryError(), 8, "SystemFailed"),
        (KeyError("x"), 1, "InternalError"),
        (RecursionError(), 1, "InternalError"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (Stopped(2), 130, "Interrupted"),
        (Stopped(15), 143, "Interrupted"),
        (Stopped(1), 129, "Interrupted"),
        (RunNotFound("no"), 3, "RunNotFound"),
    ],
)
def test_what_an_exception_means(error: BaseException, exit_code: int, code: str) -> None:
    failure = failure_of(error, "lock")
    assert (failure.exit, failure.code) == (exit_code, code)
    assert "\n" not in failure.message
    assert not failure.traceback


def test_debug_keeps_the_traceback() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        failure = failure_of(error, "lock", debug=True)
    shown, _, err = console()
    shown.failure(failure)
    assert "test_console.py" in err.getvalue()
