#!/usr/bin/env python3
"""Serves git repositories with git-lfs over ssh on this machine alone, to try `gitrun push` and `clone` with a real server.

    .tools/servers/bin/python scripts/serve_ssh.py

A private sshd on the loopback interface, with keys of its own, lets its own user in; for large files its
`git-lfs-authenticate` leads to serve_remote.py, which is started beside it.  It prints one line of JSON: `url`, and `command`,
which goes into GIT_SSH_COMMAND.  A repository `<url>/<name>.git` is made when it is first asked for.  The server ends with
its standard input, and removes what it keeps.
"""

from __future__ import annotations

import base64
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {top}/host_key
AuthorizedKeysFile {top}/user_key.pub
PidFile none
StrictModes no
PasswordAuthentication no
UsePAM no
SetEnv PATH={top}/bin:/usr/bin:/bin
"""
_OPTIONS = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def main() -> None:
    """Serves until standard input ends."""
    top = Path(tempfile.mkdtemp(prefix="gitrun-ssh-"))
    front = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("serve_remote.py"))]
    with subprocess.Popen(front, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as http:
        assert http.stdin is not None and http.stdout is not None
        try:
            port = free_port()
            prepare(top, port, json.loads(http.stdout.readline()))
            with subprocess.Popen([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", top / "sshd_config"]) as sshd:
                try:
                    wait(port, sshd)
                    command = f"ssh -i {top}/user_key {_OPTIONS}"
                    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
                    print(json.dumps({"url": url, "command": command, "root": str(top / "git")}), flush=True)
                    sys.stdin.read()
                finally:
                    sshd.terminate()
        finally:
            http.stdin.close()
    shutil.rmtree(top)


def prepare(top: Path, port: int, http: dict[str, str]) -> None:
    """Keys, configuration, and the programs that whoever logs in may need."""
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", top / name], check=True)
    (top / "sshd_config").write_text(_CONFIG.format(port=port, top=top))
    (top / "git").mkdir()
    (top / "bin").mkdir()
    token = base64.b64encode(f"{http['username']}:{http['password']}".encode()).decode()
    answer = {"href": f"{http['url']}/$NAME.git/info/lfs", "header": {"Authorization": f"Basic {token}"}}
    programs = {
        "git-lfs-authenticate": f'NAME=$(basename "$1" .git)\ncat <<END\n{json.dumps(answer)}\nEND\n',
        **{f"git-{verb}": _service(top, verb) for verb in ("receive-pack", "upload-pack")},
    }
    for name, script in programs.items():
        (top / "bin" / name).write_text("#!/bin/sh\n" + script)
        (top / "bin" / name).chmod(0o755)
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)


def _service(top: Path, verb: str) -> str:
    make = 'name=$(basename "$1")\n[ -d "$name" ] || git init -q --bare "$name"\n'
    return f'cd {top}/git\n{make}exec git {verb} "$name"\n'


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until the server answers; SystemExit when it ends instead."""
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("sshd does not start")


if __name__ == "__main__":
    main()
