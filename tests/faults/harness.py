"""What the fault tests share: a small run, pictures of it, gitrun under the shim, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from . import shim as s

ROOT = Path(__file__).resolve().parents[2]
"""The directory that holds the package under test."""

SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3", *(f"/usr/bin/python3.{n}" for n in range(20, 10, -1)))
LOCK_FILE, GIT_LINK = b".gitrun.lock", b".git"
WRITE = 0o222
LARGE = (1 << 20) + 17
DATE = 1_700_000_000_123_456_789


# --- who runs it ------------------------------------------------------------------------------------------------------


class Account(NamedTuple):
    """A user, and a Python with gitrun's dependencies that this user may run."""

    uid: int
    gid: int
    python: str

    @property
    def dropping(self) -> dict[str, Any]:
        """What subprocess needs to become this user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def environment(self, home: Path) -> dict[str, str]:
        """A clean environment: nothing of the user's own configuration reaches the tests."""
        packages = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONPATH": packages,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def own(self, path: Path) -> None:
        """Gives a path to this user."""
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@cache
def unprivileged() -> Account:
    """A user whom permission bits bind: this one, or nobody when this is root."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), sys.executable)
    check = f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}; import pygit2, click, blake3"
    for python in (sys.executable, *SYSTEM_PYTHONS):
        account = Account(65534, 65534, python)
        with tempfile.TemporaryDirectory() as home:
            try:
                command = [python, "-c", check]
                environment = account.environment(Path(home))
                subprocess.run(command, check=True, capture_output=True, cwd="/", env=environment, **account.dropping)
            except (OSError, subprocess.CalledProcessError):
                continue
        return account
    raise RuntimeError(
        f"no Python {sys.version_info[0]}.{sys.version_info[1]} that the user nobody may run: {ROOT} and the packages in "
        f"{sysconfig.get_path('purelib')} must be readable for others, and python3 be installed outside of /root"
    )


def current() -> Account:
    """The user of the tests themselves."""
    return Account(os.geteuid(), os.getegid(), sys.executable)


# --- a run and its picture --------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """One entry of a run, all that must come back."""

    kind: str
    mode: int
    size: int
    mtime_ns: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...]
    owner: tuple[int, int]
    twins: tuple[bytes, ...]
    """The other names of the same inode."""


Picture = dict[bytes, Seen]


def large_bytes(seed: int = 7) -> bytes:
    """Bytes of a file that goes to git-lfs, the same every time."""
    return random.Random(seed).randbytes(LARGE)


def build_run(run: Path, account: Account) -> None:
    """Writes the run of the sweeps: every kind of entry a careful tool or a careless one leaves, in 1 MiB."""
    run.mkdir()
    for name, content, mode in [
        (b"config.yaml", b"lr: 0.1\n", 0o644),
        (b"big.bin", large_bytes(), 0o640),
        (b"run.sh", b"#!/bin/sh\r\nexit 0\n", 0o755),
        (b"empty", b"", 0o664),
        (b"already-sealed", b"read only before\n", 0o444),
        (b"na\nme \\ \xff", b"odd name\n", 0o600),
        (b"deep/one/secret", b"s3cret\n", 0o600),
        (b"deep/twin-a", b"one file, two names\n", 0o666),
    ]:
        path = os.path.join(os.fsencode(run), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
    os.link(run / "deep/twin-a", run / "deep/one/twin-b")
    (run / "hollow").mkdir()
    (run / "link").symlink_to("deep/one/secret")
    (run / "dangling").symlink_to("/nonexistent/place")
    with suppress(OSError):  # a file system without user attributes tests the rest
        os.setxattr(run / "config.yaml", "user.note", b"kept")
    for path in [run, *everything(run)]:
        account.own(path)
    (run / "deep").chmod(0o2775)
    (run / "deep/one").chmod(0o750)
    (run / "hollow").chmod(0o700)
    run.chmod(0o755)
    date(run)


def date(run: Path, only: Iterable[Path] | None = None) -> None:
    """Gives every entry, children first, a modification time of its own in the past."""
    paths = [*sorted(everything(run), key=lambda p: len(p.parts), reverse=True), run]
    for number, path in enumerate(paths):
        if only is None or path in only:
            os.utime(path, ns=(DATE + number, DATE + number), follow_symlinks=False)


def everything(top: Path) -> list[Path]:
    """All paths below a directory."""
    found = []
    for directory, names, files in os.walk(top, onerror=_raise):
        found += [Path(directory, name) for name in [*names, *files]]
    return found


def _raise(error: OSError) -> None:
    raise error


def snapshot(run: Path) -> Picture:
    """Names, types, bytes, modes, times, link targets and attributes of every entry, without what gitrun adds."""
    top = os.fsencode(run)
    names: dict[tuple[int, int], list[bytes]] = {}
    found: dict[bytes, os.stat_result] = {b"": os.lstat(top)}
    for directory, directories, files in os.walk(top, onerror=_raise):
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, top)
            if relative in (LOCK_FILE, GIT_LINK) and gitruns_own(path):
                continue
            found[relative] = os.lstat(path)
            names.setdefault((found[relative].st_dev, found[relative].st_ino), []).append(relative)
    return {path: _seen(os.path.join(top, path) if path else top, path, it, names) for path, it in found.items()}


def gitruns_own(path: bytes) -> bool:
    """Whether it is a lock file, or the `.git` file that gitrun makes."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return False
    with open(path, "rb") as file:
        return path.endswith(LOCK_FILE) or file.read(8) == b"gitdir: "


