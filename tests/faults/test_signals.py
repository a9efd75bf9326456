"""^C, kill, a closed terminal, a closed pipe: a clean stop at any moment, and the run is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from . import shim as s
from .harness import (
    Lab,
    Outcome,
    Picture,
    Running,
    check_locked,
    check_message,
    differences,
    snapshot,
)
from .sweep import LOCK, REPORT, RESTORE, SCENARIOS, Scenario, after_error, choose, goal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def shell_code(code: int) -> int:
    """What a shell shows: a program that a signal ended counts as 128 and its number."""
    return 128 - code if code < 0 else code


def stopped_at(lab: Lab, scenario: Scenario, point: int, klass: int = s.CHANGE) -> tuple[Running, bool]:
    """Starts the scenario and stops it before a call; whether it came to that."""
    running = lab.start(scenario.verb, lab.run, at=point, fault=s.STOP_BEFORE, klass=klass)
    return running, running.stopped() is not None


def after_signal(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, code: int) -> list[str]:
    """Stopped and put back, or already done."""
    outcome = outcome._replace(code=shell_code(outcome.code))
    if scenario is RESTORE and outcome.code == code:
        again = lab.gitrun("restore", lab.run)
        lines = [] if again.code == 0 else [again.tell()]
        return check_message(outcome, [code]) + lines + check_locked(lab, wanted)
    return after_error(lab, scenario, outcome, wanted, codes=[code])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_stops_cleanly(lab: Lab, scenario: Scenario, number: signal.Signals) -> None:
    goal(lab, scenario)
    calls = lab.count_calls(scenario.verb, lab.run)
    wrong = {}
    put_back = 0
    points = choose([c.number for c in calls], 7, int(number))
    for point in points:
        wanted = goal(lab, scenario)
        running, did = stopped_at(lab, scenario, point)
        if did:
            # ^C and a closing terminal reach the whole group, kill only the process.
            (os.kill if number == signal.SIGTERM else os.killpg)(running.pid, number)
            running.resume()
        outcome = running.finish()
        put_back += outcome.code != 0
        if lines := after_signal(lab, scenario, outcome, wanted, 128 + number):
            wrong[f"{point} {calls[point - 1].name} {calls[point - 1].path!r}"] = lines[:6]
    REPORT.append(f"{scenario.name} × {number.name}: {len(points)} points, {put_back} put back, {len(wrong)} failed")
    assert not wrong, "\n".join(f"{n}: {lines}" for n, lines in wrong.items())
    assert put_back, "the signal never had an effect"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_stops_while_reading(lab: Lab, number: signal.Signals) -> None:
    goal(lab, LOCK)
    calls = lab.count_calls("lock", lab.run, klass=s.READ)
    big = [c.number for c in calls if c.path.endswith(b"big.bin")]
    for point in choose(big, 3, 0):
        wanted = goal(lab, LOCK)
        running, _ = stopped_at(lab, LOCK, point, s.READ)
        os.kill(running.pid, number)
        running.resume()
        outcome = running.finish()
        assert shell_code(outcome.code) == 128 + number, outcome.tell()
        assert not after_signal(lab, LOCK, outcome, wanted, 128 + number)


def test_impatient_user(lab: Lab) -> None:
    """^C, ^C, ^C: the second does not break what the first began."""
    goal(lab, LOCK)
    chmods = [c.number for c in lab.count_calls("lock", lab.run) if c.name == "chmod" and b"/run/" in c.path]
    for point in choose(chmods, 4, 0):
        wanted = goal(lab, LOCK)
        running, _ = stopped_at(lab, LOCK, point)
        os.kill(running.pid, signal.SIGINT)
        running.resume()
        for _ in range(5):
            time.sleep(0.003)
            try:
                os.kill(running.pid, signal.SIGINT)
            except ProcessLookupError:
                break
        outcome = running.finish()
        assert not after_signal(lab, LOCK, outcome, wanted, 130)


def test_ignored_hangup_stays_ignored(lab: Lab) -> None:
    """`nohup gitrun lock` goes on."""
    wanted = goal(lab, LOCK)
    words, options = lab.command("lock", lab.run)
    with subprocess.Popen(["nohup", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as program:
        for _ in range(60):
            time.sleep(0.01)
            program.send_signal(signal.SIGHUP)
        _, err = program.communicate(timeout=30)
    assert program.returncode == 0, err
    assert not check_locked(lab, wanted)


@pytest.mark.parametrize("verb", ["lock", "status", "verify", "unlock"])
def test_reader_of_stdout_went_away(lab: Lab, verb: str) -> None:
    """SIGPIPE: what was begun is done or put back, and no traceback is shown."""
    wanted = lab.reset("fresh" if verb == "lock" else "locked")
    words, options = lab.command(verb, lab.run)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, **options)
    os.close(writing)
    assert shell_code(done.returncode) in (0, 141), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    _settled(lab, verb, wanted)


@pytest.mark.parametrize("verb", ["lock", "status", "verify", "unlock"])
def test_stdout_is_a_full_disk(lab: Lab, verb: str) -> None:
    wanted = lab.reset("fresh" if verb == "lock" else "locked")
    words, options = lab.command(verb, lab.run)
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, **options)
    assert done.returncode in (0, 8) if verb != "status" else done.returncode == 8, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    _settled(lab, verb, wanted)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors(lab: Lab, closed: str) -> None:
    """A file that gitrun opens must never become its stdout, whose text would land in it."""
    wanted = lab.reset("fresh")
    words, options = lab.command("lock", lab.run)
    command = ["sh", "-c", f'"$@" {closed}', "sh", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode in (0, 8), done.stderr
    assert "Traceback" not in done.stderr
    _settled(lab, "lock", wanted)


def _settled(lab: Lab, verb: str, wanted: Picture) -> None:
    state = lab.state()
    assert state in ("locked", "unlocked")
    if verb == "lock" and state == "locked":
        assert not check_locked(lab, wanted)
    elif verb == "lock":
        assert not differences(wanted, snapshot(lab.run))
