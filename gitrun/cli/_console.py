"""Where output goes: data to stdout, everything else to stderr, colour and width as the terminal has them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TextIO

from gitrun.cli._failures import Failure
from gitrun.names import display, display_text

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


class Common(NamedTuple):
    """The options that every verb has."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool = True
    jobs: int = 0
    """0: as many as there are processors."""
    debug: bool = False


class Painted(NamedTuple):
    """A piece of a line that has a colour where there are colours."""

    text: str
    colour: str


Piece = str | Painted


class _Writer(Protocol):
    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


class Console:
    """The two streams of this process, and what the user wants on them.

    Every piece of text is made safe to print here, once more, whoever made it: no control character of a name, a
    label or a message reaches the terminal.
    """

    def __init__(self, common: Common, *, _out: TextIO | None = None, _err: TextIO | None = None) -> None:
        self.common = common
        # A closed stream (`>&-`) is None.
        self._out, self._err = _out or sys.stdout, _err or sys.stderr
        self._shown: _Writer | None = self._out
        self._out_colour, self._err_colour = _has_colour(self._out), _has_colour(self._err)

    @property
    def verbose(self) -> bool:
        """Whether `-v` was given."""
        return self.common.verbose

    @property
    def width(self) -> int:
        """The columns of the terminal that shows stdout; 0 when stdout is no terminal."""
        if self._out is None or not self._out.isatty():
            return 0
        return _environment_width() or _terminal_width(self._out)

    @contextmanager
    def paged(self) -> Iterator[None]:
        """Within the block, data for a terminal goes through the user's pager; who leaves it has seen enough."""
        if self._out is None or not self.width or self.common.json:
            yield
            return
        from gitrun.cli._pager import Pager

        pager = self._shown = Pager(self._out)
        try:
            yield
        except BrokenPipeError:
            pass
        finally:
            pager.close()
            self._shown = self._out

    @property
    def shows_progress(self) -> bool:
        """Whether a progress bar is wanted, and somebody would see it."""
        common = self.common
        wanted = common.progress and not common.json and not common.quiet
        return wanted and self._err is not None and self._err.isatty()

    def data(self, *pieces: Piece) -> None:
        """A line on stdout."""
        _write(self._shown, _painted(pieces, self._out_colour))

    def exact(self, data: bytes) -> None:
        """A line of bytes on stdout, for a program."""
        if self._out is not None:
            self._out.flush()
            self._out.buffer.write(data + b"\n")
            self._out.buffer.flush()

    def good(self, *pieces: Piece) -> None:
        """A line on stdout that says that all is well: `-q` silences it."""
        if not self.common.quiet:
            self.data(*pieces)

    def note(self, *pieces: Piece) -> None:
        """A line on stderr that `-q` silences."""
        if not self.common.quiet:
            _write(self._err, _painted(pieces, self._err_colour))

    def notes(self, notes: Sequence[str], *, failed: bool = False) -> None:
        """What a result has to say besides; what it failed in, `-q` does not silence."""
        for note in notes:
            if failed:
                _write(self._err, _painted((Painted("gitrun:", "red"), f" {note}"), self._err_colour))
            else:
                self.note(Painted("note:", "yellow"), f" {note}")

    def hint(self, text: str) -> None:
        """The next command, on stderr; `-q` silences it."""
        self.note(Painted("hint:", "bold"), f" {text}")

    def json(self, told: dict[str, Any]) -> None:
        """One JSON object on a line of its own, in ASCII."""
        import json

        _write(self._out, json.dumps(told, separators=(", ", ": ")))

    def failure(self, failure: Failure, path: bytes | None = None) -> None:
        """A failure on stderr: the line and its hint; `path` where the failure names none."""
        where = failure.path if failure.path is not None else path
        self.traceback(failure)
        told = failure.message if where is None else f"{failure.message}: {display(where)}"
        _write(self._err, _painted((Painted("gitrun:", "red"), f" {told}"), self._err_colour))
        if failure.hint:
            _write(self._err, _painted((Painted("hint:", "bold"), f" {failure.hint}"), self._err_colour))

    def traceback(self, failure: Failure) -> None:
        """What `--debug` asked for, on stderr."""
        for line in failure.traceback.splitlines():
            _write(self._err, display_text(line))


def prepare_streams() -> None:
    """Makes sure that nothing that is printed can fail for its characters, and that all three streams are open.

    A character that the terminal's encoding lacks is printed as an escape.  A closed descriptor 1 would be given to
    the next file that is opened, which a child process would then write its output into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(stream: _Writer | None, line: str) -> None:
    if stream is not None:
        stream.write(line + "\n")
        stream.flush()


def _painted(pieces: Sequence[Piece], colour: bool) -> str:
    return "".join(_piece(piece, colour) for piece in pieces)


def _piece(piece: Piece, colour: bool) -> str:
    if isinstance(piece, str):
        return display_text(piece)
    text = display_text(piece.text)
    return f"\x1b[{_COLOURS[piece.colour]}m{text}\x1b[0m" if colour and piece.colour else text


def _has_colour(stream: TextIO | None) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()


def _environment_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isascii() and columns.isdigit() else 0


def _terminal_width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