def _seen(path: bytes, relative: bytes, it: os.stat_result, names: dict[tuple[int, int], list[bytes]]) -> Seen:
    content = ""
    if stat.S_ISREG(it.st_mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    elif stat.S_ISLNK(it.st_mode):
        content = os.fsdecode(os.readlink(path))
    xattrs = tuple(
        (n, os.getxattr(path, n, follow_symlinks=False)) for n in sorted(os.listxattr(path, follow_symlinks=False))
    )
    twins = tuple(sorted(set(names.get((it.st_dev, it.st_ino), [])) - {relative}))
    size = it.st_size if stat.S_ISREG(it.st_mode) else 0
    owner = (it.st_uid, it.st_gid)
    return Seen(
        chr(stat.S_IFMT(it.st_mode) >> 12),
        stat.S_IMODE(it.st_mode),
        size,
        it.st_mtime_ns,
        content,
        xattrs,
        owner,
        twins,
    )


DIRECTORY = chr(stat.S_IFDIR >> 12)
REGULAR = chr(stat.S_IFREG >> 12)
SYMLINK = chr(stat.S_IFLNK >> 12)


def sealed(picture: Picture) -> Picture:
    """The picture of the same run while it is locked: no write bits on files and directories."""
    return {
        p: it._replace(mode=it.mode & ~WRITE) if it.kind in (DIRECTORY, REGULAR) else it for p, it in picture.items()
    }


def differences(
    wanted: Picture, actual: Picture, *, modes: bool = True, directory_times: bool = True, root_time: bool = True
) -> list[str]:
    """What differs between two pictures, a line each."""
    told = []
    for path in sorted(wanted.keys() | actual.keys()):
        one, other = wanted.get(path), actual.get(path)
        if one is None or other is None:
            told.append(f"{path!r} {'appeared' if one is None else 'is gone'}")
            continue
        for name in Seen._fields:
            if name == "mode" and not modes:
                continue
            if name == "mtime_ns" and one.kind == DIRECTORY and not (directory_times and (path or root_time)):
                continue
            a, b = getattr(one, name), getattr(other, name)
            if a != b:
                told.append(
                    f"{path!r} {name}: {oct(a)} became {oct(b)}"
                    if name == "mode"
                    else f"{path!r} {name}: {a!r} became {b!r}"
                )
    return told


# --- gitrun under the shim --------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    """Exit code; negative: killed by that signal."""
    out: str
    err: str
    left: int
    """Processes it left behind, which had to be killed."""
    fired: int
    """How many of its calls went wrong."""

    def tell(self) -> str:
        """For messages."""
        return f"exit {self.code}, stdout {self.out[-300:]!r}, stderr {self.err[-600:]!r}"


class Running:
    """A command that was started and not yet waited for."""

    def __init__(self, lab: Lab, pid: int) -> None:
        self.lab, self.pid = lab, pid

    def stopped(self, times: int = 1, timeout: float = 30) -> int | None:
        """Waits until STOP_* stopped a process (for the n-th time); its id, or None when the command ended before."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.lab.shim.fired >= times and _state(self.lab.shim.state.fired_pid) == "T":
                return int(self.lab.shim.state.fired_pid)
            if _state(self.pid) in ("", "Z"):
                return None
            time.sleep(0.001)
        raise TimeoutError("neither stopped nor ended")

    def resume(self) -> None:
        """Lets the stopped process go on."""
        os.kill(self.lab.shim.state.fired_pid, signal.SIGCONT)

    def finish(self) -> Outcome:
        """Waits for the end."""
        return self.lab.finish()


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Lab:
    """A place with one run and its store, and a gitrun that works there with the shim preloaded.

    Commands run one after the other in forks of one server (`server.py`), which saves the start of Python.
    """

    def __init__(self, base: Path, library: Path, account: Account, place: Path | None = None) -> None:
        """`place` is where the run shall lie, a directory that is made; default: below `base`."""
        self.base, self.account, self.library = base, account, library
        base.mkdir(parents=True)
        self.home, self.parent, self.templates = base / "home", place or base / "place", base / "templates"
        for directory in (self.home, self.parent, self.templates):
            directory.mkdir(exist_ok=True)
            account.own(directory)
        self.run = self.parent / "run"
        self.store = self.parent / ".gitrun"
        self.repository = self.store / "run.git"
        self.shim = s.Shim(library, base / "state")
        self._server: subprocess.Popen[bytes] | None = None
        self._pending = 0
        self.originals: dict[str, Picture] = {}

    # running

    def _serve(self) -> subprocess.Popen[bytes]:
        if self._server is None or self._server.poll() is not None:
            environment = {**self.account.environment(self.home), **self.shim.environment}
            command = [self.account.python, str(Path(__file__).with_name("server.py"))]
            self.shim.off()
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self.home,
                env=environment,
                **self.account.dropping,
            )
            self._answer()
        return self._server

    def _answer(self) -> dict[str, Any]:
        assert self._server is not None
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the server of the fault tests ended; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start(self, *arguments: str | Path, limits: dict[str, int] | None = None, **fault: Any) -> Running:
        """Starts `gitrun ARGUMENTS`; `fault` as in `Shim.set`, counting below the place; `limits` as RLIMIT_*."""
        server = self._serve()
        assert server.stdin is not None
        self._end_pending()
        for name in ("out", "err"):
            with open(self.base / name, "wb") as file:
                os.fchmod(file.fileno(), 0o666)
        request = {
            "argv": [os.fspath(a) for a in arguments],
            "cwd": str(self.parent),
            "limits": limits or {},
            "stdin": "/dev/null",
            "stdout": str(self.base / "out"),
            "stderr": str(self.base / "err"),
        }
        fault.setdefault("below", [self.parent])
        self.shim.set(**fault)
        server.stdin.write(json.dumps(request).encode() + b"\n")
        server.stdin.flush()
        self._pending = self._answer()["pid"]
        return Running(self, self._pending)

    def _end_pending(self) -> None:
        """Ends a command that a failed test left behind, so that the next test can use the place."""
        if self._pending:
            for number in (signal.SIGKILL, signal.SIGCONT):
                with suppress(ProcessLookupError):
                    os.killpg(self._pending, number)
            self.finish()

    def finish(self) -> Outcome:
        """The outcome of the command that was started last."""
        answer = self._answer()
        self._pending = 0
        fired = self.shim.fired
        out, err = ((self.base / name).read_bytes().decode("utf-8", "replace") for name in ("out", "err"))
        return Outcome(answer["code"], out, err, answer["left"], fired)

    def gitrun(self, *arguments: str | Path, **options: Any) -> Outcome:
        """Runs `gitrun ARGUMENTS` to its end."""
        return self.start(*arguments, **options).finish()

    def count_calls(self, *arguments: str | Path, klass: int = s.CHANGE, **options: Any) -> list[s.Call]:
        """The calls of a class that a command makes below the place; the command must succeed."""
        outcome = self.gitrun(*arguments, logging=True, **options)
        assert outcome.code == 0, outcome.tell()
        return self.shim.log(klass)

    def close(self) -> None:
        """Ends the server and removes the place."""
        if self._server is not None:
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.close()
            self._server.wait(20)
            self._server.stdout.close()
        self.shim.close()
        remove(self.base)

    # templates

    def clear(self) -> None:
        """An empty place."""
        for path in self.parent.iterdir():
            remove(path)

    def keep(self, name: str) -> None:
        """Remembers the place as it is under a name."""
        self.originals[name] = snapshot(self.run)
        subprocess.run(["cp", "-a", f"{self.parent}/.", self.templates / name], check=True)

    def reset(self, name: str) -> Picture:
        """Makes the place what it was when `name` was kept; returns the picture of its run."""
        if name not in self.originals:
            PREPARE[name](self)
            self.keep(name)
        self.clear()
        subprocess.run(["cp", "-a", f"{self.templates / name}/.", self.parent], check=True)
        return self.originals[name]

    def must(self, *arguments: str | Path) -> Outcome:
        """A step of preparation, which must succeed."""
        outcome = self.gitrun(*arguments)
        assert outcome.code == 0, f"gitrun {' '.join(map(str, arguments))}: {outcome.tell()}"
        return outcome

    def command(self, *arguments: str | Path) -> tuple[list[str | Path], dict[str, Any]]:
        """The same command for `subprocess`, without shim and server: its words and its options."""
        words = [self.account.python, "-m", "gitrun", *arguments]
        return words, {"cwd": self.parent, "env": self.account.environment(self.home), **self.account.dropping}

    def apart(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs `gitrun ARGUMENTS` on its own, perhaps while another command is stopped."""
        words, standard = self.command(*arguments)
        return subprocess.run(
            words, **{"capture_output": True, "text": True, "timeout": 60, "check": False, **standard, **options}
        )

    def state(self) -> str:
        """The state that `status` reports."""
        outcome = self.gitrun("status", "--json", self.run)
        assert outcome.code == 0, f"status: {outcome.tell()}"
        assert "Traceback" not in outcome.err, outcome.err
        return str(json.loads(outcome.out)["state"])


def remove(path: Path) -> None:
    """Removes a path, read-only directories and all."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if os.geteuid() != 0:
        for directory, _, _ in os.walk(path):
            os.chmod(directory, 0o700)
    shutil.rmtree(path)


def _fresh(lab: Lab) -> None:
    lab.clear()
    build_run(lab.run, lab.account)


def _locked(lab: Lab) -> None:
    lab.reset("fresh")
    lab.must("lock", lab.run)


def _unlocked(lab: Lab) -> None:
    lab.reset("locked")
    lab.must("unlock", lab.run)


def _changed(lab: Lab) -> None:
    lab.reset("unlocked")
    (lab.run / "config.yaml").write_text("lr: 0.2\n")
    (lab.run / "big.bin").write_bytes(large_bytes(8))
    (lab.run / "empty").unlink()
    (lab.run / "new").write_text("new\n")
    lab.account.own(lab.run / "new")
    date(lab.run)


@contextmanager
def writable(*directories: Path) -> Iterator[None]:
    """Makes directories writable for a block, as somebody would who meddles with a locked run; times stay."""
    before = [os.stat(d) for d in directories]
    for directory, it in zip(directories, before, strict=True):
        directory.chmod(stat.S_IMODE(it.st_mode) | 0o200)
    yield
    for directory, it in reversed(list(zip(directories, before, strict=True))):
        directory.chmod(stat.S_IMODE(it.st_mode))
        os.utime(directory, ns=(it.st_atime_ns, it.st_mtime_ns))


def _damaged(lab: Lab) -> None:
    lab.reset("locked")
    run = lab.run
    with writable(run, run / "deep", run / "deep/one"):
        for name, content in [("config.yaml", b"tampered\n"), ("big.bin", large_bytes(9))]:
            mode = stat.S_IMODE((run / name).stat().st_mode)
            (run / name).chmod(0o600)
            (run / name).write_bytes(content)
            (run / name).chmod(mode)
        (run / "deep/one/secret").unlink()
        (run / "link").unlink()
        (run / "link").symlink_to("elsewhere")
        (run / "hollow").rmdir()
        (run / "run.sh").unlink()
        (run / "run.sh").mkdir()
        for path in (run / "link", run / "run.sh"):
            lab.account.own(path)


PREPARE = {"fresh": _fresh, "locked": _locked, "unlocked": _unlocked, "changed": _changed, "damaged": _damaged}
"""States that a place can be reset to, and how each is made."""


# --- what must hold ---------------------------------------------------------------------------------------------------


def git(lab: Lab, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Stock git on the run repository."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(lab.home), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    command = ["git", f"--git-dir={lab.repository}", *arguments]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, check=check)


def check_locked(lab: Lab, original: Picture, *, protected: bool = True) -> list[str]:
    """Everything that exit 0 of `lock` promises, proved without gitrun but for `status` and `verify`.

    Without `protected` the file system refused to change modes, and lock said so.
    """
    wrong = differences(sealed(original), snapshot(lab.run), root_time=False, modes=protected)
    if not (lab.run / ".gitrun.lock").is_file():
        return [*wrong, "there is no lock file"]
    listed = subprocess.run(
        ["sha256sum", "--strict", "--quiet", "-c", ".gitrun.lock"], check=False, cwd=lab.run, capture_output=True
    )
    if listed.returncode:
        wrong.append(f"sha256sum -c: {listed.stderr.decode(errors='replace')}")
    wrong += check_repository(lab)
    wrong += check_tree(lab, original)
    wrong += leftovers(lab)
    if (state := lab.state()) != "locked":
        wrong.append(f"status says {state!r} instead of locked")
    verdict = lab.gitrun("verify", *(["--strict"] if protected else []), lab.run)
    if verdict.code:
        wrong.append(f"verify --strict: {verdict.tell()}")
    return wrong


def check_repository(lab: Lab) -> list[str]:
    """The tag leads to the newest commit, and stock git finds nothing wrong."""
    refs = git(lab, "rev-parse", "refs/tags/locked^{commit}", "refs/heads/main", check=False)
    commits = refs.stdout.split()
    wrong = (
        [] if refs.returncode == 0 and len(set(commits)) == 1 else [f"tag and branch: {refs.stdout!r} {refs.stderr!r}"]
    )
    kind = git(lab, "cat-file", "-t", "refs/tags/locked", check=False).stdout.strip()
    if kind != b"tag":
        wrong.append(f"refs/tags/locked is no annotated tag but {kind!r}")
    return wrong + check_objects(lab)


def check_objects(lab: Lab) -> list[str]:
    """Every object re-hashes: git's by git, the large ones here."""
    wrong = []
    fsck = git(lab, "fsck", "--strict", "--no-dangling", check=False)
    if fsck.returncode or b"error" in fsck.stderr or b"missing" in fsck.stdout or b"warning" in fsck.stderr:
        wrong.append(f"git fsck --strict: {fsck.returncode} {fsck.stdout!r} {fsck.stderr!r}")
    for path in large_objects(lab.repository) + large_objects(lab.store):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            wrong.append(f"large object {path} is not what its name says")
        if path.parent.name != path.name[2:4] or path.parent.parent.name != path.name[:2]:
            wrong.append(f"large object {path} lies in the wrong directory")
        if path.stat().st_mode & WRITE:
            wrong.append(f"large object {path} is writable")
    return wrong


def large_objects(top: Path) -> list[Path]:
    """The files below `lfs/objects`."""
    objects = top / "lfs/objects"
    return [p for p in everything(objects) if p.is_file()] if objects.is_dir() else []


def check_tree(lab: Lab, original: Picture) -> list[str]:
    """The tree of the tag holds every file and symlink with its bytes, and nothing else."""
    listing = git(lab, "ls-tree", "-r", "-z", "--full-tree", "refs/tags/locked^{commit}", check=False)
    tree = {}
    for line in listing.stdout.split(b"\0")[:-1]:
        about, path = line.split(b"\t", 1)
        tree[path] = about.decode().split()
    wanted = {p for p, it in original.items() if it.kind in (REGULAR, SYMLINK)}
    extra = {b".gitrun.lock", b".gitattributes"}
    wrong = [f"{p!r} is not in the tree" for p in wanted - tree.keys()]
    wrong += [f"{p!r} is in the tree too much" for p in tree.keys() - wanted - extra]
    wrong += [f"{p!r} is not in the tree" for p in extra - tree.keys()]
    paths = sorted(wanted & tree.keys())
    for path, blob in zip(paths, _blobs(lab, [tree[p][2] for p in paths]), strict=True):
        wrong += _check_blob(lab, path, blob, tree[path][0], original[path])
    return wrong


def _blobs(lab: Lab, ids: list[str]) -> list[bytes]:
    command = ["git", f"--git-dir={lab.repository}", "cat-file", "--batch"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(lab.home), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        command, input="\n".join(ids).encode() + b"\n", capture_output=True, env=environment, cwd="/", check=True
    )
    rest, blobs = done.stdout, []
    for _ in ids:
        head, rest = rest.split(b"\n", 1)
        size = int(head.split()[2])
        blobs.append(rest[:size])
        rest = rest[size + 1 :]
    return blobs


def _check_blob(lab: Lab, path: bytes, blob: bytes, mode: str, entry: Seen) -> list[str]:
    if entry.kind != REGULAR:
        return (
            []
            if (mode, os.fsdecode(blob)) == ("120000", entry.content)
            else [f"{path!r}: symlink stored as {mode} {blob!r}"]
        )
    executable = "100755" if entry.mode & 0o100 else "100644"
    wrong = [] if mode == executable else [f"{path!r}: mode {mode} in the tree"]
    digest = hashlib.sha256(blob).hexdigest()
    if entry.size >= 1 << 20:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry.content}\nsize {entry.size}\n"
        oid = entry.content
        for top in (lab.repository, lab.store):
            stored = top / "lfs/objects" / oid[:2] / oid[2:4] / oid
            if not stored.is_file():
                wrong.append(f"{path!r}: {stored} is missing")
        return (
            wrong if blob == pointer.encode() else [*wrong, f"{path!r}: stored as {blob[:200]!r} and not as a pointer"]
        )
    return wrong if digest == entry.content else [*wrong, f"{path!r}: stored with other bytes"]


