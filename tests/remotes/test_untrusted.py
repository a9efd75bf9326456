"""Bad input, section H: what comes from a remote is nobody's word."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import gitrun
from gitrun.remotes import network
from tests.ops.runs import MODEL
from tests.remotes.conftest import change, listed
from tests.support.faulty_lfs import Faulty, serving
from tests.support.lfs_server import Server
from tests.support.picture import Picture, picture
from tests.support.program import gitrun as program

IDENTITY = {"GIT_AUTHOR_NAME": "E", "GIT_AUTHOR_EMAIL": "e@e", "GIT_COMMITTER_NAME": "E", "GIT_COMMITTER_EMAIL": "e@e"}


@pytest.fixture
def remote(here: Path, tmp_path: Path) -> Path:
    """A remote with the run, which somebody else can write to."""
    gitrun.push(here / "train", tmp_path / "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture(autouse=True)
def nothing_else(tmp_path: Path, there: Path) -> Iterator[None]:
    """Whatever is cloned, nothing outside of its target is written."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("untouched")
    before: Picture = picture(tmp_path / "victim")
    yield
    assert picture(tmp_path / "victim") == before
    assert not os.path.lexists("/tmp/gitrun-pwned")


def plumbing(remote: Path, *words: str | Path, data: bytes = b"") -> str:
    done = subprocess.run(
        ["git", f"--git-dir={remote}", *words], input=data, capture_output=True, env={**os.environ, **IDENTITY}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def raw_tree(*entries: tuple[bytes, bytes, str]) -> bytes:
    return b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)


