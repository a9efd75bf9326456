"""gitrun's own calls of git: which program, in which environment, on what; real git answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitrun import gitcmd
from gitrun.errors import RecordError, ToolFailed
from tests.support.judge import Judge
from tests.support.tools import CHECKOUT


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path / "some.git")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fsck(judge: Judge, **refs: str) -> list[str]:
    return gitcmd.fsck(os.fsencode(judge.directory), {f"refs/heads/{name}": oid for name, oid in refs.items()})


def commit(judge: Judge, tree: bytes, *more: bytes) -> str:
    me = b"a <a> 1 +0000"
    data = b"tree %b\n%bauthor %b\ncommitter %b\n\nx\n" % (tree, b"".join(line + b"\n" for line in more), me, me)
    return judge.write("commit", data).decode()


def tree(*entries: tuple[bytes, bytes, bytes]) -> bytes:
    return b"".join(b"%b %b\0%b" % (mode, name, bytes.fromhex(oid.decode())) for mode, name, oid in entries)


# -- which git --


def test_121_git_is_found_outside_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = tmp_path / "ran"
    script(tmp_path / "git", f"touch {flag}")
    monkeypatch.chdir(tmp_path)
    for entry in (".", "", "relative/../"):
        monkeypatch.setenv("PATH", f"{entry}:{os.defpath}:/usr/local/bin:/usr/bin:/bin")
        assert os.path.isabs(gitcmd.find_git()) and not gitcmd.find_git().startswith(str(tmp_path))
    assert not flag.exists()


def test_121_no_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolFailed, match="git is not installed") as failure:
        gitcmd.find_git()
    assert failure.value.exit_code == 7 and "install git" in failure.value.hint


@pytest.mark.parametrize(
    ("says", "message"),
    [("echo git version 2.30.9", "git 2.30 is too old"), ("echo hello", "does not tell"), ("exit 3", "does not tell")],
)
def test_121_an_old_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, message: str) -> None:
    script(tmp_path / "git", says)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ToolFailed, match=message) as failure:
        gitcmd.find_git()
    assert failure.value.hint


# -- its environment --


def test_120_the_whole_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, judge: Judge) -> None:
    """Nothing of ours reaches git but PATH."""
    for name in ("GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_CONFIG_PARAMETERS", "GIT_TRACE", "LD_DEBUG", "SECRET"):
        monkeypatch.setenv(name, "/nonexistent")
    seen = tmp_path / "seen"
    script(tmp_path / "git", f'env >> {seen}\nexec /usr/bin/git "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert fsck(judge) == []
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {*gitcmd.environment(), "GIT_DIR"}


def test_the_environment_closes_every_door() -> None:
    told = gitcmd.environment()
    settings = {
        told[f"GIT_CONFIG_KEY_{n}"]: told[f"GIT_CONFIG_VALUE_{n}"] for n in range(int(told["GIT_CONFIG_COUNT"]))
    }
    assert settings["core.hooksPath"] == "/dev/null" and settings["core.fsmonitor"] == "false"
    assert settings["gc.auto"] == "0"
    assert told["GIT_CONFIG_GLOBAL"] == "/dev/null" and told["GIT_CONFIG_NOSYSTEM"] == "1"
    assert told["GIT_TERMINAL_PROMPT"] == "0" and told["GIT_OPTIONAL_LOCKS"] == "0" and told["LC_ALL"] == "C"
    assert told["GIT_NO_REPLACE_OBJECTS"] == "1" and "ext" not in told["GIT_ALLOW_PROTOCOL"].split(":")


def test_gitpython_is_imported_late_and_leaves_the_environment_alone() -> None:
    code = (
        "import os, sys; import gitrun.gitcmd as g; assert 'git' not in sys.modules; before = dict(os.environ);"
        "g.find_git(); assert 'git' in sys.modules; assert dict(os.environ) == before"
    )
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, cwd="/")


# -- fsck --


def test_a_sound_repository(judge: Judge) -> None:
    blob = judge.write("blob", b"x")
    assert fsck(judge, main=commit(judge, judge.write("tree", tree((b"100644", b"a", blob))))) == []


def test_what_is_missing(judge: Judge) -> None:
    missing = b"1" * 40
    messages = fsck(judge, main=commit(judge, judge.write("tree", tree((b"100644", b"a", missing)))))
    assert any(f"missing blob {missing.decode()}" in message for message in messages)
    assert all("\n" not in message and "gitrun-fsck" not in message for message in messages)


def test_strictness(judge: Judge) -> None:
    """A tree that git itself would obey."""
    blob = judge.write("blob", b"x")
    oid = judge.write("tree", tree((b"100644", b".git", blob)))
    assert any("hasDotgit" in message for message in fsck(judge, main=commit(judge, oid)))


def test_a_message_tells_the_path_in_the_repository(judge: Judge) -> None:
    pack = judge.directory / "objects" / "pack" / ("pack-" + "0" * 40)
    pack.with_suffix(".pack").write_bytes(b"nonsense")
    pack.with_suffix(".idx").write_bytes(b"nonsense")
    assert any(str(judge.directory) in message for message in fsck(judge))


@pytest.mark.parametrize(
    "config",
    [
        "[core]\n\tworktree = {top}\n\thooksPath = {top}\n\tfsmonitor = {canary}\n\tpager = {canary}\n",
        "[include]\n\tpath = {top}/more\n",
        "[fsck]\n\tskipList = {top}/skip\n\thasDotgit = ignore\n",
        "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n",
        "[core]\n\trepositoryformatversion = 99\n",
        "[core\n",
        "[alias]\n\tfsck = !{canary}\n",
    ],
)
def test_143_configuration_of_the_repository_counts_nothing(judge: Judge, tmp_path: Path, config: str) -> None:
    """The verdict is the same, and nothing is run."""
    canary = script(tmp_path / "canary", f"touch {tmp_path}/ran")
    bad = commit(judge, judge.write("tree", tree((b"100644", b".git", judge.write("blob", b"x")))))
    before = fsck(judge, main=bad)
    (tmp_path / "more").write_text(f"[core]\n\tfsmonitor = {canary}\n[fsck]\n\thasDotgit = ignore\n")
    (tmp_path / "skip").write_text(bad + "\n")
    (judge.directory / "config").write_text(config.format(top=tmp_path, canary=canary))
    assert fsck(judge, main=bad) == before != []
    assert not (tmp_path / "ran").exists()


def test_139_alternates_grafts_and_replacements_count_nothing(judge: Judge, tmp_path: Path) -> None:
    other = Judge(tmp_path / "other.git")
    blob = other.write("blob", b"x")
    top = commit(judge, judge.write("tree", tree((b"100644", b"a", blob))), b"parent " + b"2" * 40)
    before = fsck(judge, main=top)
    (judge.directory / "objects" / "info" / "alternates").write_text(f"{other.directory}/objects\n")
    (judge.directory / "info").mkdir(exist_ok=True)
    (judge.directory / "info" / "grafts").write_text(f"{top}\n")
    (judge.directory / "shallow").write_text(f"{top}\n")
    assert fsck(judge, main=top) == before
    assert any(blob.decode() in message for message in before) and any("2" * 40 in message for message in before)


def test_nothing_is_written(judge: Judge) -> None:
    top = commit(judge, b"3" * 40)
    before = sorted((path, path.stat().st_mtime_ns) for path in judge.directory.rglob("*"))
    assert fsck(judge, main=top)
    assert sorted((path, path.stat().st_mtime_ns) for path in judge.directory.rglob("*")) == before


# -- configuration --


def test_configuration_is_read_without_what_it_includes(judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("[core]\n\tpager = x\n")
    config = f'[include]\n\tpath = {tmp_path}/more\n[remote "a\\nb"]\n\turl = "x\\ny=z"\n[core]\n\tbare\n'
    (judge.directory / "config").write_text(config.replace("a\\nb", "a.b"))
    keys = gitcmd.configuration(os.fsencode(judge.directory))
    assert keys == [("include.path", f"{tmp_path}/more"), ("remote.a.b.url", "x\ny=z"), ("core.bare", "")]


def test_a_configuration_that_git_cannot_read(judge: Judge) -> None:
    (judge.directory / "config").write_text("[core\n")
    with pytest.raises(RecordError, match="cannot read"):
        gitcmd.configuration(os.fsencode(judge.directory))


@pytest.mark.parametrize(
    "key",
    [
        "core.worktree",
        "core.hookspath",
        "core.sshcommand",
        "core.pager",
        "core.alternaterefscommand",
        "include.path",
        "includeif.gitdir:/.path",
        "filter.lfs.clean",
        "diff.x.textconv",
        "credential.helper",
        "remote.origin.uploadpack",
        "remote.origin.vcs",
        "extensions.worktreeconfig",
        "alias.log",
        "gpg.program",
        "uploadpack.packobjectshook",
        "url.ext::x.insteadof",
        "lfs.customtransfer.x.path",
        "lfs.https://x/.standalonetransferagent",
        "lfs.extension.x.clean",
        "lfs.storage",
        "protocol.ext.allow",
    ],
)
def test_keys_that_start_programs_or_lead_elsewhere(key: str) -> None:
    assert not gitcmd.HARMLESS.fullmatch(key)


@pytest.mark.parametrize(
    "key", ["core.bare", "gc.auto", "gitrun.remote", "remote.origin.url", "lfs.repositoryformatversion", "lfs.url"]
)
def test_keys_that_do_no_harm(key: str) -> None:
    assert gitcmd.HARMLESS.fullmatch(key)
