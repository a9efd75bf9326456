"""What the benchmark runs: gitrun and its peers, each with what must be done before its clock starts."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import file_digest
from pathlib import Path

import bench_measure
import workloads

RUNS_AT_ONCE = 50
"""Runs given to one `gitrun lock` where many are prepared."""


@dataclass(frozen=True)
class Area:
    """A directory with one workload, and room beside it for what the contenders write."""

    place: Path
    gitrun: tuple[str, ...]
    environment: Mapping[str, str]
    rounds: Iterator[int] = field(default_factory=itertools.count)

    @property
    def run(self) -> Path:
        return self.place / "runs" / "run"

    @property
    def lock_file(self) -> Path:
        return self.run / ".gitrun.lock"

    @property
    def side(self) -> Path:
        return self.place / "side"

    @property
    def env(self) -> dict[str, str]:
        """The environment of every command: borg's caches go the way of its repository."""
        return {**self.environment, "BORG_BASE_DIR": str(self.side / "borg-base")}

    def make(self, workload: str, scale: float) -> None:
        """Make the workload, in a process of its own: the memory it takes would show in every measurement."""
        self.run.parent.mkdir(parents=True)
        self.side.mkdir()
        if workload:
            command = (sys.executable, workloads.__file__, "make", workload, str(self.run), "--scale", str(scale))
            self.call(*command)

    def call(self, *command: str, cwd: Path | None = None) -> None:
        bench_measure.run(command, cwd=cwd or self.place, env=self.env)

    def reset(self) -> None:
        """Take away all that a contender has left, and keep the workload alone."""
        if self.lock_file.exists():
            self.call(*self.gitrun, "unlock", str(self.run))
        for entry in [*self.place.iterdir(), *self.run.parent.iterdir()]:
            if entry not in (self.run.parent, self.run):
                remove(entry)
        remove(self.run / ".git")
        self.side.mkdir()

    def settle(self, pause: float, *, warm: bool) -> None:
        """The same start for everyone: the workload in the page cache, nothing left to write, and a pause.

        Freshly freed page cache is cheap to take again, and without the pause every second command would gain by it.
        """
        if warm:
            for path in self.files():
                _read(self.run / path)
        os.sync()
        time.sleep(pause)

    def files(self) -> list[str]:
        """Names of the workload's files, from the run on: neither gitrun's nor git's."""
        found = [os.path.join(parent, name) for parent, _, names in os.walk(self.run) for name in names]
        names = sorted(os.path.relpath(path, self.run) for path in found)
        return [name for name in names if name.split(os.sep)[0] not in (".git", ".gitrun.lock")]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """One command to measure. `setup` runs once for a case, `prepare` before each run; neither is measured."""

    key: str
    label: str
    command: tuple[str, ...]
    cwd: Path
    programs: tuple[str, ...] = ()
    setup: Callable[[], None] = _nothing
    prepare: Callable[[], None] = _nothing
    least_lines: int = 0
    """Fewer lines on stdout mean that the command did not do what it is measured for."""
    proof: Path | None = None
    """So does the absence of this file afterwards."""

    def missing(self) -> list[str]:
        return [program for program in self.programs if not shutil.which(program)]

    def demand_done(self, sample: bench_measure.Sample) -> None:
        """Raises StepFailed where the command ended well and yet did nothing."""
        if sample.lines < self.least_lines:
            found = f"{sample.lines} lines on stdout, expected at least {self.least_lines}"
            raise bench_measure.StepFailed(f"{self.label}: {found}")
        if self.proof and not self.proof.exists():
            raise bench_measure.StepFailed(f"{self.label}: left no {self.proof.name}")


Factory = Callable[[Area], Contender]


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is below it, write-protected or not; nothing there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        for parent, _, _ in os.walk(path):
            os.chmod(parent, 0o700)
        shutil.rmtree(path)


