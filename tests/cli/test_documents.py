"""What docs/ says of exit codes and JSON is what the program does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import gitrun
from gitrun import errors, results
from gitrun.cli._failures import failure_of
from gitrun.cli._runner import failure_json
from gitrun.cli.cmd_path import PathResult
from gitrun.results.verify import UpstreamVerdict

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "json-schema.json").read_text())
CHANGE = gitrun.Difference(b"a\xff", "modified", "x", "y", "litter")
WHERE: dict[str, Any] = {"run": "run-00000000", "path": b"/runs/a\xff", "notes": ("by the way",)}
UPSTREAM = UpstreamVerdict(run="", path=b"/a\xff", of="b", kind="gone", expected="c" * 40, actual="")
LOCK: dict[str, Any] = {"commit": "c" * 40, "files": 1, "bytes": 2, "locked_at": 3, "protection": results.PROTECTED}

EXAMPLES: dict[str, Any] = {
    "lock": gitrun.LockResult(**WHERE, **LOCK, state=results.LOCKED),
    "verify": gitrun.VerifyResult(
        **WHERE,
        state=results.MODIFIED,
        exit=4,
        ok=False,
        differences=(CHANGE,),
        warnings=(CHANGE,),
        upstream=(UPSTREAM,),
    ),
    "unlock": gitrun.UnlockResult(**WHERE, state=results.UNLOCKED, files=1, differences=(CHANGE,)),
    "status": gitrun.StatusResult(**WHERE, **LOCK, state=results.ORPHANED),
    "log": gitrun.LogResult(
        **WHERE,
        state=results.UNLOCKED,
        locks=(
            gitrun.LockedAt(
                number=2,
                commit="c" * 40,
                parents=("b" * 40,),
                ref="refs/gitrun/locks/2",
                standing=False,
                subject="x",
                author="A <a@b>",
                locked_at=3,
                run="run-00000000",
                files=1,
                bytes=2,
                changes=(CHANGE,),
            ),
        ),
    ),
    "diff": gitrun.DiffResult(
        **WHERE,
        state=results.UNLOCKED,
        old="c" * 40,
        new="",
        changes=(gitrun.Change(b"a\xff", "renamed", "x", "y", "cut", 1, 2, b"b\xff", 50, 3, 4),),
        mutable=(gitrun.Change(b"a", "mutable", "", "y", binary=True),),
    ),
    "fork": gitrun.ForkResult(
        **WHERE, state=results.UNLOCKED, origin="run-11111111", commit="c" * 40, files=1, bytes=2
    ),
    "import": gitrun.ImportResult(**WHERE, **LOCK, state=results.LOCKED, source=b"/x\xff.tar"),
    "export": gitrun.ExportResult(
        **WHERE, state=results.LOCKED, destination=b"/x\xff.tar", format="tar", commit="c" * 40, files=1, bytes=2
    ),
    "push": gitrun.PushResult(
        **WHERE, state=results.LOCKED, remote="/r", name="run-1", commit="c" * 40, locked=True, already=False
    ),
    "fetch": gitrun.FetchResult(
        **WHERE, state=results.LOCKED, remote="/r", ref="refs/remotes/origin/main", commit="c" * 40, new=1
    ),
    "pull": gitrun.CloneResult(**WHERE, state=results.LOCKED, remote="/r", commit="c" * 40, files=1, bytes=2),
    "clone": gitrun.CloneResult(**WHERE, state=results.LOCKED, remote="/r", commit="c" * 40, files=1, bytes=2),
    "remote": gitrun.RemoteRun(
        run="run-1",
        path=b"",
        state="complete",
        name="run-1+0123",
        commit="c" * 40,
        author="A <a@b>",
        locked_at=1,
        subject="Lock",
        files=1,
        bytes=2,
    ),
    "restore": gitrun.RestoreResult(**WHERE, state=results.LOCKED, restored=(CHANGE,)),
    "fsck": gitrun.FsckResult(
        **WHERE, state=results.LOCKED, exit=6, ok=False, findings=(gitrun.Finding("missing", "oid", "gone", (b"a",)),)
    ),
    "gc": gitrun.GcResult(path=b"/runs/.gitrun", removed=(b"/runs/.gitrun/lfs/objects/aa",)),
    "doctor": gitrun.DoctorResult(
        run="",
        path=b"/x",
        state="checked",
        exit=4,
        facts=(gitrun.Fact("git", True, "2.39.5"),),
        troubles=(gitrun.Trouble("leftover", b"/x\xff", "left", "remove it"),),
    ),
    "guild": gitrun.GuildHookResult(
        run="", path=b"/packages", state="hooked", python="/usr/bin/python3", guild="0.9.0", hook="0.1.0"
    ),
    "path": PathResult("run-00000000", b"/runs/a", results.LOCKED, b"/runs/.gitrun/\xff.git"),
}


def valid(told: dict[str, Any], schema: dict[str, Any]) -> bool:
    return bool(Draft202012Validator(schema).is_valid(told))


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_result_follows_the_schema(name: str) -> None:
    told = json.loads(json.dumps(EXAMPLES[name].to_dict()))
    Draft202012Validator(SCHEMA).validate(told)
    Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name}"}]}).validate(told)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_schema_knows_every_field(name: str) -> None:
    known = {*SCHEMA["$defs"][name]["properties"], *SCHEMA["$defs"]["outcome"]["properties"]}
    assert set(EXAMPLES[name].to_dict()) <= known


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_field_too_few_is_noticed(name: str) -> None:
    told = EXAMPLES[name].to_dict()
    for field in SCHEMA["$defs"][name]["required"]:
        one = {**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name}"}]}
        assert not valid({key: value for key, value in told.items() if key != field}, one)


@pytest.mark.parametrize("path", [None, b"/x\xff"])
def test_failures_follow_the_schema(path: bytes | None) -> None:
    told = failure_json(failure_of(errors.RunActive("busy", path=path, hint="wait"), "lock"), b"/nowhere/a")
    Draft202012Validator(SCHEMA).validate(told)


def test_the_table_of_exit_codes_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "exit_codes.py", "--check"], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr


SPECIFIED = {
    errors.UsageError: 2,
    errors.RunNotFound: 3,
    errors.NotLocked: 3,
    errors.DifferencesFound: 4,
    errors.Refused: 5,
    errors.RunActive: 5,
    errors.RunBusy: 5,
    errors.RunChanged: 5,
    errors.RecordError: 6,
    errors.NewerFormat: 6,
    errors.TagMissing: 6,
    errors.ToolFailed: 7,
    errors.SystemFailed: 8,
    errors.Interrupted: 130,
}


@pytest.mark.parametrize("kind", SPECIFIED, ids=lambda kind: kind.__name__)
def test_exit_codes(kind: type[errors.GitrunError]) -> None:
    assert failure_of(kind("no"), "lock").exit == SPECIFIED[kind]
    row = f"| `{kind.__name__}` | {SPECIFIED[kind]} |"
    assert row in (ROOT / "docs" / "exit-codes.md").read_text()
