"""Where the tools are that `scripts/setup_tools.sh` gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

TOOLS = Path(os.environ.get("GITRUN_TOOLS") or CHECKOUT / ".tools")
"""Read once, since tests do not see the variables of gitrun's users."""


def tool(name: str) -> Path:
    """The path of a tool below TOOLS.  A missing one fails the test: it is never a reason to skip."""
    path = TOOLS / name
    if not path.exists():
        pytest.fail(f"{path} is missing: run scripts/setup_tools.sh, or the tests through scripts/test", pytrace=False)
    return path
