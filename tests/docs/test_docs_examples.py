"""The examples of the documentation work, and its tables hold what the code has."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import gitrun
from gitrun import results
from gitrun.layouts import guild
from gitrun.lockfile import LockFile
from tests.docs.pages import DOCS, ROOT, block, first_words, page, table


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """A run `runs/train`, and the current directory above it."""
    run = tmp_path / "runs" / "train"
    (run / "empty").mkdir(parents=True)
    (run / "metrics.json").write_text("{}")
    (run / "model").write_bytes(bytes(range(256)) * 8192)
    return run


def executed(code: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- python-api.md --

API = page("python-api.md")


def test_the_example_of_the_python_api_runs(train: Path) -> None:
    said = executed(block(API, "example: python"), train.parents[1]).split("\n")
    assert re.fullmatch(r"train-[0-9a-f]{8} 2 [0-9a-f]{40}", said[0])
    assert said[1:] == ["locked", ""]
    assert gitrun.status(train).state == "unlocked"


def test_the_example_of_errors_runs(train: Path) -> None:
    assert executed(block(API, "example: errors"), train.parents[1]) == "3 the run is not locked\n"


def test_the_example_of_settings_runs(tmp_path: Path) -> None:
    assert executed(block(API, "example: settings"), tmp_path) == "65536\n"


@pytest.mark.parametrize("row", table(API, "table: functions"), ids=lambda row: row[0])
def test_the_signatures_are_those_of_the_code(row: list[str]) -> None:
    told = row[0].strip("`")
    function = getattr(gitrun, told.partition("(")[0])
    signature = inspect.signature(function)
    plain = signature.replace(
        parameters=[it.replace(annotation=it.empty) for it in signature.parameters.values()],
        return_annotation=signature.empty,
    )
    actual = re.sub(r"<gitrun\.progress\.Silent object[^>]*>", "SILENT", str(plain)).replace("'", '"')
    assert told == f"{told.partition('(')[0]}{actual}"
    assert str(signature.return_annotation).rpartition(".")[2] in row[1].replace("pathlib.", "")


def test_all_functions_are_told() -> None:
    told = {word.partition("(")[0] for word in first_words(table(API, "table: functions"))}
    assert told == {name for name in gitrun.__all__ if name.islower() and name != "__version__"}


# -- json.md --

JSON = page("json.md")
SCHEMA = json.loads((DOCS / "json-schema.json").read_text())["$defs"]
OUTCOME = {"run", "path", "state", "exit", "notes"}
VERBS = {
    "lock": gitrun.LockResult,
    "verify": gitrun.VerifyResult,
    "unlock": gitrun.UnlockResult,
    "status": gitrun.StatusResult,
    "restore": gitrun.RestoreResult,
    "fsck": gitrun.FsckResult,
    "gc": gitrun.GcResult,
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_fields_of_json_are_those_of_the_results(verb: str) -> None:
    assert set(first_words(table(JSON, f"table: {verb}"))) == {field.name for field in fields(VERBS[verb])} - OUTCOME


def test_the_fields_of_every_object() -> None:
    assert set(first_words(table(JSON, "table: outcome"))) == OUTCOME | {"path_b64"}


@pytest.mark.parametrize("name", ["lock", "verify", "unlock", "status", "restore", "fsck", "gc", "path"])
def test_the_fields_of_json_are_those_of_the_schema(name: str) -> None:
    assert set(first_words(table(JSON, f"table: {name}"))) == set(SCHEMA[name]["properties"]) - {"state"}


@pytest.mark.parametrize("name", ["difference", "finding"])
def test_the_fields_of_parts_are_those_of_the_schema(name: str) -> None:
    assert set(first_words(table(JSON, f"table: {name}"))) == set(SCHEMA[name]["properties"])


def test_the_fields_of_an_error_are_those_of_the_schema() -> None:
    assert set(first_words(table(JSON, "table: error"))) == set(SCHEMA["failure"]["properties"]["error"]["properties"])


# -- states-and-promises.md --

STATES = page("states-and-promises.md")


def test_the_states_are_those_of_the_code() -> None:
    known = (results.UNLOCKED, results.LOCKED, results.MODIFIED)
    known += (results.INTERRUPTED, results.ORPHANED, results.DETACHED)
    assert {row[0].strip("`") for row in table(STATES, "table: states")} == set(known)


def test_the_protections_are_those_of_the_code() -> None:
    known = {results.PROTECTED, results.IMMUTABLE, results.NOT_ENFORCED, results.UNPROTECTED}
    assert {row[0].strip("`") for row in table(STATES, "table: protection")} == known


# -- guild.md --


def test_the_mutable_files_are_those_of_the_layout() -> None:
    told = set(first_words(table(page("guild.md"), "table: attributes")))
    assert told == {os.fsdecode(path) for path in guild.mutable(Path())}


# -- repository.md --

REPOSITORY = page("repository.md")


def test_stock_tools_read_a_repository_as_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text('{"loss": 1}\n')
    (run / "model").write_bytes(bytes(range(256)) * 8192)
    gitrun.lock(run)
    said = {}
    for line in block(REPOSITORY, "example: stock tools").splitlines():
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr)
        said[line.partition("#")[0].split()[2 if "--git-dir" in line else 1]] = done.stdout
    assert said["show"] == '{"loss": 1}\n'
    assert "model" in said["ls-tree"] and "Gitrun-Run-Id" in said["log"]
    assert (tmp_path / "copy" / ".gitrun.lock").read_bytes() == (run / ".gitrun.lock").read_bytes()


def test_the_trailers_are_those_of_a_commit(train: Path) -> None:
    gitrun.lock(train)
    command = ["git", "--git-dir", gitrun.path(train), "log", "-1", "--format=%(trailers:only,keyonly)", "main"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [row[0].strip("`") for row in table(REPOSITORY, "table: trailers")] == written


def test_the_layout_of_the_store_is_as_told(train: Path) -> None:
    gitrun.lock(train)
    repository = train.parent / ".gitrun" / "train.git"
    assert gitrun.path(train) == repository
    assert (train / ".git").read_text() == "gitdir: ../.gitrun/train.git\n"
    assert set(os.listdir(repository / "gitrun")) == {"run", "verified"}
    (large,) = [
        entry for entry in LockFile.decode((train / ".gitrun.lock").read_bytes()).entries if entry.storage == "lfs"
    ]
    place = Path("lfs", "objects", large.sha256[:2], large.sha256[2:4], large.sha256)
    assert (repository / place).samefile(train.parent / ".gitrun" / place)
    assert json.loads((repository / "gitrun" / "verified").read_bytes().partition(b"\n")[0]).keys() == {
        "digest",
        "ok",
        "differences",
        "when",
        "files",
    }


def test_the_tag_names_the_lock_file_and_is_kept_at_unlock(train: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "--git-dir", gitrun.path(train), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    gitrun.lock(train)
    digest = hashlib.sha256((train / ".gitrun.lock").read_bytes()).hexdigest()
    tag = git("cat-file", "-p", "locked")
    assert f"\nLock-File-Sha256: {digest}\n" in tag
    gitrun.unlock(train)
    assert git("for-each-ref", "--format=%(refname)").split() == ["refs/gitrun/locks/1", "refs/heads/main"]
    assert git("cat-file", "-p", "refs/gitrun/locks/1") == tag


# -- configuration.md --


def test_every_key_and_variable_that_the_code_reads_is_told() -> None:
    told = page("configuration.md")
    source = "".join(path.read_text() for path in (ROOT / "gitrun").rglob("*.py"))
    ours = set(re.findall(r"\bGITRUN_[A-Z]+", source)) - {"GITRUN_COMPLETE"}
    guilds = set(re.findall(r'"(GUILD_[A-Z_]+|CONDA_PREFIX|VIRTUAL_ENV)"', source))
    keys = set(re.findall(r"\bgitrun\.(largeThreshold|gitLink|store)\b", source))
    for name in ours | guilds | {f"gitrun.{key}" for key in keys}:
        assert f"`{name}`" in told, name