def forge(
    remote: Path, run_id: str, add: Callable[[list[tuple[bytes, bytes, str]]], None], *, digest: str = ""
) -> None:
    """Puts a commit with another tree, and a tag that names it, in the place of the run's lock."""
    branch, tag = f"refs/heads/runs/{run_id}", f"refs/tags/runs/{run_id}/locked"
    listed_ = plumbing(remote, "ls-tree", "-z", branch).encode().split(b"\0")
    entries = []
    for line in filter(None, listed_):
        head, name = line.split(b"\t", 1)
        mode, _, oid = head.split(b" ")
        entries.append((mode.lstrip(b"0"), name, oid.decode()))
    add(entries)
    tree = plumbing(remote, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", data=raw_tree(*entries))
    commit = plumbing(remote, "cat-file", "commit", branch)
    commit = re.sub(r"^tree \w+", f"tree {tree}", commit) + "\n"
    commit = re.sub(r"(?<=^Lock-File-Sha256: )\w+$", digest, commit, flags=re.MULTILINE) if digest else commit
    oid = plumbing(remote, "hash-object", "-t", "commit", "-w", "--stdin", data=commit.encode())
    told = plumbing(remote, "cat-file", "tag", tag)
    told = re.sub(r"^object \w+", f"object {oid}", told) + "\n"
    told = re.sub(r"(?<=^Lock-File-Sha256: )\w+$", digest, told, flags=re.MULTILINE) if digest else told
    tag_oid = plumbing(remote, "hash-object", "-t", "tag", "-w", "--stdin", data=told.encode())
    plumbing(remote, "update-ref", branch, oid)
    plumbing(remote, "update-ref", tag, tag_oid)


def refused(remote: Path | str, run_id: str, there: Path, codes: tuple[int, ...] = (6,)) -> dict[str, Any]:
    told = program("clone", "--json", remote, run_id, there / "copy")
    assert told.object["exit"] in codes, told
    assert "Traceback" not in told.err and not list(there.iterdir())
    return told.object


def blob(remote: Path, data: bytes) -> str:
    return plumbing(remote, "hash-object", "-w", "--stdin", data=data)


TREES: dict[str, Callable[[Path, list[tuple[bytes, bytes, str]]], None]] = {
    "h150-dot-dot": lambda r, e: e.append((b"100644", b"..", blob(r, b"x"))),
    "h150-dot": lambda r, e: e.append((b"100644", b".", blob(r, b"x"))),
    "h150-empty": lambda r, e: e.append((b"100644", b"", blob(r, b"x"))),
    "h150-slash": lambda r, e: e.append((b"100644", b"../../victim/file", blob(r, b"x"))),
    "h150-absolute": lambda r, e: e.append((b"100644", b"/tmp/gitrun-pwned", blob(r, b"x"))),
    "h150-dot-git": lambda r, e: e.append((b"40000", b".git", plumbing(r, "mktree"))),
    "h151-twice": lambda r, e: e.append(e[-1]),
    "h151-unsorted": lambda r, e: e.reverse(),
    "h151-symlink-and-directory": lambda r, e: e.extend(
        [(b"120000", b"zz", blob(r, b"..")), (b"40000", b"zz", plumbing(r, "mktree", data=b""))]
    ),
    "h153-gitlink": lambda r, e: e.append((b"160000", b"zz", "1" * 40)),
    "h153-device": lambda r, e: e.append((b"60660", b"zz", blob(r, b"x"))),
    "h153-setuid": lambda r, e: e.append((b"104755", b"zz", blob(r, b"x"))),
    "h153-open": lambda r, e: e.append((b"100777", b"zz", blob(r, b"x"))),
    "h154-symlink-out": lambda r, e: e.append((b"120000", b"zz", blob(r, b"../victim"))),
    "h156-gitmodules": lambda r, e: e.append((b"100644", b".gitmodules", blob(r, b"[submodule]\n"))),
    "h156-lfsconfig": lambda r, e: e.append((b"100644", b".lfsconfig", blob(r, b"[lfs]\n\turl = http://evil\n"))),
    "h158-extra": lambda r, e: e.append((b"100644", b"zz", blob(r, b"extra"))),
    "h158-missing": lambda r, e: e.remove(next(it for it in e if it[1] == b"config.yaml")),
    "h158-other-content": lambda r, e: e.__setitem__(
        [it[1] for it in e].index(b"config.yaml"), (b"100644", b"config.yaml", blob(r, b"other"))
    ),
    "h158-other-pointer": lambda r, e: e.__setitem__(
        [it[1] for it in e].index(b"model.bin"), (b"100644", b"model.bin", blob(r, b"x" * 2000))
    ),
    "h158-no-lock-file": lambda r, e: e.remove(next(it for it in e if it[1] == b".gitrun.lock")),
    "h158-other-lock-file": lambda r, e: e.__setitem__(
        [it[1] for it in e].index(b".gitrun.lock"), (b"100644", b".gitrun.lock", blob(r, b"# gitrun lock 1.0\n"))
    ),
}  # fmt: skip


class TestTrees:
    @pytest.mark.parametrize("name", TREES)
    def test_what_the_lock_file_does_not_list_is_refused(
        self, remote: Path, run_id: str, there: Path, name: str
    ) -> None:
        forge(remote, run_id, lambda entries: TREES[name](remote, entries))
        refused(remote, run_id, there)

    @pytest.mark.parametrize("name", ["h150-dot-dot", "h153-gitlink", "h158-extra", "h158-other-content"])
    def test_nor_does_it_come_by_pull(self, remote: Path, run_id: str, there: Path, name: str) -> None:
        gitrun.clone(remote, run_id, there / "copy")
        before = picture(there / "copy")
        forge(remote, run_id, lambda entries: TREES[name](remote, entries))
        assert program("pull", "--force", there / "copy", remote).code in (5, 6, 7)
        assert picture(there / "copy") == before

    def test_h157_a_tag_of_something_else(self, remote: Path, run_id: str, there: Path) -> None:
        plumbing(remote, "update-ref", f"refs/tags/runs/{run_id}/locked", blob(remote, b"x"))
        refused(remote, run_id, there)

    def test_h157_a_tag_of_a_tag(self, remote: Path, run_id: str, there: Path) -> None:
        tag = f"refs/tags/runs/{run_id}/locked"
        inner = plumbing(remote, "rev-parse", tag)
        data = f"object {inner}\ntype tag\ntag locked\ntagger E <e@e> 1 +0000\n\nx\n"
        plumbing(remote, "update-ref", tag, plumbing(remote, "mktag", data=data.encode()))
        refused(remote, run_id, there)

    def test_h157_terminal_escapes_never_reach_the_screen(self, remote: Path, run_id: str) -> None:
        branch = f"refs/heads/runs/{run_id}"
        commit = plumbing(remote, "cat-file", "commit", branch)
        commit = re.sub(r"^author .* <", "author \x1b[31mEve <", commit, flags=re.MULTILINE)
        oid = plumbing(remote, "hash-object", "-t", "commit", "-w", "--stdin", data=commit.encode())
        plumbing(remote, "update-ref", branch, oid)
        told = program("remote", remote)
        assert told.code == 0 and "\x1b" not in told.out and "Eve" in told.out

    def test_a_lock_of_another_run_under_this_name(self, remote: Path, run_id: str, there: Path) -> None:
        for kind in ("heads", "tags"):
            suffix = "/locked" if kind == "tags" else ""
            oid = plumbing(remote, "rev-parse", f"refs/{kind}/runs/{run_id}{suffix}")
            plumbing(remote, "update-ref", f"refs/{kind}/runs/other-00000000{suffix}", oid)
        told = refused(remote, "other-00000000", there)
        assert run_id in told["error"]["message"]

    @pytest.mark.parametrize("run_id_there", ["a/b-00000000", "-x-00000000", ".x-00000000"])
    def test_a_run_id_that_nobody_could_have(self, remote: Path, run_id: str, there: Path, run_id_there: str) -> None:
        """A consistent lock whose lock file claims it."""
        lock_file = plumbing(remote, "show", f"refs/heads/runs/{run_id}:.gitrun.lock") + "\n"
        forged = re.sub(r"# run-id: .*", f"# run-id: {run_id_there}", lock_file).encode()
        digest = hashlib.sha256(forged).hexdigest()

        def put(entries: list[tuple[bytes, bytes, str]]) -> None:
            at = [it[1] for it in entries].index(b".gitrun.lock")
            entries[at] = b"100644", b".gitrun.lock", blob(remote, forged)

        forge(remote, run_id, put, digest=digest)
        plumbing(remote, "pack-refs", "--all")
        told = refused(remote, run_id, there)
        assert "run id" in told["error"]["message"] or "its lock file says" in told["error"]["message"]

    def test_the_tag_names_an_older_lock(self, here: Path, remote: Path, run_id: str, there: Path) -> None:
        old = plumbing(remote, "rev-parse", f"refs/tags/runs/{run_id}/locked")
        change(here / "train")
        gitrun.push(here / "train", remote)
        plumbing(remote, "update-ref", f"refs/tags/runs/{run_id}/locked", old)
        assert [it["state"] for it in listed(remote)] == ["incomplete"]
        refused(remote, run_id, there)

    @pytest.mark.parametrize("mode", [0o4755, 0o2755])
    def test_setuid_bits_are_not_taken(self, tmp_path: Path, there: Path, mode: int) -> None:
        run = tmp_path / "here" / "privileged"
        run.mkdir(parents=True)
        (run / "su").write_text("#!/bin/sh\n")
        (run / "su").chmod(mode)
        told = gitrun.lock(run)
        gitrun.push(run, tmp_path / "own.git")
        refused(tmp_path / "own.git", told.run, there, (5,))

    def test_an_object_that_unfolds_beyond_memory(
        self, remote: Path, run_id: str, there: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forge(remote, run_id, lambda entries: entries.append((b"100644", b"zz", blob(remote, bytes(200_000)))))
        monkeypatch.setattr(network, "LARGEST_OBJECT", 100_000)
        with pytest.raises(gitrun.RecordError, match="200000 bytes"):
            gitrun.clone(remote, run_id, there / "copy")
        assert not list(there.iterdir())

    def test_hooks_and_configuration_of_the_remote_are_not_obeyed(
        self, here: Path, remote: Path, run_id: str, there: Path
    ) -> None:
        for hook in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction"):
            (remote / "hooks").mkdir(exist_ok=True)
            (remote / "hooks" / hook).write_text("#!/bin/sh\ntouch /tmp/gitrun-pwned\n")
            (remote / "hooks" / hook).chmod(0o755)
        for key in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand"):
            plumbing(remote, "config", key, "touch /tmp/gitrun-pwned #")
        change(here / "train")
        gitrun.push(here / "train", remote)
        assert gitrun.clone(remote, run_id, there / "copy").state == "locked"


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            "ext::sh -c touch% /tmp/gitrun-pwned",
            "--upload-pack=touch /tmp/gitrun-pwned",
            "-oProxyCommand=touch /tmp/gitrun-pwned",
            "ssh://-oProxyCommand=touch%20x/y",
            "ssh://-x@host/y",
            "file://host/share",
            "http://example.com/runs.git",
            "git://example.com/runs.git",
            "ftp://example.com/x",
            "https://",
            "https:///path",
            "https://host/a\nb",
            "fd::17",
            "",
        ],
    )
    def test_h168_wrong_usage(self, here: Path, there: Path, address: str) -> None:
        for words in (["push", here / "train", address], ["clone", address, "x", there / "copy"], ["remote", address]):
            told = program(*words)
            assert told.code == 2 and "Traceback" not in told.err, (words, told)
        assert not list(there.iterdir())

    def test_h163_the_runs_own_store(self, here: Path) -> None:
        assert program("push", here / "train", here / ".gitrun" / "more.git").code == 5

    def test_h163_a_work_tree(self, here: Path, tmp_path: Path) -> None:
        subprocess.run(["git", "init", "-q", tmp_path / "work"], check=True)
        assert program("push", here / "train", tmp_path / "work").code == 5

    def test_something_else_is_there(self, here: Path, tmp_path: Path) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").touch()
        assert program("push", here / "train", tmp_path / "full").code == 5
        assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]

    def test_no_such_place(self, here: Path, there: Path, tmp_path: Path) -> None:
        assert program("push", here / "train", tmp_path / "no" / "where.git").code == 7
        assert program("clone", tmp_path / "nowhere.git", "x", there / "copy").code in (3, 7)


