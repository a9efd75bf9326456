"""Somebody changes the run while gitrun works on it: refused or consistent, and nothing outside is ever touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import shim as s
from .harness import (
    DATE,
    Lab,
    Outcome,
    Picture,
    build_run,
    check_ended,
    check_locked,
    check_message,
    check_unlocked,
    differences,
    git,
    remove,
    snapshot,
)
from .sweep import ALL, LOCK, RELOCK, REPORT, RESTORE, UNLOCK, Scenario, choose, goal

# --- a directory is swapped for a symlink -------------------------------------------------------------------------------


def build_victim(lab: Lab) -> Path:
    """A directory outside of the run, with the names of the run's `deep` and bits that gitrun would love to take."""
    victim = lab.base / "victim"
    remove(victim)
    (victim / "one").mkdir(parents=True)
    for name in ("twin-a", "one/secret", "one/twin-b", "bystander"):
        (victim / name).write_text(f"the victim's {name}\n")
        (victim / name).chmod(0o666)
    (victim / "one").chmod(0o777)
    victim.chmod(0o777)
    for path in [victim, victim / "one", *victim.rglob("*")]:
        lab.account.own(path)
        os.utime(path, ns=(DATE, DATE), follow_symlinks=False)
    return victim


SWAPS = [(LOCK, s.CHANGE), (LOCK, s.READ), (UNLOCK, s.CHANGE), (UNLOCK, s.READ), (RESTORE, s.CHANGE), (RESTORE, s.READ)]


@pytest.mark.parametrize(("scenario", "klass"), SWAPS, ids=lambda v: v.name if isinstance(v, Scenario) else "cr"[v])
def test_directory_becomes_a_symlink(lab: Lab, scenario: Scenario, klass: int) -> None:
    goal(lab, scenario)
    calls = lab.count_calls(scenario.verb, lab.run, klass=klass, part="/run/deep")
    points = choose([c.number for c in calls], 14 if not ALL else 400, klass)
    wrong = {}
    for point in points:
        goal(lab, scenario)
        victim = build_victim(lab)
        before = snapshot(victim)
        fault = {"at": point, "fault": s.STOP_BEFORE, "klass": klass, "part": "/run/deep"}
        running = lab.start(scenario.verb, lab.run, **fault)
        if running.stopped() is None:
            running.finish()
            continue
        aside = lab.base / "aside"
        swap(lab, aside, victim)
        running.resume()
        outcome = running.finish()
        lines = differences(before, snapshot(victim)) + check_ended(outcome) + leaked(lab)
        unswap(lab, aside)
        if outcome.code:
            lines += check_message(outcome, [3, 4, 5, 6, 8])
        elif scenario is LOCK:
            lines += ["exit 0 although the run was not what was locked"] if lab.gitrun("verify", lab.run).code else []
        lines += recovers(lab)
        if lines:
            wrong[f"{point} {calls[point - 1].name} {calls[point - 1].path!r}, {outcome.tell()}"] = lines[:6]
    REPORT.append(
        f"{scenario.name} × directory swapped before a {['change', 'look'][klass]}: {len(points)} points, {len(wrong)} failed"
    )
    assert not wrong, "\n".join(f"{call}: {lines}" for call, lines in wrong.items())


def swap(lab: Lab, aside: Path, victim: Path) -> None:
    """Puts a symlink to the victim in the place of `deep`, whatever the permission bits."""
    mode = lab.run.stat().st_mode & 0o7777
    lab.run.chmod(mode | 0o700)
    os.rename(lab.run / "deep", aside)
    os.symlink(victim, lab.run / "deep")
    lab.run.chmod(mode)


def unswap(lab: Lab, aside: Path) -> None:
    """Puts `deep` back; what came in its place is removed."""
    mode = lab.run.stat().st_mode & 0o7777
    lab.run.chmod(mode | 0o700)
    remove(lab.run / "deep")
    os.rename(aside, lab.run / "deep")
    lab.run.chmod(mode)