LITTER = re.compile(rb"(\.|^)(tmp|temp|spool|partial|incoming)|\.lock$|journal|~$", re.IGNORECASE)


def leftovers(lab: Lab) -> list[str]:
    """Unfinished things in the store, or beside or inside the run."""
    found = []
    top = os.fsencode(lab.parent)
    for directory, directories, files in os.walk(top, onerror=_raise):
        inside = directory == os.fsencode(lab.run) or directory.startswith(os.fsencode(lab.run) + b"/")
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            if inside and name == LOCK_FILE:
                continue
            if LITTER.search(name):
                found.append(f"left over: {os.path.relpath(path, top)!r}")
    return found + [f"left over beside the run: {n!r}" for n in set(os.listdir(lab.parent)) - {"run", ".gitrun"}]


def check_unlocked(lab: Lab, original: Picture, *, times: bool = True) -> list[str]:
    """The run is as its tool wrote it, with its own permission bits, and nothing of gitrun's lies in it."""
    wrong = differences(original, snapshot(lab.run), root_time=False, directory_times=times)
    for name in (".gitrun.lock", ".git"):
        if os.path.lexists(lab.run / name):
            wrong.append(f"{name} is still there")
    if lab.repository.exists():
        if git(lab, "rev-parse", "--verify", "--quiet", "refs/tags/locked", check=False).returncode == 0:
            wrong.append("the tag is still there")
        wrong += check_objects(lab)
    wrong += leftovers(lab)
    if (state := lab.state()) != "unlocked":
        wrong.append(f"status says {state!r} instead of unlocked")
    return wrong


def check_message(outcome: Outcome, codes: Sequence[int] = (8,)) -> list[str]:
    """A failure is told in one line, perhaps a hint, never a traceback."""
    wrong = [] if outcome.code in codes else [f"exit {outcome.code} is none of {list(codes)}"]
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    problems = [line for line in lines if not line.lstrip().startswith("hint:")]
    if "Traceback" in outcome.err or 'File "' in outcome.err or len(problems) != 1 or len(lines) > 3:
        wrong.append("the failure is not told in one line")
    return wrong + ([outcome.tell()] if wrong else [])


def check_ended(outcome: Outcome) -> list[str]:
    """Nothing that the command started still runs."""
    return [f"{outcome.left} processes were left behind"] if outcome.left else []
