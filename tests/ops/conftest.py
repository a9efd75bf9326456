"""What the tests of the verbs share: small runs, and the command line called in this process."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gitrun.cli.main import run as command_line
from tests.ops.runs import fill
from tests.support.program import SCHEMA, Told
from tests.support.users import give, remove_tree


@pytest.fixture(scope="session")
def in_memory() -> Iterator[Path]:
    """A directory in memory where that has room and extended attributes, since all these locks sync; else on disk."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 256 << 20
    base = Path(tempfile.mkdtemp(prefix="gitrun-ops-", dir=memory if roomy and _keeps_attributes(memory) else None))
    yield base
    remove_tree(base)


def _keeps_attributes(directory: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        try:
            os.setxattr(file.fileno(), "user.test", b"")
        except OSError:
            return False
    return True


@pytest.fixture
def tmp_path(in_memory: Path) -> Iterator[Path]:
    """As pytest's own, but in memory, and gone after the test."""
    base = Path(tempfile.mkdtemp(prefix="t-", dir=in_memory))
    yield base
    with suppress(OSError):  # a test without programs on PATH, or with a file system mounted: the session's end will do
        remove_tree(base)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in a directory of its own."""
    return fill(tmp_path / "work" / "train")


@pytest.fixture
def users_run(shared_tmp: Path) -> Path:
    """A run that belongs to the user whom `as_user` plays, in a directory of theirs."""
    run = fill(shared_tmp / "work" / "train")
    give(shared_tmp)
    return run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """`call("lock", path)` is `gitrun lock PATH`, in this process."""

    def call(*arguments: str | Path) -> Told:
        capsys.readouterr()
        code = command_line([os.fspath(word) for word in arguments])
        return Told(code, *capsys.readouterr())

    return call


@pytest.fixture
def ask(call: Callable[..., Told]) -> Callable[..., dict[str, Any]]:
    """The one JSON object of a command about one run, which follows the schema and has the exit code of the command."""
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))

    def ask(verb: str, *arguments: str | Path) -> dict[str, Any]:
        told = call(verb, "--json", *arguments)
        schema.validate(told.object)
        assert told.object["exit"] == told.code
        return told.object

    return ask
