#!/usr/bin/env python3
"""Measure gitrun and its peers side by side, and say which of the project's demands on speed and memory hold.

    python scripts/bench.py                                everything: takes about 20 minutes and 30 GB of disk
    python scripts/bench.py --only lock-many,verify-many   some cases; --list names them
    python scripts/bench.py --markdown > figures.md        tables for a page of the documentation

The commands of one case take turns (A B A B), each as a whole process with start-up, and each begins with the workload
in the page cache, all writes done and a pause behind it. Medians count; memory is the highest peak seen. gitrun's lock
syncs what it writes before it ends, the peers leave that to the kernel: the comparison is against gitrun.
Ends with exit code 0 if every demand holds, 1 if one does not or could not be judged.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bench_contenders as who
from bench_measure import Sample, StepFailed, measure, own_peak
from bench_report import (
    FAIL,
    MISSING,
    Bound,
    Outcome,
    Row,
    as_json,
    at_most,
    faster_than,
    judge,
    markdown,
    text_of_case,
    text_of_summary,
    under_memory,
    under_seconds,
)

GB = 10**9
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """Contenders on one workload, and what is demanded of the first, which is gitrun."""

    name: str
    title: str
    workload: str
    contenders: tuple[who.Factory, ...]
    bounds: tuple[Bound, ...] = ()
    runs: int = 5
    warm_up: int = 1
    """Rounds before those that count."""
    pause: float = 1.0
    space: float = 0.1
    """Free disk that it needs, in GB."""
    watched: bool = False
    """Memory is what counts: look at all processes all the while, and never mind the page cache."""


MANY = "10,000 files of 1-15 KB, 79 MB"
HUNDRED = "100,000 files of 1-7 KB, 400 MB"
BIG = "4 files, 3.75 GiB, and 50 small ones"
MIXED = "2,000 small files, 40 of 5-100 MB"
MEMORY = (under_memory(400_000_000),)
LOCK_MANY = (faster_than("git", "git init + add + commit", 4), faster_than("borg", "borg create"))
LOCK_BIG = (at_most(1, "cp", "cp, then SHA-256 of the copies"),)
VERIFY_BIG = (faster_than("sha256sum", "sha256sum -c", 15), at_most(1.4, "b3sum", "b3sum --check"))
VERIFY_MANY = (faster_than("sha256sum", "sha256sum -c"),)
LOCKERS = (who.lock_gitrun, who.lock_git, who.lock_borg)
FORK_BIG = (at_most(1, "cp", "cp -a, then sync"),)
PUSH_MIXED = (at_most(1.2, "cp", "cp, sync, SHA-256"),)
CLONE_MIXED = (at_most(1.3, "git", "git clone, git lfs pull, sync"),)
RELOCKERS = (who.relock_gitrun, who.relock_git, who.relock_borg)
VERIFIERS = (who.verify_gitrun, who.verify_sha256sum, who.verify_b3sum)

CASES = (
    Case("help", "start-up", "", (who.help_gitrun, who.start_python), (under_seconds(0.12),), runs=15, pause=0.1),
    Case("lock-small", "62 files, 3 MB", "small", LOCKERS, (under_seconds(0.3),), runs=11, pause=0.2),
    Case("verify-small", "62 files, 3 MB", "small", VERIFIERS, (under_seconds(0.2),), runs=11, pause=0.1),
    Case("lock-many", MANY, "many", LOCKERS, LOCK_MANY, space=1),
    Case("verify-many", MANY, "many", VERIFIERS, VERIFY_MANY, runs=7, pause=0.5, space=1),
    Case("relock-many", f"{MANY}, 1 % of them changed", "many", RELOCKERS, runs=3, warm_up=0, space=1),
    Case("lock-big", BIG, "big", (who.lock_gitrun, who.lock_cp), LOCK_BIG, runs=3, warm_up=0, pause=4, space=14),
    Case("verify-big", BIG, "big", VERIFIERS, VERIFY_BIG, runs=3, warm_up=0, space=14),
    Case("lock-mixed", MIXED, "mixed", (who.lock_gitrun, who.lock_cp), runs=3, warm_up=0, pause=4, space=6),
    Case("verify-mixed", MIXED, "mixed", VERIFIERS, runs=3, warm_up=0, space=6),
    Case("diff-many", f"{MANY}, 1 % changed", "many", (who.diff_gitrun,), (under_seconds(0.5),), pause=0.2, space=1),
    Case("fork-big", BIG, "big", (who.fork_gitrun, who.copy_run), FORK_BIG, runs=3, warm_up=0, pause=4, space=20),
    Case(
        "push-mixed",
        MIXED,
        "mixed",
        (who.push_gitrun, who.copy_and_hash),
        PUSH_MIXED,
        runs=3,
        warm_up=0,
        pause=4,
        space=8,
    ),
    Case("push-again", MIXED, "mixed", (who.push_again_gitrun,), (under_seconds(0.5),), pause=0.2, space=6),
    Case(
        "clone-mixed",
        MIXED,
        "mixed",
        (who.clone_gitrun, who.clone_git),
        CLONE_MIXED,
        runs=3,
        warm_up=0,
        pause=4,
        space=12,
    ),
    Case("status-1000", "1,000 locked runs", "runs", (who.status_gitrun,), (under_seconds(2),), pause=0.5, space=1),
    Case("lock-100k", HUNDRED, "many100k", (who.lock_gitrun,), MEMORY, runs=1, warm_up=0, space=3, watched=True),
    Case("verify-100k", HUNDRED, "many100k", (who.verify_gitrun,), MEMORY, runs=1, warm_up=0, space=3, watched=True),
    Case("lock-10gb", "1 file, 10 GB", "sparse", (who.lock_gitrun,), MEMORY, runs=1, warm_up=0, space=24, watched=True),
    Case(
        "verify-10gb",
        "1 file, 10 GB",
        "sparse",
        (who.verify_gitrun,),
        MEMORY,
        runs=1,
        warm_up=0,
        space=24,
        watched=True,
    ),
)


@dataclass(frozen=True)
class Options:
    cases: tuple[Case, ...]
    gitrun: tuple[str, ...]
    dir: Path
    runs: int
    scale: float
    keep: bool
    allow_missing: bool
    json: Path | None
    markdown: bool


# --- one case ---------------------------------------------------------------------------------------------------------


def run_case(case: Case, area: who.Area, runs: int) -> Outcome:
    """Measure one case; what goes wrong in it is part of the outcome."""
    contenders = [make(area) for make in case.contenders]
    missing = {one.label: names for one in contenders if (names := one.missing())}
    present = [one for one in contenders if one.label not in missing]
    rows: tuple[Row, ...] = ()
    error = ""
    try:
        rows = _rounds(case, area, present, runs or case.runs)
    except (StepFailed, OSError) as failure:
        error = str(failure)
    judgements = tuple(judge(bound, rows, error) for bound in case.bounds)
    return Outcome(case.name, case.title, rows, judgements, missing, error)


def _rounds(case: Case, area: who.Area, contenders: Sequence[who.Contender], runs: int) -> tuple[Row, ...]:
    _demand_space(area.place, case.space)
    samples: dict[str, list[Sample]] = {one.key: [] for one in contenders}
    for one in contenders:
        one.setup()
    for _ in range(case.warm_up + runs):
        for one in contenders:
            samples[one.key].append(_sample(case, area, one))
    return tuple(Row(one.key, one.label, tuple(samples[one.key][case.warm_up :])) for one in contenders)


def _sample(case: Case, area: who.Area, one: who.Contender) -> Sample:
    one.prepare()
    area.settle(case.pause, warm=bool(case.workload) and not case.watched)
    sample = measure(one.command, cwd=one.cwd, env=area.env, scratch=area.side, watched=case.watched)
    one.demand_done(sample)
    return sample


def _demand_space(place: Path, gigabytes: float) -> None:
    free = shutil.disk_usage(place).free
    if free < gigabytes * GB:
        raise StepFailed(f"needs {gigabytes:g} GB of free disk, has {free / GB:.1f} GB")


# --- all cases --------------------------------------------------------------------------------------------------------


def run_cases(options: Options, top: Path) -> Iterator[Outcome]:
    """Measure the cases one by one; a workload is made once for neighbours that share it, and removed after them."""
    environment = clean_environment(top / "home", options.gitrun)
    area: who.Area | None = None
    for i, case in enumerate(options.cases):
        if area is None:
            area = who.Area(top / f"work-{case.name}", options.gitrun, environment)
            say(f"{case.name}: making the workload")
            area.make(case.workload, options.scale)
        say(f"{case.name}: measuring")
        yield run_case(case, area, options.runs)
        if case.workload not in [after.workload for after in options.cases[i + 1 : i + 2]]:
            if not options.keep:
                who.remove(area.place)
            area = None


def clean_environment(home: Path, gitrun: Sequence[str]) -> dict[str, str]:
    """The user's environment without what would change the measured programs: their settings, another home."""
    dropped = ("GIT", "BORG_", "GUILD_", "XDG_", "LC_", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Benchmark\n\temail = benchmark@example.org\n")
    env |= {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    env["PYTHONUSERBASE"] = site.getuserbase()
    if "-m" in gitrun:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return env


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


# --- the machine ------------------------------------------------------------------------------------------------------


def machine(options: Options) -> dict[str, str]:
    """What the figures depend on, for people."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    facts = {
        "machine": f"{_processor()}, {cores} cores, {pages / 2**30:.0f} GiB, {_file_system(options.dir)}",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "peers": ", ".join(_version(*command) for command in PEER_VERSIONS),
        "load": f"{os.getloadavg()[0]:.2f} before the start",
        "sha256sum": "with libcrypto" if _links_libcrypto() else "without libcrypto (like Debian 12's)",
    }
    return facts if options.scale == 1 else {**facts, "scale": f"{options.scale:g}: the verdicts mean nothing"}


PEER_VERSIONS = (
    ("git", "--version"),
    ("borg", "--version"),
    ("sha256sum", "--version"),
    ("openssl", "version"),
    ("b3sum", "--version"),
)


def warn(options: Options) -> None:
    """Say what would make the figures worthless; measure all the same."""
    if os.getloadavg()[0] > 0.5:
        say(f"load {os.getloadavg()[0]:.2f}: something else is busy here, and commands with several threads lose most")
    if _file_system(options.dir) == "tmpfs":
        say(f"{options.dir} is in memory: use --dir to name a place on a disk")


def _version(*command: str) -> str:
    first = _output(*command).splitlines()[:1]
    return " ".join(first[0].split()[:4]) if first else f"no {command[0]}"


def _links_libcrypto() -> bool:
    return "libcrypto" in _output("ldd", shutil.which("sha256sum") or "")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(place: Path) -> str:
    return _output("df", "--output=fstype", str(place)).rpartition("Type\n")[2].strip()


def _output(*command: str) -> str:
    """What a command says; nothing where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


# --- the command line -------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="CASE,…", help="measure these cases alone")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--gitrun", metavar="PATH", help="the gitrun to measure; default: the one of this Python")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="runs per command; default: 1 to 15, by case")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the workloads, to try the benchmark itself")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where to work; not a tmpfs")
    parser.add_argument("--keep", action="store_true", help="leave the workloads and stores behind")
    parser.add_argument("--allow-missing", action="store_true", help="a peer that is not installed is no failure")
    parser.add_argument("--markdown", action="store_true", help="print the report as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to FILE")
    args = parser.parse_args(arguments)
    if args.list:
        print("\n".join(f"{case.name:<14}{case.title}" for case in CASES))
        parser.exit()
    return Options(
        cases=_chosen(parser, args.only),
        gitrun=(os.path.abspath(args.gitrun),) if args.gitrun else default_gitrun(),
        dir=args.dir.resolve(),
        runs=args.runs,
        scale=args.scale,
        keep=args.keep,
        allow_missing=args.allow_missing,
        json=args.json,
        markdown=args.markdown,
    )


def _chosen(parser: argparse.ArgumentParser, only: str | None) -> tuple[Case, ...]:
    names = only.split(",") if only else [case.name for case in CASES]
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (--list names them)")
    return tuple(case for case in CASES if case.name in names)


def default_gitrun() -> tuple[str, ...]:
    """The console script beside this Python; without one, the package of this checkout."""
    script = Path(sys.executable).with_name("gitrun")
    return (str(script),) if script.exists() else (sys.executable, "-m", "gitrun")


def report(options: Options, facts: dict[str, str], outcomes: Sequence[Outcome]) -> None:
    if options.markdown:
        print(markdown(facts, outcomes), end="")
    else:
        print(text_of_summary(outcomes))
        print(f"No peak below {own_peak() / 1e6:.0f} MB can be seen: every command begins as a copy of this process.")
    if options.json:
        options.json.write_text(json.dumps(as_json(facts, outcomes), indent=1) + "\n")


def holds(outcomes: Sequence[Outcome], allow_missing: bool) -> bool:
    """Whether every case could be measured and every demand is met."""
    bad = {FAIL} if allow_missing else {FAIL, MISSING}
    unmet = any(found.verdict in bad for outcome in outcomes for found in outcome.judgements)
    absent = any(outcome.missing for outcome in outcomes) and not allow_missing
    return not unmet and not absent and not any(outcome.error for outcome in outcomes)


def main() -> int:
    options = parse()
    facts = machine(options)
    warn(options)
    outcomes: list[Outcome] = []
    top = Path(tempfile.mkdtemp(prefix="gitrun-bench-", dir=options.dir))
    try:
        if not options.markdown:
            print("\n".join(f"{name}: {value}" for name, value in facts.items()), end="\n\n", flush=True)
        for outcome in run_cases(options, top):
            outcomes.append(outcome)
            print(text_of_case(outcome), file=sys.stderr if options.markdown else sys.stdout, flush=True)
        report(options, facts, outcomes)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        say(f"left behind: {top}") if options.keep else who.remove(top)
    return 0 if holds(outcomes, options.allow_missing) else 1


if __name__ == "__main__":
    sys.exit(main())
