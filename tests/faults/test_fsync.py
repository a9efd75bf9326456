"""P1: what "locked" promises has been synced, file by file and directory by directory, before it is said."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from . import shim as s
from .harness import Lab, Outcome, Picture, differences, snapshot
from .sweep import LOCK, RELOCK, RESTORE, UNLOCK, Fault, Scenario, after_error, goal, sweep

SYNCS = ("fsync", "fdatasync", "syncfs")


@pytest.mark.parametrize("scenario", [LOCK, RELOCK, UNLOCK, RESTORE], ids=lambda s: s.name)
def test_every_failing_sync_is_an_error(labs: list[Lab], scenario: Scenario) -> None:
    """A sync that fails means that nothing is certain: no "locked", and all is put back."""
    lab = labs[0]
    goal(lab, scenario)
    last = [c for c in lab.count_calls(scenario.verb, lab.run) if c.name in SYNCS][-1]
    assert last.path.endswith(b"/gitrun"), "the last one is that of the journal's removal, which may be lost"

    def check(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
        ignored = outcome.fired and outcome.code == 0 and point != last.number
        wrong = ["exit 0 though a sync failed"] if ignored and scenario in (LOCK, RELOCK) else []
        return wrong + after_error(lab, scenario, outcome, wanted)

    sweep(labs, scenario, Fault("EIO while syncing", s.FAIL, errno.EIO), check, limit=24, names=SYNCS)


def test_no_sync_works_at_all(lab: Lab) -> None:
    """As OSTree proves it: with every fsync failing there must be no lock."""
    wanted = goal(lab, LOCK)
    strace = _strace()
    words, options = lab.command("lock", lab.run)
    inject = ["-e", "trace=fsync,fdatasync,syncfs", "-e", "inject=fsync,fdatasync,syncfs:error=EIO"]
    command = [strace, "-f", "-o", "/dev/null", *inject, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 8, done.stderr
    assert not differences(wanted, snapshot(lab.run))


def _strace() -> str:
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is not installed (Debian: apt-get install strace)")
    return strace


TRACED = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,ioctl,ftruncate,fallocate,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir,fsync,fdatasync,syncfs,fchmod"
)


@pytest.mark.parametrize("scenario", [LOCK, RELOCK, UNLOCK], ids=lambda s: s.name)
def test_all_is_synced_before_success_is_told(lab: Lab, scenario: Scenario) -> None:
    goal(lab, scenario)
    log = lab.base / "trace"
    words, options = lab.command(scenario.verb, lab.run)
    command = [_strace(), "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", str(log), *words]
    log.touch()
    log.chmod(0o666)
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    durable = Durable(str(lab.parent.resolve()))
    for line in merged(log.read_text(errors="surrogateescape").splitlines()):
        durable.feed(line)
    assert durable.told, "success was never told"
    assert durable.published > 1, "the trace shows no work: this proves nothing"
    assert not durable.wrong, "\n".join(durable.wrong)


def test_the_proof_finds_what_is_missing(tmp_path: Path) -> None:
    """The checker itself: each omission is found."""
    script = {
        "file": "echo x >a.tmp; mv a.tmp a; sync .; echo locked",
        "directory": "echo x >a.tmp; sync a.tmp; mv a.tmp a; echo locked",
        "new directory": "mkdir d; echo x >d/a; sync d/a; sync d; echo locked",
        "nothing": "mkdir d; sync .; echo x >d/a.tmp; sync d/a.tmp; mv d/a.tmp d/a; sync d; echo locked",
    }
    for missing, text in script.items():
        place = tmp_path / missing.replace(" ", "-")
        place.mkdir()
        log = tmp_path / "log"
        command = [_strace(), "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", str(log), "sh", "-c", text]
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        durable = Durable(str(place))
        for line in merged(log.read_text().splitlines()):
            durable.feed(line)
        assert durable.told
        assert bool(durable.wrong) == (missing != "nothing"), f"{missing}: {durable.wrong}"


UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")


def merged(lines: list[str]) -> list[str]:
    """The lines of a trace, calls in the order in which they ended, each in one line."""
    begun: dict[str, str] = {}
    whole = []
    for line in lines:
        if found := UNFINISHED.match(line):
            begun[found[1]] = found[2]
        elif found := RESUMED.match(line):
            whole.append(f"{found[1]} {begun.pop(found[1], '')}{found[2]}")
        else:
            whole.append(line)
    return whole


CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?")
FD = re.compile(r"^(-?\d+|AT_FDCWD)<((?:[^>\\]|\\.)*)>$")
TEMPORARY = re.compile(r"/gitrun/(journal|verified)$|/\.tmp-gitrun-")


class Durable:
    """What of the names and contents below a directory would survive a power cut, as a trace of system calls tells.

    Content is safe once its file was synced after the last write; a name once its directory was synced after the name
    came.  A file must be safe before it gets its final name, and everything before success is told.
    """

    def __init__(self, top: str) -> None:
        self.top = top
        self.file: dict[str, int] = {}
        self.dirty: set[int] = set()
        self.names: set[str] = set()
        self.wrong: list[str] = []
        self.told = False
        self.published = 0

    def feed(self, line: str) -> None:
        """One call."""
        found = CALL.match(line)
        if not found or int(found[3]) < 0 or self.told:
            return
        name, arguments, target = found[1], _split(found[2]), _plain(found[4] or "")
        handler = getattr(self, f"_{_KINDS.get(name, 'nothing')}")
        handler(arguments, target)

    def _nothing(self, arguments: list[str], target: str) -> None:
        pass

    def _open(self, arguments: list[str], target: str) -> None:
        flags = next((a for a in arguments if a.startswith("O_") or "O_" in a), "")
        if (
            target.startswith(self.top + "/")
            and target not in self.file
            and ("O_CREAT" in flags or "O_TMPFILE" in flags)
        ):
            self._new(target)

    def _new(self, path: str) -> None:
        self.file[path] = len(self.file) + 1000 * len(self.names)
        self.names.add(path)

    def _write(self, arguments: list[str], target: str) -> None:
        path = _fd(arguments[0])
        if arguments[0].startswith("1<") and not path.startswith(self.top + "/"):
            self._tell()
        elif path.startswith(self.top + "/"):
            self.dirty.add(self.file.setdefault(path, -len(self.file) - 1))

    def _copy_range(self, arguments: list[str], target: str) -> None:
        self._write(arguments[2:], target)

    def _ioctl(self, arguments: list[str], target: str) -> None:
        if "FICLONE" in arguments[1]:
            self._write(arguments, target)

    def _sync(self, arguments: list[str], target: str) -> None:
        path = _fd(arguments[0])
        self.dirty.discard(self.file.get(path, 0))
        self.names = {n for n in self.names if os.path.dirname(n) != path}

    def _syncfs(self, arguments: list[str], target: str) -> None:
        self.dirty.clear()
        self.names.clear()

    def _mkdir(self, arguments: list[str], target: str) -> None:
        path = self._paths(arguments)[0]
        if path.startswith(self.top + "/"):
            self.names.add(path)

    def _rename(self, arguments: list[str], target: str) -> None:
        old, new = self._paths(arguments)
        if not new.startswith(self.top + "/"):
            return
        self._publish(old, new)
        for path in [p for p in self.file if p == old or p.startswith(old + "/")]:
            self.file[new + path[len(old) :]] = self.file.pop(path)
        self.names = {new + n[len(old) :] if n.startswith(old + "/") else n for n in self.names if n != old}
        self.names.add(new)

    def _link(self, arguments: list[str], target: str) -> None:
        old, new = self._paths(arguments)
        if new.startswith(self.top + "/"):
            self._publish(old, new)
            self.file[new] = self.file.setdefault(old, -len(self.file) - 1)
            self.names.add(new)

    def _unlink(self, arguments: list[str], target: str) -> None:
        path = self._paths(arguments)[0]
        self.file.pop(path, None)
        self.names.discard(path)

    def _paths(self, arguments: list[str]) -> list[str]:
        """The paths that a call names, absolute: each quoted string, below the descriptor before it."""
        paths = []
        for before, argument in zip(["", *arguments], arguments, strict=False):
            if argument.startswith('"'):
                paths.append(os.path.normpath(os.path.join(self.top, _fd(before), _plain(argument.strip('"')))))
        return paths

    def _publish(self, old: str, new: str) -> None:
        self.published += 1
        for path, file in self.file.items():
            if (path == old or path.startswith(old + "/")) and file in self.dirty and not TEMPORARY.search(new):
                self.wrong.append(f"{path} became {new} before its content was synced")
        lost = [n for n in self.names if n.startswith(old + "/")]
        self.wrong += [f"{n} was published as part of {new} before its directory was synced" for n in lost]
        if new.endswith("/refs/tags/locked"):
            self.wrong += [f"the tag was set before {line}" for line in self._unsafe() if old not in line]

    def _unsafe(self) -> list[str]:
        """What would be lost now, but for what is meant to go."""
        contents = [f"the content of {p} was synced" for p, file in self.file.items() if file in self.dirty]
        names = [f"the directory of {p} was synced" for p in self.names]
        return [line for line in contents + names if not TEMPORARY.search(line.removesuffix(" was synced"))]

    def _tell(self) -> None:
        self.told = True
        self.wrong += [f"success was told before {line}" for line in self._unsafe()]


_KINDS = {
    **dict.fromkeys(["open", "openat", "openat2", "creat"], "open"),
    **dict.fromkeys(
        ["write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "ftruncate", "fallocate"], "write"
    ),
    "copy_file_range": "copy_range",
    "ioctl": "ioctl",
    **dict.fromkeys(["fsync", "fdatasync"], "sync"),
    "syncfs": "syncfs",
    **dict.fromkeys(["mkdir", "mkdirat", "symlink", "symlinkat"], "mkdir"),
    **dict.fromkeys(["rename", "renameat", "renameat2"], "rename"),
    **dict.fromkeys(["link", "linkat"], "link"),
    **dict.fromkeys(["unlink", "unlinkat", "rmdir"], "unlink"),
}


def _split(arguments: str) -> list[str]:
    """The arguments of a call, at commas outside of quotes and brackets."""
    parts, depth, quoted, at, start = [], 0, False, 0, 0
    while at < len(arguments):
        c = arguments[at]
        if c == "\\":
            at += 1
        elif c == '"':
            quoted = not quoted
        elif not quoted and c in "<{[":
            depth += 1
        elif not quoted and c in ">}]":
            depth -= 1
        elif c == "," and not quoted and not depth:
            parts.append(arguments[start:at].strip())
            start = at + 1
        at += 1
    return [*parts, arguments[start:].strip()]


def _plain(text: str) -> str:
    """A path as strace prints it, unescaped."""
    return (
        text.encode("latin-1", "replace").decode("unicode_escape") if "\\" in text else text.removesuffix(" (deleted)")
    )


def _fd(argument: str) -> str:
    found = FD.match(argument)
    return _plain(found[2]) if found else ""
