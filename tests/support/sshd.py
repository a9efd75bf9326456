"""A private sshd on the loopback interface, which the user whom `as_user` plays can log in to without a password."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.tools import tool
from tests.support.users import UID, give, remove_tree


@dataclass(frozen=True)
class Ssh:
    """A server, and how to reach it."""

    port: int
    directory: Path
    """Keys and configuration; `config` is for ssh's option `-F`."""

    @property
    def user(self) -> str:
        """Who logs in."""
        return pwd.getpwuid(UID if os.geteuid() == 0 else os.geteuid()).pw_name

    def add_programs(self, directory: Path) -> None:
        """Puts the programs in a directory before all others, for those who log in."""
        (self.directory / "programs").symlink_to(directory)

    @property
    def command(self) -> str:
        """What stands for `ssh`, as GIT_SSH_COMMAND wants it."""
        return f"ssh -F {self.directory / 'config'}"


_SERVE = 'mount --bind "$1" /etc/passwd && exec /usr/sbin/sshd -D -e -f "$2"'
"""The account of nobody has no shell; in a namespace of its own the server sees another list of accounts."""
_SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {top}/host_key
AuthorizedKeysFile {top}/authorized_keys
PidFile {top}/pid
StrictModes no
PasswordAuthentication no
UsePAM no
PermitUserEnvironment no
SetEnv {environment}
"""
_CLIENT = """\
Host *
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {top}/user_key
  IdentitiesOnly yes
  BatchMode yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""


@pytest.fixture
def ssh(shared_tmp: Path) -> Iterator[Ssh]:
    """The server; only root can let another user log in."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    top = shared_tmp / "ssh"
    top.mkdir(mode=0o755)
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", top / name], check=True)
    shutil.copy(top / "user_key.pub", top / "authorized_keys")
    found = Ssh(free_port(), top)
    environment = f"PATH={top}/programs:{tool('guild/bin')}:/usr/bin:/bin GIT_CONFIG_NOSYSTEM=1 HOME={shared_tmp}"
    (top / "sshd_config").write_text(_SERVER.format(port=found.port, top=top, environment=environment))
    (top / "config").write_text(_CLIENT.format(port=found.port, top=top, user=found.user))
    give(top / "user_key")
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    accounts = Path("/etc/passwd").read_text().splitlines(keepends=True)
    (top / "passwd").write_text("".join(_with_a_shell(line, found.user, shared_tmp) for line in accounts))
    command = ["unshare", "--mount", "sh", "-c", _SERVE, "sh", top / "passwd", top / "sshd_config"]
    with open(top / "log", "wb") as log:
        server = subprocess.Popen(command, stderr=log)
    try:
        _wait(found.port, server)
        yield found
    finally:
        server.terminate()
        server.wait()
        remove_tree(top)


def _with_a_shell(line: str, user: str, home: Path) -> str:
    """A line of the list of accounts, in which the user has a shell and a home."""
    name, *fields = line.rstrip("\n").split(":")
    return ":".join([name, *fields[:4], str(home), "/bin/sh"]) + "\n" if name == user else line


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if server.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("sshd does not start", pytrace=False)
