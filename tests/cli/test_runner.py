"""Many runs at once: all are worked on, in order, and the worst code is returned."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import pytest

from gitrun.cli._console import Common, Console
from gitrun.cli._failures import Failure
from gitrun.cli._runner import Task, Verb, run_each
from gitrun.cli._signals import Stopped
from gitrun.cli._targets import Target
from gitrun.errors import Interrupted, NotLocked, Refused, RunActive
from gitrun.results import path_json


@dataclass(frozen=True)
class Told:
    path: bytes
    exit: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {"run": "id", **path_json(self.path), "state": "locked", "exit": self.exit}


def work(task: Task) -> Told:
    """A verb that does what the last letter of the path says."""
    if task.path.endswith(b"d"):
        return Told(task.path, 4)
    if task.path.endswith(b"r"):
        raise Refused("no", path=task.path, hint="do not")
    if task.path.endswith(b"n"):
        raise NotLocked("not locked", path=task.path)
    if task.path.endswith(b"o"):
        raise OSError(28, "No space left on device")
    if task.path.endswith(b"b"):
        raise ZeroDivisionError("division by zero")
    if task.path.endswith(b"i"):
        raise Stopped(15)
    if task.path.endswith(b"j"):
        raise Interrupted("enough", path=task.path)
    if task.path.endswith(b"k"):
        os._exit(9)
    return Told(task.path)


def show(result: Told, console: Console) -> None:
    console.data(f"done {os.fsdecode(result.path)}")


def runs(*names: str) -> list[Target]:
    return [Target(b"/nowhere/" + name.encode()) for name in names]


VERB = Verb("try", work, show)
both = pytest.mark.parametrize("jobs", [1, 2], ids=["serial", "parallel"])


@both
def test_all_are_worked_on_in_order(jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, runs("x", "y", "z"), Common(jobs=jobs)) == 0
    assert capsys.readouterr().out.split() == ["done", "/nowhere/x", "done", "/nowhere/y", "done", "/nowhere/z"]


@both
@pytest.mark.parametrize(
    ("names", "code"), [("xdx", 4), ("dnx", 4), ("drn", 5), ("ror", 8), ("bx", 1), ("bd", 4)], ids=str
)
def test_the_highest_code_is_returned(names: str, code: int, jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, runs(*names), Common(jobs=jobs)) == code
    assert capsys.readouterr().out.count("done") == sum(name in "xd" for name in names)


@both
def test_a_failure_is_a_line_with_path_and_hint(jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    run_each(VERB, runs("x", "r", "o"), Common(jobs=jobs))
    assert capsys.readouterr().err.splitlines() == [
        "gitrun: no: /nowhere/r",
        "hint: do not",
        "gitrun: cannot try: No space left on device: /nowhere/o",
        "hint: free some space and run the same command again",
    ]


@both
def test_failures_under_json_are_objects_on_stdout(jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, runs("x", "r", "b"), Common(json=True, jobs=jobs)) == 5
    out, err = capsys.readouterr()
    good, refused, bug = map(json.loads, out.splitlines())
    assert not err
    assert good == Told(b"/nowhere/x").to_dict()
    told = {"code": "Refused", "message": "no", "path": "/nowhere/r", "hint": "do not"}
    assert refused == {"run": "", "path": "/nowhere/r", "state": "unknown", "exit": 5, "error": told}
    assert (bug["exit"], bug["error"]["code"]) == (1, "InternalError")


@both
def test_a_bug_is_one_line_unless_debugging(jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    run_each(VERB, runs("b", "x"), Common(jobs=jobs))
    line, hint = capsys.readouterr().err.splitlines()
    assert line == "gitrun: a bug in gitrun: ZeroDivisionError: division by zero: /nowhere/b"
    assert "--debug" in hint
    run_each(VERB, runs("b", "x"), Common(jobs=jobs, debug=True))
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_ends_the_work_and_names_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, runs("x", "i", "y"), Common(jobs=1)) == 143
    out, err = capsys.readouterr()
    assert out == "done /nowhere/x\n"
    assert err.splitlines()[0] == "gitrun: interrupted by SIGTERM: /nowhere/i"


def test_an_interruption_under_json_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, runs("x", "i", "y"), Common(json=True, jobs=1)) == 143
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["exit"] for one in told] == [0, 143]
    assert told[1]["error"]["code"] == "Interrupted"


def test_a_verb_that_is_told_no_stops(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, runs("j", "y"), Common(jobs=1)) == 130
    assert capsys.readouterr().err == "gitrun: enough: /nowhere/j\n"


def test_a_process_that_dies_is_a_failure_of_its_run_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, runs("x", "k", "y", "z"), Common(jobs=2)) == 8
    out, err = capsys.readouterr()
    assert out.count("done") == 3
    assert "/nowhere/k" in err


def test_an_argument_that_names_no_run_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = Target(b"/nowhere", Failure(3, "RunNotFound", "there is no such run"))
    assert run_each(VERB, [unknown, *runs("x")], Common(jobs=1)) == 3
    assert capsys.readouterr().out == "done /nowhere/x\n"


def test_no_runs_at_all_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_each(VERB, [], Common()) == 3
    assert "no runs found" in capsys.readouterr().err


def test_processes_are_shared_between_runs() -> None:
    seen: list[int] = []

    def note(task: Task) -> Told:
        return Told(b"/jobs-%d" % task.jobs)

    verb = Verb("try", note, lambda result, console: seen.append(int(result.path.rpartition(b"-")[2])))
    run_each(verb, runs("a", "b"), Common(jobs=8))
    run_each(verb, runs("a"), Common(jobs=8))
    run_each(verb, runs("a"), Common())
    assert seen == [4, 4, 8, 0]


def test_small_work_is_not_worth_a_process() -> None:
    verb = Verb(
        "try", lambda task: Told(b"%d" % os.getpid()), lambda result, console: pids.append(int(result.path)), 100
    )
    pids: list[int] = []
    run_each(verb, runs(*"abc"), Common(jobs=4))
    assert set(pids) == {os.getpid()}


def test_errors_that_carry_more_survive_the_way_between_processes(capsys: pytest.CaptureFixture[str]) -> None:
    def active(task: Task) -> Told:
        raise RunActive("a process writes to it", path=b"/x\xff", hint="wait")

    assert run_each(Verb("try", active, show), runs("a", "b"), Common(jobs=2)) == 5
    assert capsys.readouterr().err.count("gitrun: a process writes to it: /x\\xff\nhint: wait\n") == 2
