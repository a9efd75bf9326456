"""The walk-through in docs/guild.md, by real Guild and as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import DOCS
from tests.support.hook import HookedGuild
from tests.support.tools import tool
from tests.support.users import as_user, user_python


def commands() -> str:
    found = re.search(r"<!-- walk-through -->\n```sh\n(.*?)```", (DOCS / "guild.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_every_command_does_what_the_page_says(bare_guild: HookedGuild, shared_tmp: Path) -> None:
    programs = shared_tmp / "bin"
    programs.mkdir(mode=0o755)
    (programs / "gitrun").write_text(f'#!/bin/sh\nexec {user_python()} -m gitrun "$@"\n')
    (programs / "gitrun").chmod(0o755)
    variables = {**bare_guild.variables, "PATH": f"{programs}:{bare_guild.variables['PATH']}:{tool('gitrun/bin')}"}
    script = "set -e\nset -o pipefail\n" + commands() + "\necho ended: $RUN $NEW\n"
    done = as_user(
        ["bash", "-c", script],
        cwd=bare_guild.home.base / "project",
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    run, new = lines[-1].split()[1:]
    assert run != new
    assert "caught" in lines and "refused" in lines
    assert any(line.startswith("locked: 20") for line in lines)
    assert "is locked, and a restart would write over it" in done.stderr
    assert any(line.strip().startswith("metrics.json") for line in lines)
    assert sum(line.startswith("ok ") for line in lines) == 2
    assert any(line.startswith(f"forked from {run}") for line in lines)
    assert (bare_guild.home.runs / new / ".gitrun.lock").exists()