@pytest.mark.usefixtures("there")
class TestSecrets:
    def test_h167_a_password_is_nowhere(
        self, here: Path, run_id: str, there: Path, http_server: Server, tmp_path: Path
    ) -> None:
        """Neither told, nor stored, nor on a command line: git's own trace has all of those that it starts."""
        address, trace = http_server.address(tmp_path.name), tmp_path / "trace"
        env = {
            **os.environ,
            "GIT_TRACE": str(trace),
            "GIT_TRACE_SETUP": str(trace),
            "GIT_TRACE_CURL": str(tmp_path / "c"),
        }
        said = []
        for words in (
            ["push", "-v", "--verify", here / "train", address],
            ["remote", "-v", address],
            ["clone", "-v", address, run_id, there / "copy"],
            ["fetch", "-v", there / "copy", address],
            ["clone", "-v", address.replace("writer:", "writer:x"), run_id, there / "none"],
        ):
            told = program(*words, env=env)
            said.append(told.out + told.err)
        assert http_server.password not in "".join(said)
        assert http_server.password not in trace.read_text()
        for top in (here, there):
            for path in top.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    assert http_server.password.encode() not in path.read_bytes(), path

    def test_the_users_own_credentials_work(
        self, here: Path, run_id: str, there: Path, http_server: Server, tmp_path: Path
    ) -> None:
        helper = f"!f() {{ echo username=writer; echo password={http_server.password}; }}; f"
        subprocess.run(["git", "config", "--global", "credential.helper", helper], check=True)
        assert program("push", here / "train", http_server.plain(tmp_path.name)).code == 0
        assert program("clone", http_server.plain(tmp_path.name), run_id, there / "copy").code == 0

    def test_h171_without_a_terminal_nobody_is_asked(self, here: Path, http_server: Server, tmp_path: Path) -> None:
        told = program("push", "--json", here / "train", http_server.plain(tmp_path.name)).object
        assert told["exit"] == 7 and "credential helper" in told["error"]["hint"]

    def test_who_may_only_read(self, here: Path, run_id: str, there: Path, http_server: Server, tmp_path: Path) -> None:
        reader = http_server.address(tmp_path.name, http_server.reader)
        told = program("push", "--json", here / "train", reader).object
        assert told["exit"] == 7 and "right to write" in told["error"]["hint"]
        assert program("push", here / "train", http_server.address(tmp_path.name)).code == 0
        assert program("clone", reader, run_id, there / "copy").code == 0

    def test_h170_no_network(self, here: Path, there: Path) -> None:
        for address in ("https://host.invalid/runs.git", "ssh://host.invalid/runs.git", "http://127.0.0.1:9/runs.git"):
            told = program("push", "--json", here / "train", address).object
            assert told["exit"] == 7, told
            assert program("clone", address, "x", there / "copy").code == 7
        assert gitrun.verify(here / "train")

    def test_no_git_lfs(self, here: Path, http_server: Server, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        for name in ("git", "env", "sh"):
            (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
        env = {**os.environ, "PATH": str(tmp_path / "bin")}
        told = program("push", "--json", here / "train", http_server.address(tmp_path.name), env=env).object
        assert told["exit"] == 7 and "apt install git-lfs" in told["error"]["hint"]


class TestLyingLfs:
    """H160 and H161: the git side is true, the LFS server is not."""

    @pytest.fixture
    def address(self, here: Path, http_server: Server, tmp_path: Path) -> str:
        gitrun.push(here / "train", http_server.address(tmp_path.name))
        return http_server.address(tmp_path.name)

    @pytest.fixture
    def stored(self, http_server: Server, tmp_path: Path, address: str) -> Path:
        (found,) = [path for path in (http_server.root / "lfs" / "lfs" / tmp_path.name).rglob("*") if path.is_file()]
        assert found.name == hashlib.sha256(MODEL).hexdigest()
        return found

    @pytest.mark.parametrize(
        "content",
        [b"", b"short", MODEL[:-1], MODEL + b"!", b"?" + MODEL[1:], b"<html>sign in</html>", MODEL * 8],
        ids=["empty", "short", "one-less", "one-more", "flipped", "html", "endless"],
    )
    def test_h161_what_is_not_the_object_never_comes_here(
        self, address: str, stored: Path, run_id: str, there: Path, content: bytes
    ) -> None:
        stored.chmod(0o644)
        stored.write_bytes(content)
        refused(address, run_id, there, (6, 7))

    def test_h160_an_object_that_is_gone(self, address: str, stored: Path, run_id: str, there: Path) -> None:
        stored.unlink()
        refused(address, run_id, there, (6, 7))

    def test_h162_a_server_that_says_it_has_what_it_has_not(self, here: Path, address: str, stored: Path) -> None:
        stored.chmod(0o644)
        stored.write_bytes(b"?" + MODEL[1:])
        assert gitrun.push(here / "train", address).already
        assert program("push", "--verify", here / "train", address).code in (6, 7)

    def test_h164_when_lfs_fails_no_ref_moves(
        self, here: Path, http_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subprocess.run(["git", "config", "--global", "lfs.url", "http://127.0.0.1:9/"], check=True)
        address = http_server.address(tmp_path.name + "-lfs")
        assert program("push", here / "train", address).code == 7
        assert listed(address) == []
        subprocess.run(["git", "config", "--global", "--unset", "lfs.url"], check=True)
        assert program("push", here / "train", address).code == 0


class TestFaultyLfs:
    """H160 and H161: answers that no honest server gives."""

    @pytest.fixture
    def address(self, here: Path, http_server: Server, tmp_path: Path) -> str:
        gitrun.push(here / "train", http_server.address(tmp_path.name))
        return http_server.address(tmp_path.name)

    @pytest.fixture
    def faulty(self, address: str) -> Iterator[Faulty]:
        """In the place of the true one, once the run was pushed."""
        with serving(MODEL) as server:
            settings = {
                "lfs.url": server.url,
                "lfs.activitytimeout": "2",
                "lfs.transfer.maxretrydelay": "1",
                "gitrun.stallTimeout": "6",
            }
            for key, value in settings.items():
                subprocess.run(["git", "config", "--global", key, value], check=True)
            yield server

    def test_an_honest_answer(self, address: str, faulty: Faulty, run_id: str, there: Path) -> None:
        assert gitrun.clone(address, run_id, there / "copy").state == "locked"
        assert [method for method, _, _ in faulty.seen] == ["POST", "GET"]

    @pytest.mark.parametrize("fault", ["batch-429", "download-429", "download-cut-once"])
    def test_h161_what_passes_is_waited_for(
        self, address: str, faulty: Faulty, run_id: str, there: Path, fault: str
    ) -> None:
        faulty.fault = fault
        assert gitrun.clone(address, run_id, there / "copy").state == "locked"

    @pytest.mark.parametrize(
        "fault",
        [
            "batch-html",
            "batch-500",
            "batch-401",
            "batch-nothing",
            "batch-missing",
            "batch-no-actions",
            "batch-other-oid",
            "batch-sha512",
            "href-file",
            "action-expired",
            "download-404",
            "download-cut",
            "download-stall",
            "download-endless",
            "download-flipped",
        ],
    )
    def test_h160_h161_nothing_comes_here(
        self, address: str, faulty: Faulty, run_id: str, there: Path, fault: str
    ) -> None:
        faulty.fault = fault
        refused(address, run_id, there, (6, 7))
        assert faulty.seen

    @pytest.mark.parametrize("fault", ["batch-extra", "batch-other-size"])
    def test_h160_what_was_not_asked_for_does_no_harm(
        self, address: str, faulty: Faulty, run_id: str, there: Path, fault: str
    ) -> None:
        faulty.fault = fault
        told = program("clone", "--json", address, run_id, there / "copy").object
        assert told["exit"] in (0, 6, 7)
        if told["exit"] == 0:
            assert gitrun.verify(there / "copy")
            stored = [
                path.name for path in (there / ".gitrun" / "copy.git" / "lfs" / "objects").rglob("*") if path.is_file()
            ]
            assert stored == [hashlib.sha256(MODEL).hexdigest()]

    @pytest.mark.parametrize("fault", ["batch-401", "batch-redirect", "download-redirect", "href-elsewhere"])
    def test_h160_the_password_goes_to_no_other_host(
        self, address: str, faulty: Faulty, run_id: str, there: Path, fault: str, http_server: Server
    ) -> None:
        with serving(MODEL) as other:
            faulty.fault, faulty.elsewhere = fault, other.url
            program("clone", address, run_id, there / "copy")
            assert faulty.seen and (other.seen or fault == "batch-401")
            secret = base64.b64encode(f"writer:{http_server.password}".encode()).decode()
            assert not any(secret in sent for sent in faulty.authorizations() | other.authorizations())


class TestUploads:
    """H162: a server that does not take what it is sent."""

    @pytest.fixture
    def faulty(self) -> Iterator[Faulty]:
        with serving(MODEL) as server:
            settings = {"lfs.url": server.url, "lfs.transfer.maxretrydelay": "1", "gitrun.stallTimeout": "10"}
            for key, value in settings.items():
                subprocess.run(["git", "config", "--global", key, value], check=True)
            yield server

    @pytest.mark.parametrize("fault", ["", "upload-429-once", "upload-503-once"])
    def test_h162_what_passes_is_waited_for(
        self, here: Path, http_server: Server, tmp_path: Path, faulty: Faulty, fault: str
    ) -> None:
        faulty.fault = fault
        assert gitrun.push(here / "train", http_server.address(tmp_path.name)).locked
        assert any(method == "PUT" for method, _, _ in faulty.seen)

    @pytest.mark.parametrize(
        "fault",
        ["upload-403", "upload-413", "upload-422", "upload-500", "upload-503", "upload-507", "verify-fails", "forgets"],
    )
    def test_h162_else_no_ref_moves(
        self, here: Path, http_server: Server, tmp_path: Path, faulty: Faulty, fault: str
    ) -> None:
        faulty.fault = fault
        address = http_server.address(tmp_path.name)
        told = program("push", "--json", here / "train", address).object
        assert told["exit"] == 7 and "Traceback" not in told["error"]["message"], told
        assert listed(address) == []


class TestPrograms:
    def test_a_git_lfs_that_is_too_old(self, here: Path, http_server: Server, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "git-lfs").write_text("#!/bin/sh\necho 'git-lfs/1.5.6 (GitHub; linux amd64; go 1.7.4)'\n")
        (tmp_path / "bin" / "git-lfs").chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        told = program("push", "--json", here / "train", http_server.address(tmp_path.name), env=env).object
        assert told["exit"] == 7 and "1.5 is too old" in told["error"]["message"]

    def test_h169_a_certificate_that_nobody_vouches_for(self, here: Path, there: Path, tmp_path: Path) -> None:
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
        subprocess.run([*command, *subject], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        seen: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.path)
                self.send_error(404)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"https://127.0.0.1:{server.server_port}/runs.git"
            for words in (
                ["push", "--json", here / "train", address],
                ["clone", "--json", address, "x", there / "copy"],
            ):
                told = program(*words).object
                assert told["exit"] == 7 and "certificate" in told["error"]["hint"], told
            assert not seen
            server.shutdown()