def leaked(lab: Lab) -> list[str]:
    """The victim's bytes in the store."""
    if not lab.repository.is_dir():
        return []
    objects = git(lab, "cat-file", "--batch-all-objects", "--batch", check=False)
    return ["the victim's bytes are in the repository"] if b"the victim's" in objects.stdout else []


def recovers(lab: Lab) -> list[str]:
    """Whatever happened: the next commands bring the run to a locked state that verifies, with all its bytes."""
    if lab.state() in ("locked", "interrupted"):
        lab.gitrun("restore", lab.run)
        lab.gitrun("unlock", lab.run)
    outcome = lab.gitrun("lock", lab.run)
    if outcome.code:
        return [f"the next lock: {outcome.tell()}"]
    verdict = lab.gitrun("verify", lab.run)
    wrong = [f"the next verify: {verdict.tell()}"] if verdict.code else []
    essence = {p: (it.kind, it.content) for p, it in lab.originals["fresh"].items()}
    now = {p: (it.kind, it.content) for p, it in snapshot(lab.run).items()}
    return wrong + [
        f"{p!r}: {essence.get(p)} became {now.get(p)}" for p in essence | now if essence.get(p) != now.get(p)
    ]


FLIPPER = """
import ctypes, os, random, signal, sys, time
libc = ctypes.CDLL(None)
one, other = map(os.fsencode, sys.argv[1:3])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
print("ready", flush=True)
flips = 0
try:
    while True:
        libc.renameat2(-100, one, -100, other, 2)
        flips += 1
        if sys.argv[3] == "slow":
            time.sleep(random.random() / 50)
except KeyboardInterrupt:
    if flips % 2:
        libc.renameat2(-100, one, -100, other, 2)
    print(flips)
"""


