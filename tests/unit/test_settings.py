"""Settings: what the user configured, read as git reads it, and nothing that lies about in runs or the environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gitrun.errors import UsageError
from gitrun.settings import MEBIBYTE, Identity, Settings, load, parse_size
from tests.support.judge import Judge

Environment = dict[str, str]


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Environment]:
    """Makes an environment in which the user's git configuration is the given text."""

    def make(text: str) -> Environment:
        (tmp_path / "config").write_text(text)
        settings = {"GIT_CONFIG_GLOBAL": str(tmp_path / "config"), "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(tmp_path)}
        return {"PATH": os.environ["PATH"], **settings}

    return make


def test_nothing_is_configured(configured: Callable[[str], Environment]) -> None:
    found = load(configured(""))
    assert (found.store, found.large_threshold, found.git_link) == (None, MEBIBYTE, True)


# -- sizes --

SIZES = {
    "1": 1,
    "1048576": MEBIBYTE,
    "512k": 512 << 10,
    "512K": 512 << 10,
    "1m": MEBIBYTE,
    "1MB": MEBIBYTE,
    "1MiB": MEBIBYTE,
    "1 MiB": MEBIBYTE,
    " 2G ": 2 << 30,
    "1.5k": 1536,
    "1T": 1 << 40,
    "10B": 10,
    "9007199254740993": 2**53 + 1,
    str(1 << 59): 1 << 59,
}
NO_SIZES = ["", " ", "k", "MiB", "one", "-1", "+1", "0", "0k", "0.5", "nan", "inf", "1e3", "1_000", "0x10", "1P", "1kk"]
NO_SIZES += ["1i", "1 2", "1,5", "\u0663", "1\n2", "true", str(1 << 62), "9" * 5000, "4194304T"]


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_size(text)
    assert refused.value.exit_code == 2 and "MiB" in refused.value.hint


def test_the_threshold_is_a_size(configured: Callable[[str], Environment]) -> None:
    assert load(configured("[gitrun]\nlargeThreshold = 64k\n")).large_threshold == 64 << 10
    assert load(configured("[gitrun]\nLARGETHRESHOLD = 7\n")).large_threshold == 7
    with pytest.raises(UsageError, match=r"gitrun\.largeThreshold"):
        load(configured("[gitrun]\nlargeThreshold = much\n"))
    with pytest.raises(UsageError):
        load(configured("[gitrun]\nlargeThreshold\n"))


# -- booleans --


@pytest.mark.parametrize("line", ["= true", "= yes", "= on", "= 1", "= TRUE", ""])
def test_true(configured: Callable[[str], Environment], line: str) -> None:
    assert load(configured(f"[gitrun]\ngitLink {line}\n")).git_link is True


@pytest.mark.parametrize("line", ["= false", "= no", "= off", "= 0", "= False", "="])
def test_false(configured: Callable[[str], Environment], line: str) -> None:
    assert load(configured(f"[gitrun]\ngitLink {line}\n")).git_link is False


def test_neither_true_nor_false(configured: Callable[[str], Environment]) -> None:
    with pytest.raises(UsageError, match=r"gitrun\.gitLink"):
        load(configured("[gitrun]\ngitLink = perhaps\n"))


def test_booleans_are_gits(configured: Callable[[str], Environment]) -> None:
    for text in ("", "= ", "= yes", "= 0", "= off"):
        environment = configured(f"[gitrun]\ngitLink {text}\n")
        command = ["git", "config", "--type=bool", "gitrun.gitLink"]
        said = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True).stdout
        assert load(environment).git_link is (said == "true\n")


# -- the store --


def test_the_variable_comes_before_the_configuration(configured: Callable[[str], Environment]) -> None:
    environment = configured("[gitrun]\nstore = /from/config\n")
    assert load(environment).store == b"/from/config"
    assert load(environment | {"GITRUN_STORE": "/from/variable"}).store == b"/from/variable"
    assert load(environment | {"GITRUN_STORE": ""}).store == b"/from/config"


def test_an_empty_store_is_none(configured: Callable[[str], Environment]) -> None:
    assert load(configured("[gitrun]\nstore =\n")).store is None


