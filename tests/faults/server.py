"""Runs gitrun many times without paying for the start of Python each time.

Started once with the shim preloaded; every request forks a child that runs `python -m gitrun …` from its first line,
with modules already imported, in a session of its own.  Requests are JSON lines on stdin, answers JSON lines on stdout:
first `{"pid": …}`, and when the program and everything it left behind are gone `{"code": …, "left": …}`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import signal
import sys
import threading
import time
from contextlib import suppress

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 10.0
"""Seconds that orphaned workers may take to notice that nobody needs them."""


def preload() -> None:
    """Imports everything that gitrun may import; runs none of it."""
    import gitrun

    names = [module.name for module in pkgutil.walk_packages(gitrun.__path__, "gitrun.")]
    for name in ["subprocess", "pwd", *names]:
        if not name.endswith("__main__") and not name.startswith(
            "gitrun.guildhook."
        ):  # which wants Guild's environment
            importlib.import_module(name)
    gc.freeze()


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
    try:
        runpy.run_module("gitrun", run_name="__main__", alter_sys=False)
    except SystemExit as end:
        if isinstance(end.code, int):
            leave(end.code)
        raise


def leave(code: int) -> None:
    """Ends as Python does, but for taking all modules apart, which costs more than most commands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def reap(pid: int) -> dict:
    """Waits for the child, then for whatever it left; kills that after a while, and tells."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    end = time.monotonic() + PATIENCE
    while (alive := group_lives(pid)) and time.monotonic() < end:
        time.sleep(0.002)
    if alive:
        os.killpg(pid, signal.SIGKILL)
        while group_lives(pid):
            time.sleep(0.002)
    return {"code": code, "left": int(alive)}


def group_lives(group: int) -> bool:
    """Whether a process of the group still runs; orphans come to this process, which buries them."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


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
