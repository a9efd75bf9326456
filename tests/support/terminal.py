"""gitrun on a real terminal (a pty), for what it does only there: a pager, colours, widths."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Mapping
from select import select

from tests.support.program import Told
from tests.support.tools import CHECKOUT

_PATIENCE = 30.0


def on_terminal(
    *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None, keys: bytes = b"", cwd: str = "/"
) -> Told:
    """Runs `gitrun ARGUMENTS` with a terminal of 24 lines and 80 columns; `keys` are pressed once it shows something.

    `out` is all that the terminal got, stdout and stderr together, with its line ends made plain.
    """
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", **(env or {}), "PYTHONPATH": str(CHECKOUT)}
    command = ["sh", "-c", 'stty rows 24 cols 80; exec "$@"', "sh", sys.executable, "-m", "gitrun", *arguments]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment, start_new_session=True
    )
    os.close(slave)
    try:
        shown = _read(master, keys)
        code = process.wait(_PATIENCE)
    finally:
        process.kill()
        os.close(master)
    return Told(code, os.fsdecode(shown).replace("\r\n", "\n"), "")


def _read(master: int, keys: bytes) -> bytes:
    shown = b""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and select([master], [], [], _PATIENCE)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:  # how Linux says that nobody has the terminal open any more
            return shown
        if not data:
            return shown
        shown += data
        if keys:
            os.write(master, keys)
            keys = b""
    raise AssertionError(f"it still runs, and has shown {shown!r}")
