"""Phrases that several verbs use of runs and their differences.  Pure but for the working directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from gitrun.cli._units import counted, human_size, short_id
from gitrun.names import display
from gitrun.results import Difference

_TOLD_BRIEFLY = frozenset({"type", "target", "mode", "writable"})
"""Kinds whose expected and actual values are short enough to be shown always."""


def title(path: bytes, run_id: str, label: str = "") -> str:
    """What people call a run: `train lr=0.1 (3f2a1b4c)`, by the directory's name where it has no label."""
    called, short = label or display(os.path.basename(path)), short_id(run_id)
    if called == run_id or not called:
        return short
    return f"{called} ({short})" if short else called


def size(files: int, size_bytes: int) -> str:
    """`61 files, 3.1 MiB`."""
    return f"{counted(files, 'file')}, {human_size(size_bytes)}"


def shell_word(path: bytes) -> str:
    """`path` as one types it in this directory; `RUN` where it has characters that one cannot type."""
    relative = _relative(path)
    shown = display(relative)
    if shown.encode() != relative:
        return "RUN"
    import shlex

    return shlex.quote(shown)


def command(verb: str, path: bytes, *options: str) -> str:
    """A command for a hint, as short as it can be: `gitrun restore --dry-run` inside the run."""
    word = shell_word(path)
    words = ["gitrun", verb, *options, *([] if word == "." else [word])]
    return f"`{' '.join(words)}`"


def differences(found: Sequence[Difference], *, verbose: bool, indent: str = "  ") -> Iterator[str]:
    """One aligned line for each difference: `modified  metrics.json`."""
    width = max((len(difference.kind) for difference in found), default=0)
    for difference in found:
        note = f"  ({difference.note})" if difference.note else ""
        name, values = display(difference.path) or ".", (difference.expected, difference.actual)
        brief = difference.kind in _TOLD_BRIEFLY and any(values)
        told = "  {} -> {}".format(*(value or "nothing" for value in values)) if brief else ""
        yield f"{indent}{difference.kind:{width}}  {name}{told}{note}"
        if verbose and not brief:
            for word, value in zip(("was", "is"), values, strict=True):
                yield f"{indent}{'':{width}}    {word:3} {value or 'not there'}"


def kinds(found: Iterable[Difference]) -> str:
    """`2 modified, 1 added`, in the order of appearance."""
    counts: dict[str, int] = {}
    for difference in found:
        counts[difference.kind] = counts.get(difference.kind, 0) + 1
    return ", ".join(f"{number:,} {kind}" for kind, number in counts.items())


def _relative(path: bytes) -> bytes:
    try:
        here = os.getcwdb()
    except OSError:
        return path
    if path == here:
        return b"."
    below = os.path.join(here, b"")
    relative = path[len(below) :] if path.startswith(below) else path
    return b"./" + relative if relative.startswith(b"-") else relative
