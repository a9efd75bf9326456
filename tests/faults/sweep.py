"""One fault at every call: the scenarios, the points, and what each point must end in."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from . import shim as s
from .harness import (
    Lab,
    Outcome,
    Picture,
    check_ended,
    check_locked,
    check_message,
    check_unlocked,
    differences,
    sealed,
    snapshot,
)

ALL = os.environ.get("GITRUN_SWEEP", "") == "all"
"""Every point of every sweep, instead of as many as fit in the time of a normal test run."""

REPORT: list[str] = []
"""A line for each sweep, for the end of the test run."""


class Scenario(NamedTuple):
    """A command, where it starts, where it ends, and which other command must be able to follow when it was killed."""

    name: str
    start: str
    verb: str
    before: str
    after: str
    other: str
    other_after: str
    put_back: bool = True
    """An error is undone.  False: it leaves the state `interrupted`, and the same command goes on."""


LOCK = Scenario("lock", "fresh", "lock", "unlocked", "locked", "unlock", "unlocked")
RELOCK = Scenario("relock", "changed", "lock", "unlocked", "locked", "unlock", "unlocked")
UNLOCK = Scenario("unlock", "locked", "unlock", "locked", "unlocked", "lock", "locked")
RESTORE = Scenario("restore", "damaged", "restore", "damaged", "locked", "unlock", "unlocked")
SCENARIOS = (LOCK, RELOCK, UNLOCK, RESTORE)


class Fault(NamedTuple):
    """What goes wrong at the point."""

    name: str
    kind: int
    error: int = 0
    sticky: bool = False
    klass: int = s.CHANGE


def goal(lab: Lab, scenario: Scenario) -> Picture:
    """The run as it must be when the scenario has ended well, with its writable permission bits."""
    lab.reset(scenario.start)
    if scenario.start in ("locked", "damaged"):
        return lab.originals["fresh"]
    return lab.originals[scenario.start]


def check_state(lab: Lab, scenario: Scenario, state: str, wanted: Picture) -> list[str]:
    """The run is in `state`, in full."""
    if state == "locked":
        return check_locked(lab, wanted)
    if state == "unlocked":
        return check_unlocked(lab, wanted)
    assert state == "damaged"
    return differences(lab.originals["damaged"], snapshot(lab.run), root_time=False)


def check_bytes(lab: Lab, scenario: Scenario, wanted: Picture, *, litter: bool) -> list[str]:
    """No byte, name, type or link target of the run is lost or changed; restore may have put back what it restores.

    With `litter` gitrun's own unfinished files may lie in the run.
    """
    now = snapshot(lab.run)
    if litter:
        now = {
            p: it
            for p, it in now.items()
            if not p.startswith((b".gitrun", b".tmp-gitrun")) and b"/.tmp-gitrun" not in p
        }
    if scenario is not RESTORE:
        return differences(wanted, now, modes=False, directory_times=False)
    damaged = lab.originals["damaged"]
    wrong = []
    for path in damaged.keys() | wanted.keys() | now.keys():
        allowed = [_essence(p.get(path)) for p in (damaged, wanted)]
        if path in damaged and path in wanted and damaged[path].kind == wanted[path].kind:
            pass
        elif path in damaged and path in wanted:
            allowed.append(None)  # a directory cannot be exchanged for a file in one step
        if _essence(now.get(path)) not in allowed:
            wrong.append(f"{path!r} is {_essence(now.get(path))}, allowed are {allowed}")
    return wrong


def _essence(entry: object) -> object:
    return None if entry is None else (entry.kind, entry.content)  # type: ignore[attr-defined]


# --- killed -------------------------------------------------------------------------------------------------------------


def after_kill(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, *, again: bool) -> list[str]:
    """P3: nothing is lost, the state has a name, and the same command (`again`), or the other one, ends cleanly."""
    wrong = check_ended(outcome) + check_bytes(lab, scenario, wanted, litter=True)
    state = lab.state()
    if state not in ("interrupted", scenario.before, scenario.after, "locked"):
        wrong.append(f"status says {state!r}")
    if state == "unlocked":
        wrong += _prefixed("status says unlocked, but", differences(wanted, snapshot(lab.run), root_time=False))
    if state == "locked" and scenario is not RESTORE:
        wrong += _prefixed("status says locked, but", differences(sealed(wanted), snapshot(lab.run), root_time=False))
    verb, after = (scenario.verb, scenario.after) if again else (scenario.other, scenario.other_after)
    wrong += follow(lab, scenario, verb, after, wanted, clean=state)
    return wrong


def follow(lab: Lab, scenario: Scenario, verb: str, after: str, wanted: Picture, *, clean: str) -> list[str]:
    """Runs `verb`, which must succeed and end in the state `after`."""
    outcome = lab.gitrun(verb, lab.run)
    if outcome.code == 3 and verb == "unlock" == scenario.verb and clean == "unlocked":
        return _prefixed("after unlock:", check_state(lab, scenario, "unlocked", wanted))
    nothing_to_do = verb == "unlock" and clean == "unlocked" and outcome.code == 3
    if outcome.code and not nothing_to_do:
        return [f"afterwards {verb}: {outcome.tell()}"]
    if nothing_to_do:  # what the killed lock left in the store is the next lock's, or gc's, to remove
        return _prefixed("still unlocked:", differences(wanted, snapshot(lab.run), root_time=False))
    if scenario is RESTORE and verb == "unlock":
        return _prefixed("after unlock:", check_released(lab, wanted))
    return _prefixed(f"after {verb}:", check_state(lab, scenario, after, wanted))


def check_released(lab: Lab, wanted: Picture) -> list[str]:
    """Unlocked in the middle of a restore: what is as it was locked has its own permission bits."""
    now = snapshot(lab.run)
    damaged = lab.originals["damaged"]
    same = [
        p
        for p in wanted
        if p in now and now[p].kind == wanted[p].kind and damaged.get(p, wanted[p]).kind == wanted[p].kind
    ]
    return [f"{p!r} has mode {now[p].mode:o}, not {wanted[p].mode:o}" for p in same if now[p].mode != wanted[p].mode]


def _prefixed(prefix: str, lines: list[str]) -> list[str]:
    return [f"{prefix} {line}" for line in lines]


# --- errors -------------------------------------------------------------------------------------------------------------


def after_error(
    lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, *, codes: Sequence[int] = (8,)
) -> list[str]:
    """P3: an error that gitrun lives through is told in a line, everything is back, and the next try succeeds."""
    if outcome.code == 0 and scenario.after == "locked" and "not protected" in outcome.out:
        return check_ended(outcome) + _prefixed("exit 0, but", check_locked(lab, wanted, protected=False))
    if outcome.code == 0:
        return check_ended(outcome) + _prefixed("exit 0, but", check_state(lab, scenario, scenario.after, wanted))
    wrong = check_ended(outcome) + check_message(outcome, codes)
    before = lab.originals[scenario.start]
    if scenario is RESTORE or (not scenario.put_back and lab.state() == "interrupted"):
        wrong += check_bytes(lab, scenario, wanted, litter=False)
    else:
        changed = differences(before, snapshot(lab.run))
        wrong += _prefixed("not put back:", changed)
        wrong += _prefixed("not put back:", check_state(lab, scenario, scenario.before, wanted))
    return wrong + follow(lab, scenario, scenario.verb, scenario.after, wanted, clean="")


def after_lasting_error(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture) -> list[str]:
    """The disk fails and stays so: nothing can be put back now, but all is once it works again."""
    if outcome.code == 0:  # all that counts was done before the disk died
        return check_ended(outcome) + follow(lab, scenario, scenario.verb, scenario.after, wanted, clean=scenario.after)
    wrong = check_ended(outcome) + check_message(outcome) + check_bytes(lab, scenario, wanted, litter=True)
    state = lab.state()
    if state not in ("interrupted", "unlocked", "locked"):
        wrong.append(f"status says {state!r}")
    return wrong + follow(lab, scenario, scenario.other, scenario.other_after, wanted, clean=state)


# --- the sweep ----------------------------------------------------------------------------------------------------------

Check = Callable[[Lab, Scenario, Outcome, Picture, int], list[str]]


def choose(points: Sequence[int], limit: int, phase: int) -> list[int]:
    """At most `limit` of the points, evenly, other ones for each phase, the first and the last always."""
    if ALL or len(points) <= limit:
        return list(points)
    step = (len(points) - 1) / (limit - 1)
    shift = phase % max(1, int(step))
    inner = {points[min(len(points) - 1, int(i * step) + shift)] for i in range(limit)}
    return sorted(inner | {points[0], points[-1]})


def sweep(
    labs: Sequence[Lab],
    scenario: Scenario,
    fault: Fault,
    check: Check,
    *,
    limit: int,
    phase: int = 0,
    part: str = "",
    names: Sequence[str] = (),
) -> None:
    """Runs the scenario with the fault at many points, on all labs at once; fails with every point that is wrong.

    The points are calls below the place with `part` in their path, of the given names (default: all that can meet it).
    """
    begin = time.monotonic()
    lab = labs[0]
    goal(lab, scenario)
    calls = lab.count_calls(scenario.verb, lab.run, klass=fault.klass, part=part)
    points = [c.number for c in calls if s.applies(fault.kind, fault.error, c.name) and (not names or c.name in names)]
    assert points, f"{scenario.name} makes no call that could meet {fault.name}"
    chosen = choose(points, limit, phase)
    told_as = {c.number: f"{c.name} {ascii(os.fsdecode(c.path))[1:-1].removeprefix(str(lab.parent))}" for c in calls}
    failures = _on_all(labs, chosen, lambda lab, point: _at(lab, scenario, fault, check, point, part))
    seconds = time.monotonic() - begin
    line = f"{scenario.name} × {fault.name}: {len(points)} points of {len(calls)} calls, {len(chosen)} tried"
    REPORT.append(f"{line}, {len(failures)} failed, {seconds:.1f} s")
    told = [
        f"{fault.name} at {n} ({told_as[n]}):\n    " + "\n    ".join(w[:600] for w in lines[:8])
        for n, lines in sorted(failures.items())
    ]
    assert not failures, f"{REPORT[-1]}\n" + "\n".join(told[: 400 if ALL else 12])


def _at(lab: Lab, scenario: Scenario, fault: Fault, check: Check, point: int, part: str) -> list[str]:
    wanted = goal(lab, scenario)
    options = {
        "at": point,
        "fault": fault.kind,
        "error": fault.error,
        "sticky": fault.sticky,
        "klass": fault.klass,
        "part": part,
    }
    try:
        return check(lab, scenario, lab.gitrun(scenario.verb, lab.run, **options), wanted, point)
    except AssertionError as error:
        return [str(error)]


def _on_all(labs: Sequence[Lab], points: Sequence[int], work: Callable[[Lab, int], list[str]]) -> dict[int, list[str]]:
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for point in points:
        todo.put(point)
    failures: dict[int, list[str]] = {}

    def worker(lab: Lab) -> None:
        while True:
            try:
                point = todo.get_nowait()
            except queue.Empty:
                return
            if wrong := work(lab, point):
                failures[point] = wrong

    with ThreadPoolExecutor(len(labs)) as pool:
        for done in [pool.submit(worker, lab) for lab in labs]:
            done.result()
    return failures
