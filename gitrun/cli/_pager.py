"""Shows long output through the user's pager, as git does: the same choice of program, and the same settings for less."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any, TextIO

from gitrun.cli._git import outside_environment
from gitrun.errors import ToolFailed
from gitrun.gitcmd import find_program

_DEFAULTS = {"LESS": "FRX", "LV": "-c"}
"""As git has them: less shows colours, and ends by itself where everything fits on one screen."""
_NOT_FOUND = 127


class Pager:
    """Takes the place of a terminal's stdout; the pager starts with the first line, and `close` waits for its end."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._process: subprocess.Popen[str] | None = None
        self._stream: Any = None
        self._handler: Any = None

    def write(self, text: str) -> int:
        """Shows `text`; raises BrokenPipeError once the reader has seen enough."""
        if self._stream is None:
            self._stream = self._start() or self._terminal
        written: int = self._stream.write(text)
        return written

    def flush(self) -> None:
        """Hands on what was written."""
        if self._stream is not None:
            self._stream.flush()

    def close(self) -> None:
        """Waits until the reader has left the pager."""
        if self._process is None:
            return
        try:
            self._process.communicate()
        except BrokenPipeError:
            self._process.wait()
        signal.signal(signal.SIGINT, self._handler)

    def _start(self) -> Any:
        command = _command()
        if not command:
            return None
        self._terminal.flush()
        self._process = subprocess.Popen(
            command,
            shell=True,  # as git runs it: the user may have put options, or a whole pipe, there
            stdin=subprocess.PIPE,
            env={**_DEFAULTS, **os.environ},
            encoding=self._terminal.encoding,
            errors="backslashreplace",
        )
        self._handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the pager's now
        return self._process.stdin


def _command() -> str:
    """The shell command of the pager; nothing where the user wants none, or it is not installed."""
    try:
        asked = [find_program("git"), "var", "GIT_PAGER"]
    except ToolFailed:
        return ""
    environment = outside_environment(os.environ)
    command = subprocess.run(
        asked, env=environment, cwd="/", capture_output=True, text=True, check=False
    ).stdout.strip()
    if not command or command == "cat":
        return ""
    probe = subprocess.run(["sh", "-c", f"command -v {command.split()[0]}"], capture_output=True, check=False)
    return "" if probe.returncode == _NOT_FOUND else command
