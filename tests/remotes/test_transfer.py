"""push, fetch, pull, clone and remote over every kind of remote, with stock git and git-lfs as the judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

import gitrun
from tests.layouts.runs import GUILD_ID, make_guild
from tests.ops.runs import MODEL, overwrite, repository_of
from tests.remotes.conftest import change, listed, tree
from tests.support.lfs_server import Server
from tests.support.mounts import mounted, needs_root
from tests.support.program import git
from tests.support.program import gitrun as program
from tests.support.tools import CHECKOUT, tool
from tests.support.trial import assert_stock_tools_agree
from tests.support.users import give

Remote = Callable[[], str]
KINDS = ("path", "file", "http", "s3", "ssh")


@pytest.fixture(params=KINDS)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A remote without anything in it."""
    name = tmp_path.name
    if request.param == "path":
        return str(tmp_path / "remote.git")
    if request.param == "file":
        return f"file://{tmp_path}/re%20mote.git"
    if request.param == "ssh":
        return request.getfixturevalue("ssh_remote")  # type: ignore[no-any-return]
    server: Server = request.getfixturevalue("http_server" if request.param == "http" else "s3_server")
    return server.address(name)


@pytest.fixture
def ssh_remote(ssh_with_lfs: tuple[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    command, _ = ssh_with_lfs
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    return f"ssh://there/{tmp_path.name}.git"


class TestEveryKind:
    def test_pushed_and_cloned(self, here: Path, there: Path, run_id: str, remote: str) -> None:
        run = here / "train"
        told = gitrun.push(run, remote)
        assert (told.locked, told.already, told.sent_objects, told.name) == (True, False, 1, run_id)
        assert told.sent_bytes == len(MODEL)
        (one,) = listed(remote)
        assert (one["name"], one["state"], one["commit"]) == (run_id, "complete", told.commit)
        assert (one["files"], one["bytes"]) == (gitrun.status(run).files, gitrun.status(run).bytes)

        cloned = gitrun.clone(remote, run_id, there / "copy")
        assert (cloned.run, cloned.state, cloned.commit) == (run_id, "locked", told.commit)
        assert gitrun.verify(there / "copy", strict=True)
        assert tree(there / "copy") == tree(run)
        assert_stock_tools_agree(there / "copy")
        assert not list(there.glob(".tmp*")) and not list((there / ".gitrun").glob(".tmp*"))

    def test_again_nothing_is_sent(self, here: Path, remote: str) -> None:
        gitrun.push(here / "train", remote)
        told = gitrun.push(here / "train", remote)
        assert told.already and told.sent_bytes == 0

    def test_a_second_lock_sends_only_what_is_new(self, here: Path, there: Path, run_id: str, remote: str) -> None:
        run = here / "train"
        gitrun.push(run, remote)
        gitrun.clone(remote, run_id, there / "copy")
        newest = change(run)
        told = gitrun.push(run, remote)
        assert told.sent_bytes == 0 and told.commit == newest
        fetched = gitrun.fetch(there / "copy", remote)
        assert (fetched.commit, fetched.new) == (newest, 1)
        assert gitrun.verify(there / "copy").commit != newest
        pulled = gitrun.pull(there / "copy", remote)
        assert pulled.commit == newest and not pulled.already
        assert tree(there / "copy") == tree(run) and len(gitrun.log(there / "copy").locks) == 2
        assert gitrun.pull(there / "copy", remote).already
        assert gitrun.fsck(there / "copy")

    def test_read_back(self, here: Path, remote: str) -> None:
        told = gitrun.push(here / "train", remote, verify=True)
        assert told.verified_objects == 1
        (receipt,) = (repository_of(here / "train") / "gitrun" / "receipts").iterdir()
        assert told.commit in receipt.read_text() and "@" not in receipt.read_text()

    def test_the_beginning_of_an_id_and_an_unknown_one(self, here: Path, there: Path, run_id: str, remote: str) -> None:
        gitrun.push(here / "train", remote)
        assert gitrun.clone(remote, run_id[:8], there / "copy").run == run_id
        told = program("clone", "--json", remote, "nobody", there / "none").object
        assert told["exit"] == 3 and not (there / "none").exists()

    def test_from_there_by_stock_git(self, here: Path, run_id: str, remote: str, tmp_path: Path) -> None:
        gitrun.push(here / "train", remote)
        command = ["git", "clone", "-q", "-b", f"runs/{run_id}", remote, tmp_path / "stock"]
        subprocess.run(command, check=True, env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"})
        for words in (["install", "--local"], ["pull"]):
            subprocess.run(["git", "lfs", *words], cwd=tmp_path / "stock", check=True, capture_output=True)
        assert (tmp_path / "stock" / "model.bin").read_bytes() == MODEL


class TestHistories:
    @pytest.fixture
    def remote(self, tmp_path: Path) -> str:
        return str(tmp_path / "remote.git")

    def test_two_machines_with_one_id_keep_both(self, here: Path, there: Path, run_id: str, remote: str) -> None:
        gitrun.push(here / "train", remote)
        gitrun.clone(remote, run_id, there / "copy")
        one, other = change(here / "train", "one\n"), change(there / "copy", "other\n")
        gitrun.push(here / "train", remote)
        told = gitrun.push(there / "copy", remote)
        assert told.name == f"{run_id}+{other[:8]}" and "another history" in told.notes[0]
        found = {str(it["name"]): it["commit"] for it in listed(remote)}
        assert found == {run_id: one, told.name: other}
        (there / "more").mkdir()
        assert gitrun.clone(remote, told.name, there / "more" / "second").commit == other

    def test_force_puts_one_in_the_place_of_the_other(self, here: Path, there: Path, run_id: str, remote: str) -> None:
        gitrun.push(here / "train", remote)
        gitrun.clone(remote, run_id, there / "copy")
        change(here / "train", "one\n")
        other = change(there / "copy", "other\n")
        gitrun.push(here / "train", remote)
        assert gitrun.push(there / "copy", remote, force=True).name == run_id
        assert [it["commit"] for it in listed(remote)] == [other]

    def test_an_unlocked_run_sends_its_history_and_says_so(
        self, here: Path, there: Path, run_id: str, remote: str
    ) -> None:
        gitrun.unlock(here / "train")
        told = gitrun.push(here / "train", remote)
        assert not told.locked and "no tag" in told.notes[0]
        assert [it["state"] for it in listed(remote)] == ["history"]
        assert program("clone", "--json", remote, run_id, there / "copy").object["exit"] == 3

    def test_never_locked(self, tmp_path: Path, remote: str) -> None:
        (tmp_path / "bare").mkdir()
        assert program("push", "--json", tmp_path / "bare", remote).object["exit"] == 3

    def test_what_was_never_stored_is_named(self, tmp_path: Path, remote: str) -> None:
        run = tmp_path / "run"
        run.mkdir()
        (run / "large").write_bytes(MODEL)
        gitrun.lock(run, link="none")
        assert "never stored" in gitrun.push(run, remote).notes[0]

    def test_a_repository_for_each_run(self, here: Path, there: Path, run_id: str, tmp_path: Path) -> None:
        remote = f"{tmp_path}/remotes-{{run}}.git"
        gitrun.push(here / "train", remote)
        one = tmp_path / f"remotes-{run_id}.git"
        assert (
            git(one, "rev-parse", "main", "locked^{commit}").splitlines() == [gitrun.status(here / "train").commit] * 2
        )
        assert gitrun.clone(remote, run_id, there / "copy").run == run_id

    def test_the_default_remote(self, here: Path, there: Path, run_id: str, remote: str) -> None:
        assert program("push", here / "train").code == 2
        subprocess.run(["git", "config", "--global", "gitrun.remote", remote], check=True)
        assert program("push", here / "train").code == 0
        assert program("remote").out.count(run_id) == 1
        assert program("fetch", here / "train").out.count("refs/remotes/origin/main") == 1

    def test_many_in_one_go(self, tmp_path: Path, remote: str) -> None:
        for number in range(5):
            run = tmp_path / "runs" / f"r{number}"
            run.mkdir(parents=True)
            (run / "file").write_text(str(number))
            gitrun.lock(run)
        told = program("push", "--all", tmp_path / "runs", remote)
        assert told.code == 0 and told.out.count("pushed") == 5
        assert len(listed(remote)) == 5

    @pytest.mark.parametrize("state", ["changed", "unlocked"])
    def test_pull_onto_somebodys_work_is_refused(
        self, here: Path, there: Path, run_id: str, remote: str, state: str
    ) -> None:
        gitrun.push(here / "train", remote)
        gitrun.clone(remote, run_id, there / "copy")
        newest = change(here / "train")
        gitrun.push(here / "train", remote)
        copy = there / "copy"
        if state == "unlocked":
            gitrun.unlock(copy)
        (copy / "config.yaml").chmod(0o644)
        (copy / "config.yaml").write_text("mine\n")
        assert program("pull", "--json", copy, remote).object["exit"] == 5
        assert (copy / "config.yaml").read_text() == "mine\n"
        assert gitrun.pull(copy, remote, force=True).commit == newest
        assert gitrun.verify(copy) and (copy / "config.yaml").read_text() == "lr: 0.7\n"

    def test_a_changed_run_is_not_called_up_to_date(self, here: Path, tmp_path: Path) -> None:
        run = here / "train"
        gitrun.push(run, tmp_path / "remote.git")
        overwrite(run / "config.yaml", b"changed\n")
        told = program("pull", "--json", run, tmp_path / "remote.git").object
        assert (told["exit"], told["error"]["code"]) == (5, "RunChanged")
        assert (run / "config.yaml").read_bytes() == b"changed\n"
        told = program("pull", "--json", "--force", run, tmp_path / "remote.git").object
        assert (told["exit"], told["already"]) == (0, False) and gitrun.verify(run, strict=True)

    def test_a_run_that_is_here_already(self, here: Path, run_id: str, remote: str) -> None:
        gitrun.push(here / "train", remote)
        told = program("clone", "--json", remote, run_id, here / "twin").object
        assert told["exit"] == 5 and "gitrun pull" in told["error"]["hint"]

    def test_large_files_are_one_file_with_the_stores_pool(
        self, here: Path, there: Path, run_id: str, remote: str
    ) -> None:
        gitrun.push(here / "train", remote)
        gitrun.clone(remote, run_id, there / "copy")
        (pooled,) = [path for path in (there / ".gitrun" / "lfs").rglob("*") if path.is_file()]
        assert pooled.stat().st_nlink == 2
        (other := there / "other").mkdir()
        (other / "model").write_bytes(MODEL)
        gitrun.lock(other)
        assert pooled.stat().st_nlink == 3


class TestHalfWay:
    @pytest.fixture
    def remote(self, tmp_path: Path) -> str:
        return str(tmp_path / "remote.git")

    def test_a_lock_whose_large_file_is_missing_shows_as_incomplete(
        self, here: Path, there: Path, run_id: str, remote: str
    ) -> None:
        gitrun.push(here / "train", remote)
        (large,) = [path for path in (Path(remote) / "lfs" / "objects").rglob("*") if path.is_file()]
        large.unlink()
        assert [it["state"] for it in listed(remote)] == ["incomplete"]
        told = program("clone", "--json", remote, run_id, there / "copy").object
        assert told["exit"] == 6 and not list(there.iterdir())

    def test_killed_before_the_refs_and_done_again(self, here: Path, run_id: str, remote: str) -> None:
        script = (
            "import os, gitrun.remotes.directory as it, gitrun\n"
            "it.Directory._move_ref = lambda *_: os.kill(os.getpid(), 9)\n"
            f"gitrun.push({str(here / 'train')!r}, {remote!r})\n"
        )
        subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(gitrun.__file__).parents[1])
        assert listed(remote) == []
        told = gitrun.push(here / "train", remote)
        assert told.sent_bytes == 0 and [it["state"] for it in listed(remote)] == ["complete"]

    def test_a_flipped_bit_on_the_remote_is_found_and_never_comes_here(
        self, here: Path, there: Path, run_id: str, remote: str
    ) -> None:
        gitrun.push(here / "train", remote)
        (large,) = [path for path in (Path(remote) / "lfs" / "objects").rglob("*") if path.is_file()]
        large.chmod(0o644)
        large.write_bytes(b"?" + MODEL[1:])
        assert program("push", "--verify", here / "train", remote).code == 6
        assert program("clone", remote, run_id, there / "copy").code == 6
        assert not list(there.iterdir())

    def test_a_damaged_local_object_is_not_sent_to_a_server(
        self, here: Path, http_server: Server, tmp_path: Path
    ) -> None:
        (mine,) = [path for path in (repository_of(here / "train") / "lfs").rglob("*") if path.is_file()]
        mine.chmod(0o644)
        mine.write_bytes(b"?" + MODEL[1:])
        told = program("push", "--json", here / "train", http_server.address(tmp_path.name)).object
        assert told["exit"] == 6 and "damaged" in told["error"]["message"]
        assert not http_server.large(tmp_path.name)

    def test_a_damaged_local_object_is_not_sent(self, here: Path, remote: str) -> None:
        (mine,) = [path for path in (repository_of(here / "train") / "lfs").rglob("*") if path.is_file()]
        mine.chmod(0o644)
        mine.write_bytes(b"?" + MODEL[1:])
        assert program("push", "--json", here / "train", remote).object["exit"] == 6
        assert listed(remote) == []

    def test_the_remote_shares_no_inode_with_anything(self, here: Path, remote: str) -> None:
        gitrun.push(here / "train", remote)
        assert all(path.stat().st_nlink == 1 for path in Path(remote).rglob("*") if path.is_file())


class TestManyRuns:
    @pytest.mark.parametrize("kind", ["path", "http"])
    def test_all_in_one_go_by_one_push(
        self, tmp_path: Path, kind: str, http_server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remote = str(tmp_path / "remote.git") if kind == "path" else http_server.address(tmp_path.name)
        ids = set()
        for number in range(40):
            run = tmp_path / "runs" / f"r{number}"
            run.mkdir(parents=True)
            (run / "file").write_text(str(number))
            if number % 10 == 0:
                (run / "large").write_bytes(MODEL + bytes([number]))
            ids.add(gitrun.lock(run).run)
        trace = tmp_path / "trace"
        env = {**os.environ, "GIT_TRACE": str(trace)}
        told = program("push", "--all", tmp_path / "runs", remote, env=env)
        assert told.code == 0 and told.out.count("pushed ") == 40, told.err
        if kind == "http":
            assert trace.read_text().count("built-in: git push") == 1
        assert {it["name"] for it in listed(remote)} == ids
        assert {it["state"] for it in listed(remote)} == {"complete"}
        again = program("push", "--all", tmp_path / "runs", remote)
        assert again.code == 0 and again.out.count("already there ") == 40
        some = sorted(ids)[7]
        assert gitrun.clone(remote, some, tmp_path / "copy").run == some

    def test_several_by_name_and_all_the_way_back(self, tmp_path: Path) -> None:
        runs = [tmp_path / "runs" / name for name in ("one", "two", "three")]
        for run in runs:
            run.mkdir(parents=True)
            (run / "config.yaml").write_text(run.name)
            gitrun.lock(run)
        remote = tmp_path / "remote.git"
        told = program("push", *runs, remote)
        assert told.code == 0 and told.out.count("pushed ") == 3
        there = tmp_path / "there"
        there.mkdir()
        for run in runs:
            gitrun.clone(remote, gitrun.status(run).run, there / run.name)
            change(run)
        assert program("push", "--all", tmp_path / "runs", remote).code == 0
        assert program("fetch", "--all", there, remote).out.count("1 new lock") == 3
        assert program("pull", "--all", there, remote).out.count("pulled ") == 3
        assert {(there / run.name / "config.yaml").read_text() for run in runs} == {"lr: 0.7\n"}

    @pytest.mark.parametrize("kind", ["path", "http"])
    @pytest.mark.parametrize("how", ["missing", "damaged"])
    def test_one_that_fails_does_not_keep_the_others(
        self, tmp_path: Path, kind: str, how: str, http_server: Server
    ) -> None:
        remote = str(tmp_path / "remote.git") if kind == "path" else http_server.address(tmp_path.name)
        for name in ("good", "bad", "large too"):
            run = tmp_path / "runs" / name
            run.mkdir(parents=True)
            (run / "large").write_bytes(MODEL + name.encode())
            gitrun.lock(run)
        (mine,) = [path for path in (repository_of(tmp_path / "runs" / "bad") / "lfs").rglob("*") if path.is_file()]
        mine.chmod(0o644)
        if how == "missing":
            mine.unlink()
        else:
            mine.write_bytes(b"?" + mine.read_bytes()[1:])
        told = program("push", "--json", "--all", tmp_path / "runs", remote)
        bad, good, spaced = told.objects
        assert told.code == bad["exit"] == 6 and how in bad["error"]["message"]
        assert good["sent_bytes"] == len(MODEL) + 4 and spaced["sent_bytes"] == len(MODEL) + 9
        assert {it["name"] for it in listed(remote)} == {good["run"], spaced["run"]}
        if kind == "http":
            assert http_server.large(tmp_path.name) == {
                sha256(MODEL + name).hexdigest() for name in (b"good", b"large too")
            }

    @pytest.mark.parametrize("kind", ["path", "http"])
    def test_all_that_are_locked_are_cloned_over_one_connection(
        self, tmp_path: Path, kind: str, http_server: Server
    ) -> None:
        remote = str(tmp_path / "remote.git") if kind == "path" else http_server.address(tmp_path.name)
        runs = [tmp_path / "runs" / name for name in ("one", "two", "three", "open")]
        for run in runs:
            run.mkdir(parents=True)
            (run / "large").write_bytes(MODEL + run.name.encode())
            gitrun.lock(run)
        gitrun.unlock(runs[3])
        assert program("push", "--all", tmp_path / "runs", remote).code == 0
        there, trace = tmp_path / "there", tmp_path / "trace"
        there.mkdir()
        env = {**os.environ, "GIT_TRACE": str(trace)}
        told = program("clone", "--json", "--all", "--into", there, remote, env=env)
        assert told.code == 0, told.err
        assert {it["path"] for it in told.objects} == {str(there / name) for name in ("one", "two", "three")}
        assert trace.read_text().count("built-in: git ls-remote") == (kind == "http")
        for name in ("one", "two", "three"):
            assert gitrun.verify(there / name, strict=True) and tree(there / name) == tree(tmp_path / "runs" / name)
        assert sorted(os.listdir(there)) == [".gitrun", "one", "three", "two"]
        again = program("clone", "--json", "--all", "--into", there, remote)
        assert again.code == 0 and [it["already"] for it in again.objects] == [True] * 3

    def test_some_of_which_one_is_not_there(self, tmp_path: Path) -> None:
        remote, there = tmp_path / "remote.git", tmp_path / "there"
        for parent in ("a", "b"):  # two machines, and the same name
            run = tmp_path / parent / "train"
            run.mkdir(parents=True)
            (run / "file").write_text(parent)
            gitrun.push(gitrun.lock(run).path, remote)
        first, second = (gitrun.status(tmp_path / parent / "train").run for parent in ("a", "b"))
        there.mkdir()
        told = program("clone", "--into", there, remote, first, second, "nobody")
        assert told.code == 3 and told.out.count("cloned ") == 2 and "no run nobody" in told.err
        assert {(there / name / "file").read_text() for name in (first, second)} == {"a", "b"}

    @pytest.mark.parametrize("words", [["--all"], [GUILD_ID]], ids=["all", "one"])
    def test_into_a_new_guild_home_on_another_disk(self, tmp_path: Path, words: list[str]) -> None:
        run = make_guild(tmp_path / "runs")
        (run / "model").write_bytes(MODEL)
        gitrun.lock(run)
        gitrun.push(run, tmp_path / "remote.git")
        home = tmp_path / "home"
        home.mkdir()
        with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
            assert os.stat(elsewhere).st_dev != os.stat(home).st_dev
            env = {**os.environ, "GUILD_HOME": str(home)}
            told = program("clone", "--json", tmp_path / "remote.git", *words, env=env, cwd=elsewhere)
            assert told.code == 0 and not os.listdir(elsewhere), told.out
        assert told.object["path"] == str(home / "runs" / GUILD_ID)
        assert gitrun.verify(home / "runs" / GUILD_ID, strict=True) and gitrun.fsck(home / "runs" / GUILD_ID)

    def test_a_name_that_a_run_has_here_already(self, tmp_path: Path) -> None:
        remote, there = tmp_path / "remote.git", tmp_path / "there"
        there.mkdir()
        for parent, name in (("a", "train"), ("b", f"train-{'?'}")):
            run = tmp_path / parent / "train"
            run.mkdir(parents=True)
            (run / "file").write_text(parent)
            made = gitrun.push(gitrun.lock(run).path, remote)
            told = program("clone", "--json", "--all", "--into", there, remote)
            assert told.code == 0, told.out
            where = {it["run"]: Path(it["path"]) for it in told.objects}
            assert where[made.run].name == name.replace("?", made.run.rpartition("-")[2])
            assert (where[made.run] / "file").read_text() == parent
        assert len(where) == 2

    def test_another_history_of_a_run_that_is_here_is_refused(
        self, here: Path, there: Path, run_id: str, tmp_path: Path
    ) -> None:
        remote = tmp_path / "remote.git"
        gitrun.push(here / "train", remote)
        gitrun.clone(remote, run_id, there / "train")
        change(there / "train", "theirs\n")
        gitrun.push(there / "train", remote)
        change(here / "train", "mine\n")
        other = gitrun.push(here / "train", remote).name
        assert "+" in other
        told = program("clone", "--json", "--into", there, remote, run_id, other)
        assert told.code == 5
        assert sorted(it["exit"] for it in told.objects) == [0, 5]

    def test_a_reader_that_goes_away(self, tmp_path: Path) -> None:
        for number in range(3):
            run = tmp_path / "runs" / f"r{number}"
            run.mkdir(parents=True)
            (run / "file").write_text(str(number))
            gitrun.push(gitrun.lock(run).path, tmp_path / "remote.git")
        there = tmp_path / "there"
        there.mkdir()
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "gitrun", "clone", "--all", "--into", there, tmp_path / "remote.git"]
        told = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=CHECKOUT)
        os.close(writing)
        assert "cannot clone" not in told.stderr and "Traceback" not in told.stderr
        assert not [name for name in os.listdir(there) if name.startswith(".tmp-gitrun-clones")]

    def test_words_that_do_not_go_together(self, tmp_path: Path) -> None:
        for words in (
            ["remote.git"],
            ["remote.git", "a", "b", "c"],
            ["--all", "remote.git", "a"],
            ["--all", "--upstream"],
        ):
            assert program("clone", *words, cwd=tmp_path).code == 2
        assert program("clone", "--all", tmp_path / "remote.git").code == 3


class TestUpstream:
    def test_upstream_runs_travel_too(self, tmp_path: Path) -> None:
        home = tmp_path / "home" / "runs"
        runs = [home / (digit * 32) for digit in "abc"]
        for run in runs:
            (run / ".guild").mkdir(parents=True)
            (run / ".guild" / "opref").write_text("guildfile:/x h '' train\n")
            (run / "model").write_text(run.name)
        (runs[1] / "up").symlink_to(f"../{runs[0].name}/model")
        (runs[2] / "up").symlink_to(f"../{runs[1].name}/model")
        gitrun.lock(runs[2], upstream=True)
        told = gitrun.push(runs[2], tmp_path / "remote.git", upstream=True)
        assert [note for note in told.notes if "pushed" in note] and len(told.notes) == 2
        assert {it["name"] for it in listed(tmp_path / "remote.git")} == {run.name for run in runs}
        there = tmp_path / "there" / "runs"
        there.mkdir(parents=True)
        cloned = gitrun.clone(tmp_path / "remote.git", runs[2].name, there / runs[2].name, upstream=True)
        assert len(cloned.notes) == 2
        assert gitrun.verify(there / runs[2].name, upstream=True)
        assert (there / runs[2].name / "up").read_text() == runs[1].name

    def test_a_place_that_is_not_beside_the_run_is_left_out(self, tmp_path: Path) -> None:
        one, other = tmp_path / "x" / "one", tmp_path / "y" / "other"
        for run in (one, other):
            run.mkdir(parents=True)
            (run / "file").write_text(run.name)
        gitrun.lock(one)
        (other / "link").symlink_to(one / "file")
        told = gitrun.lock(other)
        gitrun.push(other, tmp_path / "remote.git", upstream=True)
        (tmp_path / "z").mkdir()
        cloned = gitrun.clone(tmp_path / "remote.git", told.run, tmp_path / "z" / "other", upstream=True)
        assert "left out" in cloned.notes[0] and [
            path.name for path in (tmp_path / "z").iterdir() if path.name[0] != "."
        ] == ["other"]


class TestFsck:
    @pytest.fixture
    def remote(self, here: Path, tmp_path: Path) -> Path:
        gitrun.push(here / "train", tmp_path / "remote.git")
        return tmp_path / "remote.git"

    def large(self, top: Path) -> Path:
        (found,) = [path for path in (top / "lfs" / "objects").rglob("*") if path.is_file()]
        return found

    def damage(self, path: Path) -> None:
        path.chmod(0o644)
        path.write_bytes(b"?" + MODEL[1:])

    def test_both_are_whole(self, here: Path, remote: Path) -> None:
        told = gitrun.fsck(here / "train", remote=remote)
        assert told.ok and not told.findings
        assert not list((here / ".gitrun").glob(".tmp*"))

    @pytest.mark.parametrize("how", ["damaged", "missing"])
    def test_the_remote_is_mended_from_here(self, here: Path, remote: Path, how: str) -> None:
        self.damage(self.large(remote)) if how == "damaged" else self.large(remote).unlink()
        told = program("fsck", "--json", "--remote", remote, here / "train").object
        assert told["exit"] == 6 and "on the remote" in told["findings"][0]["message"]
        assert gitrun.fsck(here / "train", repair=True, remote=remote).exit == 0
        assert self.large(remote).read_bytes() == MODEL
        assert gitrun.fsck(here / "train", remote=remote).findings == ()

    @pytest.mark.parametrize("how", ["damaged", "missing"])
    def test_the_stored_copy_is_mended_from_there(self, here: Path, remote: Path, how: str) -> None:
        """Where neither the run nor the pool has the bytes any more."""
        run = here / "train"
        gitrun.unlock(run)
        (run / "model.bin").write_bytes(b"written over")
        mine = self.large(repository_of(run))
        if how == "damaged":
            self.damage(mine)  # and with it the pool's, which is the same file
        else:
            mine.unlink()
            self.large(here / ".gitrun").unlink()
        assert gitrun.fsck(run, repair=True).exit == 6
        assert gitrun.fsck(run, repair=True, remote=remote).exit == 0
        assert gitrun.fsck(run).ok and self.large(repository_of(run)).read_bytes() == MODEL

    def test_git_objects_come_back_too(self, here: Path, remote: Path) -> None:
        run = here / "train"
        gitrun.unlock(run)
        (run / "config.yaml").write_bytes(b"written over")
        for pack in (repository_of(run) / "objects" / "pack").iterdir():
            pack.chmod(0o644)
            pack.unlink()
        assert gitrun.fsck(run, repair=True).exit == 6
        assert gitrun.fsck(run, repair=True, remote=remote).exit == 0
        assert gitrun.fsck(run).ok

    def test_a_server(self, here: Path, http_server: Server, tmp_path: Path) -> None:
        address = http_server.address(tmp_path.name + "-fsck")
        gitrun.push(here / "train", address)
        assert gitrun.fsck(here / "train", remote=address).ok
        (stored,) = [
            path for path in (http_server.root / "lfs" / "lfs" / f"{tmp_path.name}-fsck").rglob("*") if path.is_file()
        ]
        stored.unlink()
        assert gitrun.fsck(here / "train", remote=address).exit == 6
        assert gitrun.fsck(here / "train", repair=True, remote=address).exit == 0
        assert gitrun.fsck(here / "train", remote=address).ok

    def test_a_remote_that_does_not_know_the_run(self, here: Path, tmp_path: Path) -> None:
        subprocess.run(["git", "init", "-q", "--bare", tmp_path / "empty.git"], check=True)
        assert program("fsck", "--remote", tmp_path / "empty.git", here / "train").code == 3


class TestFailures:
    """Exit code 7, one line, a hint, and nothing half-done that a second push does not finish."""

    def test_a_full_disk_there(self, here: Path, run_id: str, tmp_path: Path) -> None:
        run = here / "train"
        gitrun.unlock(run)
        (run / "huge").write_bytes(os.urandom(40 << 20))
        gitrun.lock(run)
        with mounted("tmpfs", tmp_path) as disk:
            told = program("push", "--json", run, disk / "remote.git").object
            assert told["exit"] == 7 and told["error"]["hint"]
            assert listed(disk / "remote.git") == []
            gitrun.unlock(run)
            (run / "huge").unlink()
            gitrun.lock(run)

    def test_a_remote_that_is_read_only(self, shared_tmp: Path) -> None:
        needs_root()
        run = shared_tmp / "run"
        run.mkdir()
        (run / "file").write_text("x")
        give(run)
        (shared_tmp / "others").mkdir(mode=0o755)
        os.chown(shared_tmp / "others", os.geteuid(), os.getegid())
        (shared_tmp / "others").chmod(0o555)
        assert program("lock", run, user=True).code == 0
        told = program("push", "--json", run, shared_tmp / "others" / "remote.git", user=True).object
        assert told["exit"] == 7 and not list((shared_tmp / "others").iterdir())

    def test_a_git_that_is_too_old(self, here: Path, http_server: Server, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "git").write_text("#!/bin/sh\necho git version 2.20.1\n")
        (tmp_path / "bin" / "git").chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        told = program("push", "--json", here / "train", http_server.address("old"), env=env).object
        assert told["exit"] == 7 and "2.20 is too old" in told["error"]["message"]


class TestScripts:
    """The servers as a person starts them."""

    def test_serve_ssh(self, here: Path, there: Path, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        command = [tool("servers/bin/python"), CHECKOUT / "scripts" / "serve_ssh.py"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin is not None and server.stdout is not None
            told = json.loads(server.stdout.readline())
            monkeypatch.setenv("GIT_SSH_COMMAND", told["command"])
            assert gitrun.push(here / "train", f"{told['url']}/runs.git", verify=True).verified_objects == 1
            assert gitrun.clone(f"{told['url']}/runs.git", run_id, there / "copy").state == "locked"
            server.stdin.close()
            assert server.wait(30) == 0
        assert not Path(told["root"]).exists()