def test_a_store_becomes_absolute(
    configured: Callable[[str], Environment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load(configured("") | {"GITRUN_STORE": "a/../b/"}).store == os.fsencode(tmp_path / "b")
    assert load(configured("[gitrun]\nstore = ~/store\n")).store == b"/home/somebody/store"


def test_a_store_may_have_any_name(configured: Callable[[str], Environment]) -> None:
    assert load(configured("") | {"GITRUN_STORE": os.fsdecode(b"/\xff\n ")}).store == b"/\xff\n "


def test_the_last_value_counts(configured: Callable[[str], Environment]) -> None:
    assert load(configured("[gitrun]\nstore = /a\nstore = /b\n")).store == b"/b"


def test_includes_are_followed(configured: Callable[[str], Environment], tmp_path: Path) -> None:
    (tmp_path / "more").write_text("[gitrun]\nstore = /included\n")
    assert load(configured(f"[include]\npath = {tmp_path}/more\n")).store == b"/included"


# -- who --


@pytest.fixture
def bare() -> Environment:
    """No configuration, no git, and nothing that says who we are but the system."""
    return {"PATH": "/nonexistent", "HOME": "/nonexistent"}


def test_without_any_identity_user_and_host_serve(bare: Environment) -> None:
    import pwd

    user, host = pwd.getpwuid(os.geteuid()).pw_name, os.uname().nodename
    assert load(bare).author == load(bare).committer == Identity(user, f"{user}@{host}")


def test_a_user_without_a_name_still_has_one(bare: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 3999999999)
    assert load(bare).author.name == "uid3999999999"
    assert load(bare | {"USER": "somebody"}).author.name == "somebody"
    assert load(bare | {"USER": "<>"}).author.name == "uid3999999999"


IDENTITIES = {
    "user": ("[user]\nname = U\nemail = u@x\n", {}, ("U", "u@x"), ("U", "u@x")),
    "user and EMAIL": ("[user]\nname = U\n", {"EMAIL": "e@x"}, ("U", "e@x"), ("U", "e@x")),
    "configuration before EMAIL": ("[user]\nname=U\nemail=u@x\n", {"EMAIL": "e@x"}, ("U", "u@x"), ("U", "u@x")),
    "roles": (
        "[user]\nname = U\nemail = u@x\n[author]\nname = A\nemail = a@x\n[committer]\nname = C\n",
        {},
        ("A", "a@x"),
        ("C", "u@x"),
    ),
    "environment first": (
        "[user]\nname = U\nemail = u@x\n[author]\nname = A\n",
        {"GIT_AUTHOR_NAME": "EA", "GIT_COMMITTER_EMAIL": "ec@x"},
        ("EA", "u@x"),
        ("U", "ec@x"),
    ),
    "crud": ('[user]\nname = " , U <x> "\nemail = <u@x>\n', {}, ("U x", "u@x"), ("U x", "u@x")),
    "useConfigOnly": ("[user]\nname = U\nemail = u@x\nuseConfigOnly = true\n", {}, ("U", "u@x"), ("U", "u@x")),
}


@pytest.mark.parametrize(("text", "more", "author", "committer"), IDENTITIES.values(), ids=IDENTITIES)
def test_identities_are_gits(
    configured: Callable[[str], Environment],
    text: str,
    more: Environment,
    author: tuple[str, str],
    committer: tuple[str, str],
) -> None:
    environment = configured(text) | more
    found = load(environment)
    assert (found.author, found.committer) == (Identity(*author), Identity(*committer))
    for role, identity in (("AUTHOR", found.author), ("COMMITTER", found.committer)):
        command = ["git", "var", f"GIT_{role}_IDENT"]
        said = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True).stdout
        assert said.rpartition(">")[0] == f"{identity.name} <{identity.email}"


def test_an_empty_name_is_no_name(configured: Callable[[str], Environment]) -> None:
    found = load(configured("[user]\nname =\nemail = u@x\n")).author
    assert found.name not in ("", "true") and found.email == "u@x"


def test_an_identity_that_is_not_utf8_is_kept(configured: Callable[[str], Environment], tmp_path: Path) -> None:
    environment = configured("")
    (tmp_path / "config").write_bytes(b"[user]\nname = Caf\xe9\nemail = c@x\n")
    assert os.fsencode(load(environment).author.name) == b"Caf\xe9"


# -- what counts nothing --


def test_configuration_that_lies_about_counts_nothing(
    configured: Callable[[str], Environment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of the repository one stands in, nor what the environment would have git read."""
    (tmp_path / "here").mkdir()
    judge = Judge(tmp_path / "here" / ".git")
    judge.run("config", "gitrun.store", "/evil")
    monkeypatch.chdir(tmp_path / "here")
    environment = configured("") | {
        "GIT_DIR": str(judge.directory),
        "GIT_CONFIG": str(judge.directory / "config"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "gitrun.store",
        "GIT_CONFIG_VALUE_0": "/evil",
        "GIT_CONFIG_PARAMETERS": "'gitrun.store=/evil'",
    }
    assert load(environment).store is None


def test_configuration_that_git_cannot_read_counts_nothing(configured: Callable[[str], Environment]) -> None:
    assert load(configured("[gitrun\nnonsense")).store is None


def test_git_starts_no_program_for_it(configured: Callable[[str], Environment], tmp_path: Path) -> None:
    hostile = f"[core]\nfsmonitor = touch {tmp_path}/ran\npager = touch {tmp_path}/ran\n[alias]\nconfig = !touch ran\n"
    assert load(configured(hostile)).git_link is True
    assert not (tmp_path / "ran").exists()


def test_settings_can_be_made_without_a_machine() -> None:
    assert Settings().store is None and Settings().author.name == "unknown"