@pytest.mark.parametrize("speed", ["fast", "slow"])
def test_flipper(lab: Lab, speed: str) -> None:
    """A directory and a symlink to the victim change places through all commands, as fast as the kernel can or slower.

    Slowly, the commands come further.
    """
    lab.reset("fresh")
    victim = build_victim(lab)
    before = snapshot(victim)
    trap = lab.parent / "trap"
    trap.symlink_to(victim)
    codes = []
    command = [sys.executable, "-c", FLIPPER, str(lab.run / "deep"), str(trap), speed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flipper:
        assert flipper.stdout is not None
        flipper.stdout.readline()
        end = time.monotonic() + (3 if not ALL else 60)
        while time.monotonic() < end:
            for verb in ("lock", "restore", "verify", "unlock"):
                outcome = lab.gitrun(verb, lab.run)
                codes.append((verb, outcome.code))
                assert outcome.code in (0, 3, 4, 5, 6, 8), outcome.tell()
                assert "Traceback" not in outcome.err, outcome.err
                assert not leaked(lab)
        flipper.send_signal(signal.SIGINT)
        flips = int(flipper.stdout.read())
    assert not differences(before, snapshot(victim))
    REPORT.append(
        f"{speed} flipper: {flips} flips, {len(codes)} commands, {sum(c == 0 for _, c in codes)} of them exit 0"
    )
    assert flips > (1000 if speed == "fast" else 50)


# --- writers ------------------------------------------------------------------------------------------------------------

WRITER = """
import mmap, os, sys
how, path = sys.argv[1:]
fd = os.open(path, os.O_RDWR if how != "append" else os.O_WRONLY | os.O_APPEND)
if how == "mapped":
    mapping = mmap.mmap(fd, 0)
    os.close(fd)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["open", "append", "mapped"])
@pytest.mark.parametrize("name", ["config.yaml", "big.bin", "deep/one/twin-b"])
def test_writer_is_there(lab: Lab, how: str, name: str) -> None:
    """A process holds a file open for writing, or mapped with its descriptor closed: refused, before any change."""
    wanted = goal(lab, LOCK)
    command = [lab.account.python, "-c", WRITER, how, str(lab.run / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **lab.account.dropping) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        outcome = lab.gitrun("lock", lab.run)
        assert outcome.code == 5, outcome.tell()
        assert not check_message(outcome, [5])
        assert name.rsplit("/", 1)[-1] in outcome.err or "twin" in outcome.err
        assert not check_unlocked(lab, wanted)
        assert not differences(wanted, snapshot(lab.run))
        forced = lab.gitrun("lock", "--force", lab.run)
        assert forced.code == 0, forced.tell()
        writer.stdin.write(b"\n")
    assert not check_locked(lab, wanted)


def stop_at(
    lab: Lab, name: str, call: str, *, klass: int = s.READ, at: int = 1, verb: str = "lock"
) -> Callable[[], Outcome]:
    """Starts a command and stops it before a call on a file of the run; what is returned lets it go on to its end."""
    running = lab.start(verb, lab.run, at=at, fault=s.STOP_BEFORE, klass=klass, calls=[call], part=f"/run/{name}")
    assert running.stopped() is not None, f"{verb} never came to {call} {name}"

    def go_on() -> Outcome:
        running.resume()
        return running.finish()

    return go_on


def refused(lab: Lab, outcome: Outcome, now: Picture) -> None:
    """Exit 5 in one line, and the run is as the meddler left it, with its own permission bits."""
    wrong = check_message(outcome, [5]) + differences(now, snapshot(lab.run))
    wrong += check_unlocked(lab, now)
    assert not wrong, "\n".join(wrong)


def test_file_is_truncated_before_it_is_read(lab: Lab) -> None:
    goal(lab, LOCK)
    go_on = stop_at(lab, "config.yaml", "open")
    os.truncate(lab.run / "config.yaml", 0)
    now = unsealed(lab)
    refused(lab, go_on(), now)


def unsealed(lab: Lab) -> Picture:
    """The run as it stands while gitrun is stopped before it took any permission."""
    return snapshot(lab.run)


@pytest.mark.parametrize("name", ["config.yaml", "big.bin"])
def test_file_is_changed_in_place_with_its_time_put_back(lab: Lab, name: str) -> None:
    """Same size, same mtime: only ctime tells."""
    goal(lab, LOCK)
    reads = [c for c in lab.count_calls("lock", lab.run, klass=s.READ, part=f"/run/{name}") if c.name == "read"]
    goal(lab, LOCK)
    go_on = stop_at(lab, name, "read", at=len(reads))
    it = (lab.run / name).stat()
    meddled = meddle(lab.run / name, lambda fd: os.pwrite(fd, b"X", 0))
    if meddled:
        os.utime(lab.run / name, ns=(it.st_atime_ns, it.st_mtime_ns))
    now = unsealed(lab)
    outcome = go_on()
    if meddled:
        refused(lab, outcome, now)
    else:
        assert outcome.code in (0, 5), outcome.tell()


def meddle(path: Path, how: Callable[[int], object]) -> bool:
    """Opens a file for writing without waiting; False when a lease of gitrun's keeps writers out, as it may."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except BlockingIOError:
        return False
    how(fd)
    os.close(fd)
    return True


@pytest.mark.parametrize("name", ["config.yaml", "big.bin"])
def test_writer_comes_while_the_file_is_read(lab: Lab, name: str) -> None:
    """An appending writer that does not give up: refused, or locked without what it would have written."""
    wanted = goal(lab, LOCK)
    go_on = stop_at(lab, name, "read")
    appended = meddle(lab.run / name, lambda fd: os.pwrite(fd, b"more\n", os.fstat(fd).st_size))
    begin = time.monotonic()
    outcome = go_on()
    assert time.monotonic() - begin < 20, "a writer had to wait for the lease to break"
    if outcome.code == 0:
        assert not appended
        assert not check_locked(lab, wanted)
    else:
        refused(lab, outcome, snapshot(lab.run))
        assert not differences(wanted, snapshot(lab.run)) or appended


def _add(lab: Lab) -> None:
    (lab.run / "deep/late").write_text("added\n")
    lab.account.own(lab.run / "deep/late")


def _remove(lab: Lab) -> None:
    (lab.run / "run.sh").unlink()


def _retarget(lab: Lab) -> None:
    (lab.run / "link").unlink()
    (lab.run / "link").symlink_to("elsewhere")
    lab.account.own(lab.run / "link")


def _rewrite(lab: Lab) -> None:
    (lab.run / "config.yaml").write_text("lr: 9.9\n")


def _replace(lab: Lab) -> None:
    (lab.base / "other").write_text("lr: 0.1\n")
    lab.account.own(lab.base / "other")
    os.rename(lab.base / "other", lab.run / "config.yaml")


def _to_directory(lab: Lab) -> None:
    (lab.run / "empty").unlink()
    (lab.run / "empty").mkdir()
    lab.account.own(lab.run / "empty")


def _no_directory(lab: Lab) -> None:
    (lab.run / "hollow").rmdir()


def _fifo(lab: Lab) -> None:
    (lab.run / "already-sealed").unlink()
    os.mkfifo(lab.run / "already-sealed")
    lab.account.own(lab.run / "already-sealed")


def _grow(lab: Lab) -> None:
    with open(lab.run / "big.bin", "ab") as file:
        file.write(b"grown")


CHANGES = [_add, _remove, _retarget, _rewrite, _replace, _to_directory, _no_directory, _fifo, _grow]
# the run that is locked again has no file `empty`
CASES = [(it, change) for it in (LOCK, RELOCK) for change in CHANGES if (it, change) != (RELOCK, _to_directory)]


@pytest.mark.parametrize(
    ("scenario", "change"), CASES, ids=lambda it: getattr(it, "name", "") or it.__name__.strip("_")
)
@pytest.mark.parametrize("moment", ["first file opened", "first permission taken", "tag written"])
def test_run_changes_meanwhile(lab: Lab, scenario: Scenario, change: Callable[[Lab], None], moment: str) -> None:
    """After the walk, after the hash, after the seal: the lock is refused and everything is put back.

    In the moment before the tag the second look is over; then the change is `verify`'s to find.
    """
    wanted = goal(lab, scenario)
    fault: dict[str, object]
    if moment == "first file opened":
        fault = {"klass": s.READ, "calls": ["open"], "part": "/run/already-sealed"}
    elif moment == "first permission taken":
        fault = {"klass": s.CHANGE, "calls": ["chmod"], "part": "/run/"}
    else:
        fault = {"klass": s.CHANGE, "calls": ["rename"], "part": "refs/tags/locked"}
    running = lab.start("lock", lab.run, at=1, fault=s.STOP_BEFORE, **fault)
    assert running.stopped() is not None, f"never came to: {moment}"
    modes = {
        p: p.stat().st_mode & 0o7777 for p in [lab.run, lab.run / "deep", lab.run / "config.yaml", lab.run / "big.bin"]
    }
    for path in modes:
        path.chmod(modes[path] | 0o600 | (0o300 if path.is_dir() else 0))
    change(lab)
    for path in modes:
        path.chmod(modes[path])
    running.resume()
    outcome = running.finish()
    assert not check_ended(outcome)
    if outcome.code == 0:
        assert moment == "tag written", "a change was not noticed"
        same_bytes = change is _replace and scenario is LOCK
        assert lab.gitrun("verify", lab.run).code == (0 if same_bytes else 4)
        return
    if moment == "tag written":
        return
    wrong = check_message(outcome, [5])
    now = snapshot(lab.run)
    same = [p for p in wanted if p in now and now[p].content == wanted[p].content and now[p].kind == wanted[p].kind]
    wrong += [
        f"{p!r} has mode {now[p].mode:o}, had {wanted[p].mode:o}"
        for p in same
        if now[p].mode != wanted[p].mode and p not in CHANGED_BITS
    ]
    assert not (lab.run / ".gitrun.lock").exists()
    assert lab.state() == "unlocked"
    assert not wrong, "\n".join(wrong)
    lab.must("lock", lab.run)
    assert not check_locked(lab, now)


CHANGED_BITS = {b"empty", b"already-sealed"}
"""What the changes replace: bits of something new."""


def test_run_directory_is_renamed_meanwhile(lab: Lab) -> None:
    wanted = goal(lab, LOCK)
    go_on = stop_at(lab, "", "chmod", klass=s.CHANGE)
    os.rename(lab.run, lab.parent / "moved")
    outcome = go_on()
    os.rename(lab.parent / "moved", lab.run)
    assert "Traceback" not in outcome.err
    assert outcome.code in (0, 5, 8), outcome.tell()
    if outcome.code and lab.state() == "interrupted":
        lab.must("unlock", lab.run)
    assert not differences(wanted, snapshot(lab.run), modes=False, root_time=False)
    if outcome.code:
        assert not differences(wanted, snapshot(lab.run), root_time=False)


def test_mapped_file_that_is_truncated_kills_nobody(lab: Lab) -> None:
    """Reading a mapped file that shrinks is SIGBUS; gitrun must not map what others can cut."""
    goal(lab, LOCK)
    mapped = [c for c in lab.count_calls("lock", lab.run, klass=s.READ, part="/run/") if c.name == "mmap"]
    mapped += [c for c in lab.count_calls("verify", lab.run, klass=s.READ, part="/run/") if c.name == "mmap"]
    assert not mapped


# --- two gitruns --------------------------------------------------------------------------------------------------------


def test_other_commands_while_it_is_locked(lab: Lab) -> None:
    """One wins; who would write or judge hears that it is busy, `status` answers, and nobody disturbs the first."""
    wanted = goal(lab, LOCK)
    go_on = stop_at(lab, "", "chmod", klass=s.CHANGE)
    started = {}
    for verb in ("lock", "unlock", "restore", "verify", "status"):
        words, options = lab.command(verb, "--json", lab.run)
        started[verb] = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    told = {verb: (program.communicate(timeout=60), program.returncode) for verb, program in started.items()}
    for verb, ((out, err), code) in told.items():
        assert code == (0 if verb == "status" else 5), (verb, out, err)
        assert json.loads(out)["exit"] == code
        assert "Traceback" not in err
    outcome = go_on()
    assert outcome.code == 0, outcome.tell()
    assert not check_locked(lab, wanted)
    assert len(git(lab, "rev-list", "refs/heads/main").stdout.split()) == 1


def test_many_locks_at_once(lab: Lab) -> None:
    """Eight processes lock one run: one does it, the others find it done or busy."""
    wanted = goal(lab, LOCK)
    words, options = lab.command("lock", lab.run)
    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) for _ in range(8)
    ]
    told = [(program.communicate(timeout=60), program.returncode) for program in started]
    assert {code for _, code in told} <= {0, 5}, told
    assert 0 in {code for _, code in told}
    assert not check_locked(lab, wanted)
    assert len(git(lab, "rev-list", "refs/heads/main").stdout.split()) == 1


def test_neighbours_share_a_store(lab: Lab) -> None:
    """Runs with the same large file are locked into one store at once: each has it, stored once."""
    goal(lab, LOCK)
    runs = [lab.run]
    for number in range(3):
        runs.append(lab.parent / f"neighbour-{number}")
        build_run(runs[-1], lab.account)
    started = []
    for run in runs:
        words, options = lab.command("lock", run)
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options))
    told = [(program.communicate(timeout=60), program.returncode) for program in started]
    assert [code for _, code in told] == [0] * len(runs), told
    inodes = {p.stat().st_ino for p in lab.store.rglob("lfs/objects/*/*/*")}
    assert len(inodes) == 1
    for run in runs:
        assert lab.gitrun("verify", "--store", run).code == 0
        assert lab.gitrun("fsck", run).code == 0
