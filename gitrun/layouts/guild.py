"""Runs of Guild AI, read from their files: Guild itself is never imported, and need not be installed.

A run is a directory `<home>/runs/<id>` with a file `.guild/opref`; its attributes are small YAML files in
`.guild/attrs`.  Nothing of Guild's own verdict is used: its status word is that of the last attempt while a restarted
run is running.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path

from gitrun.layouts import processes, text

NAME = "guild"

ATTRIBUTES_FOR_PEOPLE = ("label", "tags", "comments", "marked")
"""What people change on finished runs; Guild writes these files in place, and no others."""

_MUTABLE = frozenset(b".guild/attrs/" + name.encode() for name in ATTRIBUTES_FOR_PEOPLE)
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_SMALL = 4096
_BATCH = "+"

_ATTRS = b".guild/attrs/"
_OF_THE_ATTEMPT = frozenset(
    [b".guild/" + name for name in (b"LOCK", b"LOCK.remote", b"PENDING", b"STAGED")]
    + [
        _ATTRS + name
        for name in (b"id", b"initialized", b"started", b"exit_status", b"stopped", b"marked", b"comments")
    ]
)
"""What tells of one attempt, or of one run among others.  Without `initialized` Guild writes it anew at the restart."""
_PARENT_MARKS = (b".guild/proto", _ATTRS + b"steps")
_CHILD = re.compile(rb"\.\./[0-9a-f]{32}")


def detect(run: Path) -> bool:
    """Whether `run` has a `.guild` directory with a file `opref`, both of its own and not behind a symlink."""
    marks = (os.path.join(run, ".guild"), stat.S_ISDIR), (os.path.join(run, ".guild", "opref"), stat.S_ISREG)
    try:
        return all(is_kind(os.lstat(path).st_mode) for path, is_kind in marks)
    except (OSError, ValueError):
        return False


def run_id(run: Path) -> str | None:
    """The directory's name where it is one of Guild's ids (32 hex digits), else None.

    Guild goes by the directory's name too.  The attribute `id` only tells under which name the run began: a copy of
    the run keeps it, and one id for two directories would mix up their histories.  A run that was renamed before its
    first lock therefore gets an id of gitrun's own making; so does one made by `--run-dir` or `--run-id` under a name
    that somebody chose, since nothing makes such names unique.
    """
    name = os.path.basename(os.path.realpath(run))
    return name if _RUN_ID.fullmatch(name) else None


def label(run: Path) -> str:
    """Operation and label on one line, as `guild runs` shows them: `train lr=0.1`."""
    given = text.scalar(text.read_start(os.path.join(run, ".guild", "attrs", "label"), _SMALL) or b"")
    return text.one_line(f"{_operation(run)} {given}")


def outcome(run: Path) -> str:
    """`completed`, `error` or `terminated`, as Guild calls it, once there is an exit status."""
    told = text.scalar(text.read_start(os.path.join(run, ".guild", "attrs", "exit_status"), 16) or b"")
    if not re.fullmatch(r"-?[0-9]+", told):
        return ""
    return "completed" if int(told) == 0 else "error" if int(told) > 0 else "terminated"


def activity(run: Path) -> str | None:
    """Why Guild is not done with the run: it runs here or on a remote, is pending or staged; None when it is done."""
    marker = os.path.join(run, ".guild", "")
    if os.path.lexists(marker + "LOCK.remote"):
        remote = text.scalar(text.read_start(marker + "LOCK.remote", _SMALL) or b"")
        return f"running on the remote '{remote}'" if remote else "running on a remote"
    if os.path.lexists(marker + "PENDING"):
        return "pending: Guild is preparing it, or failed to"
    if os.path.lexists(marker + "STAGED"):
        return "staged: it has not run yet"
    return _running(run, marker + "LOCK")


def mutable(run: Path) -> frozenset[bytes]:
    """The attributes that people change: label, tags, comments and marked."""
    return _MUTABLE


def attempt() -> tuple[bytes, ...]:
    """The attributes that say when the run began and ended."""
    return (_ATTRS + b"started", _ATTRS + b"stopped")


def fork_id() -> str:
    """32 hex digits, as Guild makes them."""
    return uuid.uuid4().hex


def forgotten(targets: Mapping[bytes, bytes]) -> frozenset[bytes]:
    """What tells of the attempt that is over; of a batch or a pipeline also the links to its trials or steps.

    Otherwise the restarted fork would read as finished, be marked twice, and mix old children with new ones.
    """
    children: set[bytes] = set()
    if any(mark in targets for mark in _PARENT_MARKS):
        children = {path for path, target in targets.items() if b"/" not in path and _CHILD.fullmatch(target)}
    return frozenset(children | (_OF_THE_ATTEMPT & targets.keys()))


def fresh(run_id: str, origin: str) -> Mapping[bytes, bytes]:
    """The attributes `id`, and `forked_from`, which Guild shows like any other."""
    return {_ATTRS + b"id": b"'%s'\n" % run_id.encode(), _ATTRS + b"forked_from": b"'%s'\n" % origin.encode()}


def _running(run: Path, lock: str) -> str | None:
    """Whether the process that `.guild/LOCK` names is still the one that runs the operation.

    Guild leaves the file behind when it is killed, so its pid may be dead, or be another program's by now.
    """
    try:
        noted = os.lstat(lock)
    except OSError:
        return None
    told = text.read_start(lock, 16)
    if told is None:
        return "perhaps running: .guild/LOCK cannot be read"
    pid = int(told) if told.strip().isdigit() else 0
    if pid > 0 and processes.is_alive(pid) and processes.is_the_same(pid, noted.st_mtime, os.fspath(run)):
        return f"running: process {pid} is at work"
    return None


def _operation(run: Path) -> str:
    """`model:operation`, or the operation alone; for a batch that of its trials with a `+`, as Guild lists it."""
    model, operation = _reference(os.path.join(run, ".guild", "opref"))
    if operation == _BATCH:
        model, trial = _reference(os.path.join(run, ".guild", "proto", ".guild", "opref"))
        operation = trial + _BATCH
    return f"{model}:{operation}" if model else operation


def _reference(opref: str) -> tuple[str, str]:
    """Model and operation from an `opref`: four words, quoted for a shell, of which they are the last two."""
    line = (text.read_start(opref, _SMALL) or b"").decode("utf-8", "replace")
    try:
        words = _shell_words(line)
    except ValueError:
        words = []
    return (words[2], words[3]) if len(words) == 4 else ("", "")


def _shell_words(line: str) -> list[str]:
    """`shlex.split`, which is slow, only where it is needed: most lines quote nothing but an empty model."""
    plain = line.replace("''", "\0")
    if any(quote in plain for quote in "'\"\\"):
        return shlex.split(line)
    return [word.replace("\0", "") for word in plain.split()]
