"""Fixtures of the fault tests, and the figures of the sweeps at the end of the test run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mounts import needs_root

from . import shim, sweep
from .harness import Account, Lab, current, remove, unprivileged


@pytest.fixture(scope="session")
def fault_base() -> Iterator[Path]:
    """A directory that every user may enter; in memory where there is room, since the sweeps sync thousands of times."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 128 << 20
    base = Path(tempfile.mkdtemp(prefix="gitrun-faults-", dir=memory if roomy else None))
    base.chmod(0o755)
    yield base
    remove(base)


@pytest.fixture(scope="session")
def library(fault_base: Path) -> Path:
    """The compiled shim."""
    return shim.build(fault_base / "shim.so")


@pytest.fixture(scope="session")
def make_lab(fault_base: Path, library: Path) -> Iterator[Callable[..., Lab]]:
    """Makes places to work in: `make_lab(account, place=…)`."""
    labs: list[Lab] = []

    def make(account: Account, place: Path | None = None) -> Lab:
        labs.append(Lab(fault_base / f"lab-{len(labs)}", library, account, place))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture(scope="session")
def labs(make_lab: Callable[..., Lab]) -> list[Lab]:
    """One place for each processor, two at most, of a user whom permission bits bind."""
    return [make_lab(unprivileged()) for _ in range(min(2, os.cpu_count() or 1))]


@pytest.fixture
def lab(labs: list[Lab]) -> Lab:
    """A place of a user whom permission bits bind."""
    return labs[0]


@pytest.fixture(scope="session")
def root_labs(make_lab: Callable[..., Lab]) -> list[Lab]:
    """As `labs`, of root, whom they do not bind."""
    needs_root()
    return [make_lab(current()) for _ in range(min(2, os.cpu_count() or 1))]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of every sweep."""
    for line in sweep.REPORT:
        terminalreporter.write_line(line)
