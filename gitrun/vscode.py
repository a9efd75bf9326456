"""VS Code's setting by which files without write permission cannot be edited by accident.

`files.readonlyFromPermissions`, since VS Code 1.79.  A settings file is JSON with comments,
so it is changed as text: whatever else stands in it stays as it is.
"""

from __future__ import annotations

import os
import re

from gitrun.errors import Refused, UsageError, system_failed
from gitrun.fsio import make_directories, read_file, write_file

SETTING = "files.readonlyFromPermissions"
USER, WORKSPACE = "user", "workspace"
_LIMIT = 1 << 24
_LINE = f'"{SETTING}": true'
_KNOWN = re.compile(rf'"{re.escape(SETTING)}"\s*:\s*(true|false)')
_SKIPPED = r"(?:\s|//[^\n]*\n|/\*.*?\*/)*"
_OPENING = re.compile(rf"(\ufeff?{_SKIPPED}\{{)({_SKIPPED})(\}}?)", re.DOTALL)


def settings_file(where: str, home: str, directory: str) -> bytes:
    """The settings file of the user, or of the workspace that `directory` is in: the nearest one above with a `.vscode`.

    Raises UsageError for any other `where`.
    """
    if where == USER:
        top = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        return os.fsencode(os.path.join(top, "Code", "User", "settings.json"))
    if where != WORKSPACE:
        raise UsageError(f"no such settings: {where}", hint=f"{USER} or {WORKSPACE}")
    at = os.path.abspath(directory)
    while not os.path.isdir(os.path.join(at, ".vscode")) and at != os.path.dirname(at):
        at = os.path.dirname(at)
    top = at if os.path.isdir(os.path.join(at, ".vscode")) else os.path.abspath(directory)
    return os.fsencode(os.path.join(top, ".vscode", "settings.json"))


def turn_on(path: bytes) -> bool:
    """Turns the setting on in a settings file, which is made where there is none; whether that changed anything.

    Raises Refused for a file that is no JSON object, or says no on purpose; SystemFailed.
    """
    try:
        data = read_file(path, _LIMIT) if os.path.lexists(path) else b""
        if data is None:
            raise Refused("the settings of VS Code are no regular file", path=path, hint=f"put {_LINE} there yourself")
        new = _with_setting(data.decode("utf-8"), path)
        if new is None:
            return False
        make_directories(os.path.dirname(path))
        write_file(os.path.realpath(path), new.encode())
    except UnicodeDecodeError as error:
        raise Refused("the settings of VS Code are not UTF-8", path=path) from error
    except OSError as error:
        raise system_failed(error, "change the settings of VS Code", path) from error
    return True


def _with_setting(text: str, path: bytes) -> str | None:
    """The file with the setting on; None where it is on already."""
    known = _KNOWN.search(text)
    if known:
        if known[1] == "true":
            return None
        raise Refused(f"the settings of VS Code say no: {known[0]}", path=path, hint=f"change it to {_LINE} yourself")
    if not text.strip():
        return f"{{\n    {_LINE}\n}}\n"
    opening = _OPENING.match(text)
    if not opening:
        raise Refused("the settings of VS Code are no JSON object", path=path, hint=f"put {_LINE} there yourself")
    comma = "" if opening[3] else ","
    return f"{opening[1]}\n    {_LINE}{comma}{opening[2] or chr(10)}{text[opening.end(2) :]}"
