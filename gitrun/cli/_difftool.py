"""Hands two directories to the user's own diff tool, by git, which knows how to start it."""

from __future__ import annotations

import os
import subprocess

from gitrun.cli._git import outside_environment
from gitrun.comparing import NEW, OLD
from gitrun.errors import ToolFailed
from gitrun.gitcmd import find_program

_DIFFERENT = 1


def show_in_tool(top: str) -> None:
    """Shows what is below OLD and NEW in `top`, file by file, until the user has closed the tool.  Raises ToolFailed."""
    command = [find_program("git"), "difftool", "--no-index", "--no-prompt", "--", os.fsdecode(OLD), os.fsdecode(NEW)]
    done = subprocess.run(command, env=outside_environment(os.environ), cwd=top, check=False)
    if done.returncode not in (0, _DIFFERENT):
        raise ToolFailed(
            f"git difftool ended with {done.returncode}",
            hint="git config --global diff.tool NAME; `git difftool --tool-help` lists what it knows",
        )
