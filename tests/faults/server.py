"""Runs gitrun many times without paying for the start of Python each time.

Started once with the shim preloaded; every request forks a child that runs `python -m gitrun …` from its first line,
with modules already imported, in a session of its own.  Requests are JSON lines on stdin, answers JSON lines on stdout:
first `{"pid": …}`, and when the program and everything it left behind are gone `{"code": …, "left": …}`.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
import resource
import runpy
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 10.0
"""Seconds that orphaned workers may take to notice that nobody needs them."""


def preload() -> None:
    """Imports everything that gitrun may import; runs none of it."""
    import gitrun

    for module in pkgutil.walk_packages(gitrun.__path__, "gitrun."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def child(request: dict, close: list[int]) -> None:
    """Turns this process into one that was started as the request says, and runs gitrun in it."""
    for fd in close:
        os.close(fd)
    os.chdir(request["cwd"])
    for target, (name, flags) in enumerate(
        [(request["stdin"], os.O_RDONLY), (request["stdout"], os.O_WRONLY), (request["stderr"], os.O_WRONLY)]
    ):
        fd = os.open(name, flags)
        os.dup2(fd, target)
        os.close(fd)
    for name, value in request["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    sys.argv = ["gitrun", *map(os.fsdecode, request["argv"])]
    os.umask(0o022)
    runpy.run_module("gitrun", run_name="__main__", alter_sys=False)


def alive(session: int) -> list[int]:
    """Processes of a session that are not zombies."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    state, _, _, its_session = file.read().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(its_session) == session and state not in "ZX":
                found.append(int(name))
    return found


def reap(pid: int) -> dict:
    """Waits for the child, then for whatever it left; kills that after a while, and tells."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    end = time.monotonic() + PATIENCE
    left = alive(pid)
    while left and time.monotonic() < end:
        time.sleep(0.01)
        left = alive(pid)
    for other in left:
        os.kill(other, 9)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return {"code": code, "left": len(left)}


def main() -> None:
    """Serves until stdin ends."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    preload()
    requests, answers = os.dup(0), os.dup(1)
    os.write(answers, b'{"ready": true}\n')
    while line := read_line(requests):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            child(json.loads(line), [requests, answers])
            return
        os.write(answers, json.dumps({"pid": pid}).encode() + b"\n")
        os.write(answers, json.dumps(reap(pid)).encode() + b"\n")


def read_line(fd: int) -> bytes:
    """A line, byte by byte: nothing may be buffered that a child would inherit."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(fd, 1)):
        line += byte
    return line


if __name__ == "__main__":
    main()
