"""Finds out what a file system and the programs here can do, by trying it."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator

from gitrun import leases
from gitrun.copying import reflink
from gitrun.errors import GitrunError
from gitrun.fsio import TEMPORARY, opened, remove_tree
from gitrun.gitcmd import find_git, find_program
from gitrun.guildinstall import find_environment
from gitrun.making import filesystem_type
from gitrun.results.doctor import Fact

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL


def probe_file_system(directory: bytes) -> list[Fact]:
    """What the file system at `directory` can do; it is tried in a directory of our own there, which is gone afterwards."""
    kind = filesystem_type(directory)
    try:
        scratch = os.fsencode(tempfile.mkdtemp(prefix=os.fsdecode(TEMPORARY) + "doctor-", dir=os.fsdecode(directory)))
    except OSError as error:
        return [Fact("file system", False, f"{kind}: cannot be tried, {error.strerror}")]
    try:
        return [Fact("file system", True, kind), *_tried(scratch)]
    finally:
        remove_tree(scratch)


def _tried(scratch: bytes) -> Iterator[Fact]:
    one, other = os.path.join(scratch, b"one"), os.path.join(scratch, b"other")
    with opened(one, _NEW) as fd, opened(other, _NEW) as target:
        os.write(fd, b"x" * 4096)
        shared = reflink(fd, target)
        yield Fact("reflinks", True, "large files take no second place" if shared else "none: large files are copied")
        os.fchmod(fd, 0o400)
        kept = stat.S_IMODE(os.fstat(fd).st_mode) == 0o400
        yield Fact("permission bits", kept, "kept" if kept else "not kept: locked runs stay writable here")
        yield from _attributes(fd)
    yield _links(one, os.path.join(scratch, b"link"))
    with opened(one) as fd:
        yield _leases(fd)
    yield from _names(scratch)


def _attributes(fd: int) -> Iterator[Fact]:
    try:
        os.setxattr(fd, b"user.gitrun", b"")
        yield Fact("extended attributes", True, "kept")
    except OSError as error:
        yield Fact("extended attributes", False, f"not kept: {error.strerror}")


def _links(one: bytes, link: bytes) -> Fact:
    try:
        os.link(one, link)
    except OSError as error:
        return Fact("hard links", False, f"none ({error.strerror}): runs do not share large files in the store")
    return Fact("hard links", True, "runs share large files in the store")


def _leases(fd: int) -> Fact:
    import fcntl

    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return Fact("leases", True, "writers are noticed")
        return Fact("leases", False, "none: a file that is open for writing is not noticed")
    leases.give_back(fd)
    return Fact("leases", True, "files that are open for writing are noticed")


def _names(scratch: bytes) -> Iterator[Fact]:
    tells_case = not os.path.lexists(os.path.join(scratch, b"ONE"))
    yield Fact("letter case", tells_case, "told apart" if tells_case else "not told apart: two names may become one")
    bytes_name = os.path.join(scratch, b"\xff")
    try:
        os.close(os.open(bytes_name, _NEW))
    except OSError:
        yield Fact("names of any bytes", False, "no: names must be UTF-8")
    else:
        yield Fact("names of any bytes", True, "yes")


def probe_programs() -> list[Fact]:
    """git, git-lfs and Guild."""
    return [_git(), _git_lfs(), _guild()]


def _git() -> Fact:
    try:
        git = find_git()
    except GitrunError as error:
        return Fact("git", False, f"{error.message}; {error.hint}")
    return Fact("git", True, f"{_version([git, 'version'])}, {git}")


def _git_lfs() -> Fact:
    try:
        program = find_program("git-lfs")
    except GitrunError as error:
        return Fact("git-lfs", False, f"not installed: stock tools cannot read large files back; {error.hint}")
    return Fact("git-lfs", True, f"{_version([program, 'version'])}, {program}")


def _guild() -> Fact:
    try:
        found = find_environment()
    except GitrunError:
        return Fact("Guild AI", True, "none on PATH")
    hook = f"with gitrun's hook {found.hook}" if found.hook else "without gitrun's hook (gitrun guild install)"
    return Fact("Guild AI", True, f"{found.guild}, {hook}, {found.python}")


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"cannot be started: {error.strerror}"
    found = re.search(r"[0-9]+(?:\.[0-9]+)+", done.stdout)
    return found[0] if found else "of unknown version"