def _read(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


# --- start-up ---------------------------------------------------------------------------------------------------------


def help_gitrun(area: Area) -> Contender:
    return Contender("gitrun", "gitrun --help", (*area.gitrun, "--help"), area.place, least_lines=5)


def start_python(area: Area) -> Contender:
    return Contender("python", "python -c pass", (sys.executable, "-c", "pass"), area.place)


# --- lock -------------------------------------------------------------------------------------------------------------

GIT_FIRST = ("sh", "-c", "git init -q && git add -A && git commit -q -m first")
GIT_AGAIN = ("sh", "-c", "git add -A && git commit -q -m again")
CP_AND_HASH = 'cp -r . "$0" && find "$0" -type f -exec openssl dgst -sha256 {} +'


def lock_gitrun(area: Area) -> Contender:
    return _gitrun_lock(area, area.reset)


def lock_git(area: Area) -> Contender:
    return Contender("git", "git add + commit", GIT_FIRST, area.run, ("git",), prepare=area.reset)


def lock_borg(area: Area) -> Contender:
    command = _borg_create(area, "first")
    return Contender("borg", "borg create", command, area.run, ("borg",), prepare=partial(_borg_init, area))


def lock_cp(area: Area) -> Contender:
    command = ("sh", "-c", CP_AND_HASH, str(area.side / "copy"))
    return Contender("cp", "cp, then SHA-256", command, area.run, ("openssl",), prepare=area.reset)


def _gitrun_lock(area: Area, prepare: Callable[[], None]) -> Contender:
    command = (*area.gitrun, "lock", str(area.run))
    return Contender("gitrun", "gitrun lock", command, area.place, prepare=prepare, proof=area.lock_file)


def _borg_create(area: Area, archive: str) -> tuple[str, ...]:
    return ("borg", "create", f"{area.side / 'borg'}::{archive}", ".")


def _borg_init(area: Area) -> None:
    area.reset()
    area.call("borg", "init", "-e", "none", str(area.side / "borg"))


# --- lock again, after 1 % of the files changed -----------------------------------------------------------------------


def relock_gitrun(area: Area) -> Contender:
    def prepare() -> None:
        area.reset()
        area.call(*area.gitrun, "lock", str(area.run))
        area.call(*area.gitrun, "unlock", str(area.run))
        _change_some(area)

    return _gitrun_lock(area, prepare)


def relock_git(area: Area) -> Contender:
    def prepare() -> None:
        area.reset()
        area.call(*GIT_FIRST, cwd=area.run)
        _change_some(area)

    return Contender("git", "git add + commit", GIT_AGAIN, area.run, ("git",), prepare=prepare)


def relock_borg(area: Area) -> Contender:
    def prepare() -> None:
        _borg_init(area)
        area.call(*_borg_create(area, "first"), cwd=area.run)
        _change_some(area)

    return Contender("borg", "borg create", _borg_create(area, "again"), area.run, ("borg",), prepare=prepare)


def _change_some(area: Area) -> None:
    """Change other bytes each time: a change made twice is none."""
    area.call(sys.executable, workloads.__file__, "mutate", str(area.run), "--seed", str(next(area.rounds)))


# --- verify -----------------------------------------------------------------------------------------------------------


def verify_gitrun(area: Area) -> Contender:
    def setup() -> None:
        area.reset()
        area.call(*area.gitrun, "lock", str(area.run))

    command = (*area.gitrun, "verify", str(area.run))
    return Contender("gitrun", "gitrun verify", command, area.place, setup=setup, proof=area.lock_file)


def verify_sha256sum(area: Area) -> Contender:
    sums = area.side / "sha256"
    command = ("sha256sum", "--quiet", "-c", str(sums))
    return Contender("sha256sum", "sha256sum -c", command, area.run, ("sha256sum",), partial(_write_sums, area, sums))


def verify_b3sum(area: Area) -> Contender:
    sums = str(area.side / "b3")
    command = ("b3sum", "--quiet", "--check", sums)

    def setup() -> None:
        names = area.side / "names"
        names.write_text("".join(f"{name}\0" for name in area.files()))
        area.call("sh", "-c", 'xargs -0 b3sum < "$0" > "$1"', str(names), sums, cwd=area.run)

    return Contender("b3sum", "b3sum --check", command, area.run, ("b3sum",), setup)


def _write_sums(area: Area, sums: Path) -> None:
    with sums.open("w") as out:
        for name in area.files():
            with (area.run / name).open("rb") as file:
                out.write(f"{file_digest(file, 'sha256').hexdigest()}  {name}\n")


# --- diff, fork -------------------------------------------------------------------------------------------------------


def diff_gitrun(area: Area) -> Contender:
    def setup() -> None:
        relock_gitrun(area).prepare()
        area.call(*area.gitrun, "lock", str(area.run))

    command = (*area.gitrun, "diff", "--stat", str(area.run), "~1", "HEAD")
    return Contender("gitrun", "gitrun diff --stat", command, area.place, setup=setup, least_lines=100)


def fork_gitrun(area: Area) -> Contender:
    fork = area.side / "fork"

    def setup() -> None:
        area.reset()
        area.call(*area.gitrun, "lock", str(area.run))

    def prepare() -> None:
        remove(fork)
        remove(area.side / ".gitrun")

    command = (*area.gitrun, "fork", str(area.run), str(fork))
    return Contender("gitrun", "gitrun fork", command, area.place, setup=setup, prepare=prepare)


def copy_run(area: Area) -> Contender:
    """Copies, and syncs as a fork does."""
    copy = area.side / "copy"
    command = ("sh", "-c", 'cp -a "$0" "$1" && find "$1" -type f -exec sync {} +', str(area.run), str(copy))
    return Contender("cp", "cp -a, then sync", command, area.place, prepare=partial(remove, copy))


# --- push, clone ------------------------------------------------------------------------------------------------------


def _remote(area: Area) -> Path:
    return area.side / "remote.git"


def _push(area: Area) -> tuple[str, ...]:
    return (*area.gitrun, "push", str(area.run), str(_remote(area)))


def push_gitrun(area: Area) -> Contender:
    def setup() -> None:
        area.reset()
        area.call(*area.gitrun, "lock", str(area.run))

    return Contender(
        "gitrun", "gitrun push", _push(area), area.place, setup=setup, prepare=partial(remove, _remote(area))
    )


def push_again_gitrun(area: Area) -> Contender:
    def setup() -> None:
        area.reset()
        area.call(*area.gitrun, "lock", str(area.run))
        area.call(*_push(area))

    return Contender("gitrun", "gitrun push", _push(area), area.place, setup=setup)


def copy_and_hash(area: Area) -> Contender:
    """Copies, syncs as a push does, and hashes the copies with OpenSSL's SHA-256."""
    copy = area.side / "copy"
    script = 'cp -r "$0" "$1" && find "$1" -type f -exec sync {} + && find "$1" -type f -exec openssl dgst -sha256 {} +'
    command = ("sh", "-c", script, str(area.run), str(copy))
    return Contender("cp", "cp, sync, SHA-256", command, area.place, ("openssl",), prepare=partial(remove, copy))


def clone_gitrun(area: Area) -> Contender:
    there = area.side / "there"

    def setup() -> None:
        push_again_gitrun(area).setup()

    def prepare() -> None:
        remove(there)
        there.mkdir()

    command = (*area.gitrun, "clone", str(_remote(area)), "run-", str(there / "run"))
    return Contender("gitrun", "gitrun clone", command, area.place, setup=setup, prepare=prepare)


def clone_git(area: Area) -> Contender:
    clone = area.side / "clone"
    script = (
        'export GIT_LFS_SKIP_SMUDGE=1; git clone -q "$0" "$1" --no-checkout && cd "$1" && git lfs install --local >/dev/null'
        " && git checkout -q $(git for-each-ref --format='%(refname:short)' refs/remotes/origin/runs) && git lfs pull"
        " && find . -type f -exec sync {} +"
    )
    command = ("sh", "-c", script, str(_remote(area)), str(clone))
    return Contender(
        "git", "git clone, git lfs pull, sync", command, area.place, ("git", "git-lfs"), prepare=partial(remove, clone)
    )


# --- status -----------------------------------------------------------------------------------------------------------


def status_gitrun(area: Area) -> Contender:
    runs = sorted(str(path) for path in area.run.glob("run-*"))

    def setup() -> None:
        for i in range(0, len(runs), RUNS_AT_ONCE):
            area.call(*area.gitrun, "lock", *runs[i : i + RUNS_AT_ONCE])

    command = (*area.gitrun, "status", "--all", str(area.run))
    return Contender("gitrun", "gitrun status --all", command, area.place, setup=setup, least_lines=len(runs))
