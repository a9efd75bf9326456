"""What the URL of a remote means, and how it is told: without whatever is secret in it.  Pure."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes, urlsplit, urlunsplit

from gitrun.errors import UsageError

RUN = "{run}"
"""Stands in a URL for the run id: then each run has a repository of its own."""
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_SCP = re.compile(r"(?:[A-Za-z0-9._~-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!/?/)[^\0-\x1f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OWN = ("refs/heads/main", "refs/tags/locked")


class Address(NamedTuple):
    """A remote, as a URL or a path names it."""

    url: str
    """What git is told: without password, query and fragment."""
    directory: bytes | None
    """The absolute path of a repository on a disk; None for a server."""
    username: str = ""
    password: str = ""
    own: bool = False
    """The repository is that of one run alone."""

    def branch(self, name: str) -> str:
        """The branch of a run there; `name` is its id, perhaps with a `+` and the beginning of a commit behind it."""
        return _OWN[0] if self.own else f"refs/heads/runs/{name}"

    def tag(self, name: str) -> str:
        """The tag of a run's standing lock there."""
        return _OWN[1] if self.own else f"refs/tags/runs/{name}/locked"

    def name_of(self, branch: str) -> str | None:
        """The run's name there, from its branch; None for a branch that is no run's."""
        if self.own:
            return "" if branch == _OWN[0] else None
        return branch.removeprefix("refs/heads/runs/") if branch.startswith("refs/heads/runs/") else None


def parse(told: str, run_id: str = "") -> Address:
    """The address that a URL or a path means; `{run}` in it becomes `run_id`.

    Raises UsageError for protocols by which git would run a program, and for what is no address.
    """
    if not told or _CONTROL.search(told) or told.startswith("-"):
        raise UsageError("this is no address of a remote", path=told, hint="a path, https://…, ssh://… or host:path")
    own = RUN in told
    if own and not run_id:
        raise UsageError("this remote has a repository for each run: which one?", path=told, hint="name the run's id")
    told = told.replace(RUN, run_id)
    parts = urlsplit(told)
    if "://" not in told:
        if "::" in told.partition("/")[0]:
            raise _unsafe(told)
        if _SCP.fullmatch(told) and not os.path.exists(told):
            return Address(told, None, own=own)
        return Address("", os.path.abspath(os.fsencode(os.path.expanduser(told))), own=own)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise _unsafe(told)
        return Address("", os.path.normpath(unquote_to_bytes(parts.path)), own=own)
    return _server(told, own)


def _server(told: str, own: bool) -> Address:
    parts = urlsplit(told)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError("this is no address of a remote", path=shown(told)) from None
    if parts.scheme not in ("https", "http", "ssh") or not host or host.startswith("-") or not parts.path.strip("/"):
        raise _unsafe(told)
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise UsageError("http:// shows everything to everybody on the way", path=shown(told), hint="use https://")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    netloc = f"[{host}]" if ":" in host else host
    netloc += f":{port}" if port else ""
    if parts.scheme == "ssh":
        if user.startswith("-"):
            raise _unsafe(told)
        return Address(urlunsplit(("ssh", f"{user}@{netloc}" if user else netloc, parts.path, "", "")), None, own=own)
    return Address(urlunsplit((parts.scheme, netloc, parts.path, "", "")), None, user, password, own)


def _unsafe(told: str) -> UsageError:
    return UsageError(
        "this is no kind of remote that gitrun speaks to", path=shown(told), hint="a path, file://, https:// or ssh://"
    )


def shown(told: str) -> str:
    """An address for people: without user, password, query and fragment."""
    if "://" not in told:
        return told
    parts = urlsplit(told)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def display_address(address: Address) -> str:
    """An address that was parsed, for people."""
    return os.fsdecode(address.directory) if address.directory is not None else shown(address.url)
