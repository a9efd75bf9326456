"""P3: killed before or after any call that changes a file, nothing is lost and the next command ends cleanly."""

from __future__ import annotations

import pytest

from . import shim as s
from .harness import Lab, Outcome, Picture, check_ended
from .sweep import SCENARIOS, Fault, Scenario, after_kill, sweep

BEFORE = Fault("kill -9 before", s.KILL_BEFORE)
AFTER = Fault("kill -9 after", s.KILL_AFTER)
LIMIT = 18


def same_again(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
    """The same command once more."""
    return after_kill(lab, scenario, outcome, wanted, again=True)


def the_other(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
    """The opposite command."""
    return after_kill(lab, scenario, outcome, wanted, again=False)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@pytest.mark.parametrize("fault", [BEFORE, AFTER], ids=["before", "after"])
def test_killed_then_the_same_command_again(labs: list[Lab], scenario: Scenario, fault: Fault) -> None:
    sweep(labs, scenario, fault, same_again, limit=LIMIT, phase=fault.kind)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_killed_then_the_opposite_command(labs: list[Lab], scenario: Scenario) -> None:
    sweep(labs, scenario, BEFORE._replace(name="kill -9 before, then the opposite"), the_other, limit=LIMIT, phase=3)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_killed_as_root(root_labs: list[Lab], scenario: Scenario) -> None:
    fault = BEFORE._replace(name="kill -9 before, as root")
    sweep(root_labs, scenario, fault, same_again, limit=6, phase=5)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_killed_twice_at_the_same_place(labs: list[Lab], scenario: Scenario) -> None:
    """The recovery is killed as well."""

    def twice(lab: Lab, scenario: Scenario, outcome: Outcome, wanted: Picture, point: int) -> list[str]:
        second = lab.gitrun(scenario.verb, lab.run, at=1 + point % 40, fault=s.KILL_AFTER)
        if second.fired:
            return check_ended(second) + after_kill(lab, scenario, outcome, wanted, again=point % 2 == 0)
        return []

    sweep(labs, scenario, BEFORE._replace(name="kill -9 before, twice"), twice, limit=10, phase=7)
