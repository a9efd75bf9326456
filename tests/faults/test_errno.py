"""P3: an error of the system at any call is told in a line, and the run is as it was before."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

import pytest

from . import shim as s
from .harness import Lab, Outcome, Picture
from .sweep import LOCK, RELOCK, RESTORE, SCENARIOS, UNLOCK, Fault, Scenario, after_error, after_lasting_error, sweep

ONCE = {
    "ENOSPC": Fault("ENOSPC", s.FAIL, errno.ENOSPC),
    "EIO": Fault("EIO", s.FAIL, errno.EIO),
    "EDQUOT": Fault("EDQUOT", s.FAIL, errno.EDQUOT),
    "EROFS": Fault("EROFS", s.FAIL, errno.EROFS),
    "EACCES": Fault("EACCES", s.FAIL, errno.EACCES),
}
SHORT = Fault("short write", s.SHORT)
LIMIT = 16


def put_back(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
    """Exit 8 and all as before, or exit 0 and all done."""
    return after_error(lab, scenario, outcome, wanted)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@pytest.mark.parametrize("name", ONCE)
def test_one_call_fails(labs: list[Lab], scenario: Scenario, name: str) -> None:
    limit = LIMIT if name in ("ENOSPC", "EIO") else LIMIT // 2
    sweep(labs, scenario, ONCE[name], put_back, limit=limit, phase=sorted(ONCE).index(name))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_short_writes_are_continued(labs: list[Lab], scenario: Scenario) -> None:
    def done(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
        return after_error(lab, scenario, outcome, wanted, codes=(0,))

    if scenario is not UNLOCK:
        sweep(labs, scenario, SHORT, done, limit=LIMIT)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS], ids=["EIO", "EROFS"])
def test_everything_fails_from_there_on(labs: list[Lab], scenario: Scenario, error: int) -> None:
    """The disk died, or turned read-only: nothing can be put back before it works again."""

    def check(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
        return after_lasting_error(lab, scenario, outcome, wanted)

    fault = Fault(f"{errno.errorcode[error]} for ever", s.FAIL, error, sticky=True)
    sweep(labs, scenario, fault, check, limit=10, phase=error)


@pytest.mark.parametrize("scenario", [LOCK, RELOCK, RESTORE, UNLOCK], ids=lambda s: s.name)
def test_one_look_at_the_run_fails(labs: list[Lab], scenario: Scenario) -> None:
    """P2: a call that reads, lists or looks at the run fails: the lock is refused, or nothing is left out."""

    def check(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
        return after_error(lab, scenario, outcome, wanted, codes=(5, 8))

    fault = Fault("EIO while reading", s.FAIL, errno.EIO, klass=s.READ)
    sweep(labs, scenario, fault, check, limit=20, part="/run")


READING: dict[str, Any] = {"klass": s.READ, "part": "/run/many"}


def test_worker_is_killed(lab: Lab) -> None:
    """A worker that vanishes (out of memory) is an error of the system, and everything is put back."""
    wanted = _many_files(lab)
    calls = lab.count_calls("lock", "-j", "2", lab.run, **READING)
    parent = min(c.pid for c in calls)
    theirs = [c.number for c in calls if c.pid != parent and c.name == "read"]
    assert theirs, "no worker process was used"
    for point in (theirs[0], theirs[len(theirs) // 2], theirs[-1]):
        assert lab.reset("many") == wanted
        outcome = lab.gitrun("lock", "-j", "2", lab.run, at=point, fault=s.KILL_ONE_BEFORE, **READING)
        assert not after_error(lab, LOCK._replace(start="many"), outcome, wanted)


def test_workers_end_when_the_command_is_killed(lab: Lab) -> None:
    wanted = _many_files(lab)
    for point in range(400, 440, 7):
        lab.reset("many")
        running = lab.start("lock", "-j", "2", lab.run, at=point, fault=s.STOP_BEFORE, calls=["read"], **READING)
        worker = running.stopped()
        assert worker is not None
        os.kill(running.pid, signal.SIGKILL)
        running.resume()
        outcome = running.finish()
        assert outcome.left == 0, "a worker went on without its parent"
        assert lab.state() in ("unlocked", "interrupted")
        if worker != running.pid:
            break
    else:
        pytest.fail("no worker was caught")
    assert not after_error(lab, LOCK, lab.gitrun("lock", lab.run), wanted)


def _many_files(lab: Lab) -> Picture:
    if "many" not in lab.originals:
        lab.reset("fresh")
        directory = lab.run / "many"
        directory.mkdir()
        lab.account.own(directory)
        for number in range(700):
            path = directory / f"{number:04d}"
            path.write_bytes(b"%d\n" % number * 50)
            lab.account.own(path)
        lab.keep("many")
    return lab.reset("many")
