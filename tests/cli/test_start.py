"""The program as it starts: fast, helpful, and never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import gitrun as package
from gitrun import __version__
from gitrun.cli.main import VERBS, gitrun, run

HEAVY = (
    "pygit2",
    "tqdm",
    "git",
    "json",
    "blake3",
    "isal",
    "filelock",
    "subprocess",
    "pickle",
    "multiprocessing",
    "dataclasses",
)


def started(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gitrun", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["loc"]])
def test_starting_imports_nothing_that_a_verb_needs(args: list[str]) -> None:
    program = f"import sys; from gitrun.cli.main import run; run({args}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert loaded.isdisjoint(HEAVY)
    assert not {name for name in loaded if name.startswith(("gitrun.ops", "gitrun.cli.cmd_"))}


def test_help_of_a_verb_does_not_import_its_work() -> None:
    program = (
        "import sys; from gitrun.cli.main import run; run(['verify', '--help']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()).isdisjoint({"pygit2", "tqdm", "git", "blake3", "gitrun.ops.verify", "gitrun.repo"})


def test_importing_the_package_imports_nothing() -> None:
    program = "import sys; before = set(sys.modules); import gitrun; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"gitrun", "__future__"}


@pytest.mark.parametrize("name", sorted(package.__all__))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(package, name) is not None
    assert name in dir(package)


def test_a_verb_is_a_function_although_its_module_has_its_name() -> None:
    import gitrun.ops.lock

    assert callable(package.lock)
    assert gitrun.ops.lock.lock is package.lock


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_an_example_in_80_columns(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert "Examples:\n    g" in told
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_options_of_all(verb: str) -> None:
    command = gitrun.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == verb
    known = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "-q", "-v", "--no-progress", "-j", "--debug"} <= known


def test_help_lists_all_verbs_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n  {verb} " in told for verb in VERBS)
    assert max(map(len, told.splitlines())) <= 80


def test_without_a_verb_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "Commands:" in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"gitrun {__version__}\n"


def test_an_unknown_verb_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verfy"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "gitrun: there is no command 'verfy'",
        "hint: did you mean `gitrun verify`?",
    ]


def test_an_unknown_verb_like_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["xyzzy\x1b[31m"]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "`gitrun --help`" in err


def test_an_unknown_option_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lock", "--sideways"]) == 2
    first, hint = capsys.readouterr().err.splitlines()
    assert first.startswith("gitrun: no such option '--sideways'") or "--sideways" in first
    assert hint == "hint: `gitrun lock --help` tells how"


def test_wrong_usage_under_json_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert run(["status", "--json", "--sideways"]) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert not err
    assert (told["exit"], told["error"]["code"]) == (2, "UsageError")


def test_completion_knows_the_verbs() -> None:
    done = started(_GITRUN_COMPLETE="bash_complete", COMP_WORDS="gitrun ver", COMP_CWORD="1")
    assert done.stdout == "plain,verify\n"
    assert "_gitrun_completion" in started(_GITRUN_COMPLETE="bash_source").stdout


def test_a_closed_pipe_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gitrun", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_output_is_a_failure_of_the_system() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gitrun", "--help"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 8
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(closed: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m gitrun --version {closed}"], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_the_terminal_will_do(encoding: str) -> None:
    command = [sys.executable, "-m", "gitrun", "öffne-試行"]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 2
    assert done.stderr.decode(encoding).startswith("gitrun: there is no command ")
    assert ("試行" in done.stderr.decode(encoding)) == (encoding == "utf-8")
