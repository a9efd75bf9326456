#!/usr/bin/env python3
"""Writes docs/exit-codes.md from the error classes; `--check` only tells whether it is up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "exit-codes.md"

sys.path.insert(0, str(ROOT))

from gitrun import errors  # noqa: E402 (found through the path above)

MEANINGS = {
    0: "done; verified; no differences",
    1: "a bug in gitrun (`--debug` shows where); never a verdict",
    2: "wrong usage",
    3: "not a run, or not locked: nothing to verify against",
    4: "differences found",
    5: "refused: the run is active, busy, changed while being read, locked and changed, or holds what cannot be kept",
    6: "the record is damaged, incomplete, forged or of a newer format",
    7: "a program that gitrun needs failed",
    8: "the system failed: disk full, I/O error, no permission; everything was put back",
    129: "interrupted because the terminal was closed (SIGHUP); everything was put back",
    130: "interrupted by the user (^C); everything was put back",
    141: "whoever read the output wanted no more of it, as in `gitrun status \\| head -1`",
    143: "interrupted by `kill` (SIGTERM); everything was put back",
}

HEAD = """\
# Exit codes

This page is written by `scripts/exit_codes.py` from the classes in `gitrun/errors.py`.

With several runs, all are worked on, and the highest of their codes is returned; an interruption ends the work at once.
`gitrun git` returns what git returned.  Of codes that are not listed here, rely only on their not being 0.

| exit | means |
|---|---|
"""

MIDDLE = """
A failure is told on stderr as `gitrun: <what failed>: <path>`, with a `hint:` that names the next step where there is
one.  With `--json` it is an object on stdout, whose `error.code` is one of these names; in Python it is an exception of
this name, a `gitrun.GitrunError`.  More names may be added; the exit code of a name never changes.

| `error.code` | exit | means |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return HEAD + codes + MIDDLE + "".join(_rows())


def _rows() -> Iterator[str]:
    """A row for each class, by exit code, and `InternalError`, which is no class: it stands for all others."""
    yield "| `InternalError` | 1 | Something that gitrun did not foresee: a bug. |\n"
    for kind in sorted(_kinds(errors.GitrunError), key=lambda kind: (kind.exit_code, kind.__name__)):
        told = " ".join((kind.__doc__ or "").split())
        yield f"| `{kind.__name__}` | {kind.exit_code} | {told} |\n"


def _kinds(base: type[errors.GitrunError]) -> Iterator[type[errors.GitrunError]]:
    """All classes below `base`."""
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def main() -> int:
    """0, or 1 where `--check` finds the page out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    if not parser.parse_args().check:
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    print(f"{PAGE.relative_to(ROOT)} is out of date: run scripts/exit_codes.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
