"""Real servers for remotes: git over HTTP with giftless behind a password, large files in a directory or in a bucket."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.sshd import Ssh
from tests.support.tools import CHECKOUT, tool


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    username: str
    password: str
    root: Path
    reader: str
    """A user who may fetch, and not push; the password is the same."""

    def address(self, name: str, user: str = "") -> str:
        """The URL of a repository, with user and password."""
        return self.url.replace("://", f"://{user or self.username}:{self.password}@") + f"/{name}.git"

    def plain(self, name: str) -> str:
        """The URL of a repository, without."""
        return f"{self.url}/{name}.git"

    def repository(self, name: str) -> Path:
        """Where the server keeps a repository."""
        return self.root / "git" / f"{name}.git"

    def large(self, name: str) -> set[str]:
        """The LFS objects that it has of a repository, where they are in a directory."""
        return {path.name for path in (self.root / "lfs" / "lfs" / name).rglob("*") if path.is_file()}


@contextmanager
def _serving(*words: str) -> Iterator[Server]:
    command = [tool("servers/bin/python"), "-W", "ignore", CHECKOUT / "scripts" / "serve_remote.py", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            yield Server(told["url"], told["username"], told["password"], Path(told["root"]), told["reader"])
        finally:
            process.stdin.close()
            process.wait(30)


@pytest.fixture(scope="session")
def http_server() -> Iterator[Server]:
    """git over HTTP, with giftless."""
    with _serving() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """The same, with large files in a bucket of a server that speaks S3."""
    with _serving("--s3") as server:
        yield server


@pytest.fixture
def ssh_with_lfs(ssh: Ssh, http_server: Server, shared_tmp: Path) -> tuple[str, Server]:
    """What stands for `ssh`, to a machine whose `git-lfs-authenticate` leads to the HTTP server; repositories are made."""
    programs = shared_tmp / "ssh-bin"
    programs.mkdir(mode=0o755)
    token = base64.b64encode(f"{http_server.username}:{http_server.password}".encode()).decode()
    answer = {"href": f"{http_server.url}/$NAME.git/info/lfs", "header": {"Authorization": f"Basic {token}"}}
    (programs / "git-lfs-authenticate").write_text(
        f'#!/bin/sh\nNAME=$(basename "$1" .git)\ncat <<EOF\n{json.dumps(answer)}\nEOF\n'
    )
    command = f"{ssh.command} -o SetEnv=LC_ALL=C"
    for verb in ("git-receive-pack", "git-upload-pack"):
        (programs / verb).write_text(
            f'#!/bin/sh\ncd {shared_tmp}\nname=$(basename "$1")\n[ -d "$name" ] || git init -q --bare "$name"\n'
            f'exec git {verb.removeprefix("git-")} "$name"\n'
        )
    for path in programs.iterdir():
        path.chmod(0o755)
    ssh.add_programs(programs)
    return command, http_server
