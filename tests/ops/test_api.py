"""The Python API: as powerful as the command line, which shows nothing else than its results."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import gitrun
from tests.ops.runs import copy, loosen, overwrite, remove, repository_of
from tests.support.program import SCHEMA, Told

Call = Callable[..., Told]

RESULTS = {
    "lock": gitrun.LockResult,
    "verify": gitrun.VerifyResult,
    "unlock": gitrun.UnlockResult,
    "status": gitrun.StatusResult,
    "restore": gitrun.RestoreResult,
    "fsck": gitrun.FsckResult,
    "gc": gitrun.GcResult,
}
JSON_TYPES: dict[object, type] = {"int": int, "str": str, "bool": bool, "bytes": bytes}


def schema_of(verb: str) -> Draft202012Validator:
    """The schema of the results of one verb."""
    whole = json.loads(SCHEMA.read_text())
    return Draft202012Validator({"$ref": f"#/$defs/{verb}", "$defs": whole["$defs"], "$schema": whole["$schema"]})


def check(result: Any) -> None:
    """A frozen value whose fields have the types that they promise."""
    assert dataclasses.is_dataclass(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.path = b""
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if str(field.type) in JSON_TYPES:
            assert type(value) is JSON_TYPES[str(field.type)], field.name
        else:
            assert isinstance(value, tuple), field.name
    assert pickle.loads(pickle.dumps(result)) == result
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def changed(run: Path) -> None:
    """A difference and a warning, and something that came anew."""
    loosen(run)
    overwrite(run / "config.yaml", b"x")
    (run / "sub" / "secret").chmod(0o600)
    (run / os.fsdecode(b"new\xff\n")).touch()


@pytest.mark.parametrize("state", ["fresh", "locked", "changed", "unlocked", "gone", "copy"])
@pytest.mark.parametrize("verb", ["lock", "verify", "unlock", "status", "restore", "fsck"])
def test_every_result_is_typed_and_what_the_command_line_tells(
    run: Path, tmp_path: Path, call: Call, verb: str, state: str
) -> None:
    """The same is done twice to the same run: once by the API, once by the command line; both tell the same."""
    if state != "fresh":
        gitrun.lock(run)
    if state == "unlocked":
        gitrun.unlock(run)
    target = copy(run, run.with_name("copy")) if state == "copy" else run
    if state == "changed":
        changed(run)
    if state == "gone":
        remove(run)
    kept = copy(run.parent, tmp_path / "kept")
    try:
        result = getattr(gitrun, verb)(target)
        check(result)
        assert type(result) is RESULTS[verb]
        expected = result.to_dict()
        schema_of(verb).validate(expected)
    except gitrun.GitrunError as error:
        expected = {"exit": error.exit_code, "error": error.code, "message": error.message}
    run.parent.rename(tmp_path / "aside")
    kept.rename(run.parent)
    told = call(verb, "--json", target)
    actual = told.object
    if "error" in actual:
        schema_of("failure").validate(actual)
        actual = {"exit": actual["exit"], "error": actual["error"]["code"], "message": actual["error"]["message"]}
    for volatile in ("commit", "locked_at", "run", "stored_bytes") if verb == "lock" and state != "locked" else ():
        expected.pop(volatile, None), actual.pop(volatile, None)
    assert actual == expected
    assert told.code == expected["exit"]


def test_gc(run: Path, call: Call) -> None:
    gitrun.lock(run)
    result = gitrun.gc(run.parent / ".gitrun", dry_run=True)
    check(result)
    schema_of("gc").validate(result.to_dict())
    assert call("gc", "--dry-run", "--json", run.parent).object == result.to_dict()


def test_path(run: Path, call: Call) -> None:
    gitrun.lock(run)
    assert gitrun.path(run) == repository_of(run)
    assert call("path", "--json", run).object["repository"] == str(gitrun.path(run))
    assert call("path", run).out == f"{gitrun.path(run)}\n"


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_run_is_named_by_any_kind_of_path(run: Path, kind: Callable[[Path], Any]) -> None:
    for verb in ("lock", "verify", "status", "restore", "fsck", "unlock"):
        assert getattr(gitrun, verb)(kind(run)).path == os.fsencode(run)


def test_a_verdict_is_true_or_false(run: Path) -> None:
    gitrun.lock(run)
    assert gitrun.verify(run) and gitrun.fsck(run)
    overwrite(run / "config.yaml", b"x")
    verdict = gitrun.verify(run)
    assert not verdict and verdict.exit == 4
    assert verdict.differences[0] == gitrun.Difference(
        b"config.yaml", "modified", verdict.differences[0].expected, verdict.differences[0].actual
    )


def test_failures_are_of_one_family(run: Path) -> None:
    with pytest.raises(gitrun.NotLocked) as told:
        gitrun.verify(run)
    error = told.value
    assert isinstance(error, gitrun.GitrunError)
    assert (error.exit_code, error.code, error.path) == (3, "NotLocked", os.fsencode(run))
    assert error.message and error.hint
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.path, again.hint) == (type(error), error.message, error.path, error.hint)


def test_wrong_arguments_are_usage_errors(run: Path) -> None:
    with pytest.raises(gitrun.UsageError):
        gitrun.lock(run, link="teleport")  # type: ignore[arg-type]
    with pytest.raises(gitrun.UsageError):
        gitrun.lock(run, large_threshold=-1)
    assert not (run / ".gitrun.lock").exists()


def test_settings_replace_environment_and_configuration(run: Path, tmp_path: Path) -> None:
    settings = gitrun.Settings(store=os.fsencode(tmp_path / "store"), large_threshold=8, git_link=False)
    gitrun.lock(run, settings=settings)
    assert gitrun.path(run, settings=settings) == tmp_path / "store" / "train.git"
    assert not (run / ".git").exists()
    assert gitrun.verify(run, settings=settings, strict=True)


def test_progress_is_told_in_bytes(run: Path) -> None:
    class Told:
        stages: list[tuple[str, int, str]]
        done: int

        def __init__(self) -> None:
            self.stages, self.done = [], 0

        def stage(self, name: str, total: int, unit: str) -> None:
            self.stages.append((name, total, unit))

        def advance(self, amount: int) -> None:
            self.done += amount

    for verb in ("lock", "verify"):
        progress = Told()
        getattr(gitrun, verb)(run, progress=progress)
        assert progress.stages and all(unit == "B" for _, _, unit in progress.stages)
        assert progress.done == sum(total for _, total, _ in progress.stages)


def test_the_program_around_it_is_left_as_it_was(run: Path) -> None:
    """No working directory, umask, environment or descriptor of the caller's changes."""
    gitrun.status(run)  # loads what is loaded once
    before = os.getcwd(), dict(os.environ), len(os.listdir("/proc/self/fd"))
    for verb in ("lock", "verify", "status", "restore", "fsck", "unlock"):
        getattr(gitrun, verb)(run)
    umask = os.umask(0o022)
    assert umask == 0o022
    assert (os.getcwd(), dict(os.environ), len(os.listdir("/proc/self/fd"))) == before
