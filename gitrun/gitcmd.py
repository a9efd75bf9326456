"""Stock git, run on a run repository for gitrun's own ends; the only module that knows GitPython.

For transfers, `remotes/usertools.py` runs git as its user has configured it.

What git is told stands here in full: which program, which repository, which environment.  Nothing that the user, a
store or a run has configured reaches it.  GitPython adds to the environment of this process and cannot take anything
out of it, so git is started through `env -i`.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

from gitrun.errors import RecordError, ToolFailed

OLDEST = (2, 31)
"""The first git that takes configuration from GIT_CONFIG_COUNT."""

OLDEST_LFS = (2, 10)
"""The first git-lfs that is known to push and fetch from a bare repository."""

HARMLESS = re.compile(
    r"core\.(bare|repositoryformatversion|filemode|symlinks|ignorecase|precomposeunicode|logallrefupdates"
    r"|sharedrepository|compression)|(gitrun|user|branch|gc|pack|fetch|push)\..*"
    r"|lfs\.(?!(customtransfer|extension)\.|storage$|.*standalonetransferagent$).*"
    r"|remote\..*\.(url|pushurl|fetch|push|mirror|prune|tagopt|lfsurl)|remote\.pushdefault",
    re.IGNORECASE | re.DOTALL,
)
"""Keys of a repository's configuration that make git start nothing and read nothing elsewhere."""

_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.commitGraph": "false",
    "core.multiPackIndex": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}
_SKELETON = {
    "HEAD": "ref: refs/heads/main\n",
    "config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
}
_FAN_OUT = re.compile(rb"[0-9a-f]{2}|pack")
_MESSAGE = re.compile(r"(?:error|fatal|warning|missing|broken|bad|dangling|unreachable|notice)\b")


class Key(NamedTuple):
    """One setting of a repository's configuration."""

    name: str
    value: str


def find_program(name: str, path: str | None = None) -> str:
    """The absolute path of a program on `path` (default: PATH); raises ToolFailed.

    Entries that depend on the current directory, which may be a run, do not count.
    """
    searched = os.environ.get("PATH", os.defpath) if path is None else path
    for directory in searched.split(os.pathsep):
        candidate = os.path.join(directory, name)
        if os.path.isabs(directory) and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise ToolFailed(f"{name} is not installed", hint=f"apt install {name}, or the like")


def find_git() -> str:
    """The absolute path of a git that is new enough; raises ToolFailed."""
    git = find_program("git")
    done = _execute([git, "version"], environment())
    found = re.match(r"git version (\d+)\.(\d+)", done.stdout)
    if done.code or not found:
        raise ToolFailed("git does not tell its version", path=git, hint="apt install --reinstall git, or the like")
    if (int(found[1]), int(found[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise ToolFailed(f"git {found[1]}.{found[2]} is too old", path=git, hint=f"install git {wanted} or newer")
    return git


def find_git_lfs() -> str:
    """The absolute path of a git-lfs that is new enough; raises ToolFailed."""
    lfs = find_program("git-lfs")
    done = _execute([lfs, "version"], environment())
    found = re.match(r"git-lfs/(\d+)\.(\d+)", done.stdout)
    if done.code or not found:
        raise ToolFailed("git-lfs does not tell its version", path=lfs, hint="apt install --reinstall git-lfs")
    if (int(found[1]), int(found[2])) < OLDEST_LFS:
        wanted = ".".join(map(str, OLDEST_LFS))
        raise ToolFailed(
            f"git-lfs {found[1]}.{found[2]} is too old", path=lfs, hint=f"install git-lfs {wanted} or newer"
        )
    return lfs


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """All that a git started by gitrun sees: no user, no system, no hook, no prompt, no network but plain protocols."""
    told = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "file:https:ssh",
        "GIT_CEILING_DIRECTORIES": "/",
        "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
    }
    for number, (key, value) in enumerate(_SETTINGS.items()):
        told |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return told | dict(extra or {})


def configuration(repository: bytes) -> list[Key]:
    """What stands in the repository's own configuration file; nothing that it includes is read.

    Raises RecordError when git cannot read it, ToolFailed when there is no git.
    """
    path = os.fsdecode(os.path.join(repository, b"config"))
    command = [find_git(), "config", "--file", path, "--no-includes", "--null", "--list"]
    done = _execute(command, environment())
    if done.code:
        raise RecordError("git cannot read the repository's configuration", path=path, hint="gitrun fsck --repair")
    return [Key(*item.partition("\n")[::2]) for item in done.stdout.split("\0") if item]


def fsck(repository: bytes, refs: Mapping[str, str]) -> list[str]:
    """What `git fsck --strict` has to say about the objects of a repository and all that `refs` lead to.

    git sees a skeleton with these refs, which borrows the objects: neither the repository's configuration nor its
    alternates, grafts, replacements or hooks can change the verdict.  Nothing is written to the repository.
    Raises ToolFailed.
    """
    git = find_git()
    with _skeleton(repository, refs) as skeleton:
        command = [git, "--no-replace-objects", "fsck", "--strict", "--full", "--no-dangling", "--no-progress"]
        done = _execute(command, environment({"GIT_DIR": skeleton}))
        told = (done.stdout + "\n" + done.stderr).replace(skeleton, os.fsdecode(repository))
    messages = _messages(told)
    if done.code and not messages:
        raise ToolFailed(f"git fsck ended with {done.code} and said nothing", path=repository)
    return messages if done.code else []


def _messages(told: str) -> list[str]:
    """One message a line: git spreads some over two."""
    found: list[str] = []
    for line in told.splitlines():
        if _MESSAGE.match(line) or not found:
            found += [line] if line.strip() else []
        else:
            found[-1] += " " + " ".join(line.split())
    return [" ".join(line.split()) for line in found if not line.startswith("notice:")]


@contextmanager
def _skeleton(repository: bytes, refs: Mapping[str, str]) -> Iterator[str]:
    """A temporary repository without objects of its own."""
    with tempfile.TemporaryDirectory(prefix="gitrun-fsck-") as skeleton:
        for name, content in _SKELETON.items():
            _write(os.path.join(skeleton, name), content)
        _write(os.path.join(skeleton, "packed-refs"), "".join(f"{refs[name]} {name}\n" for name in sorted(refs)))
        os.makedirs(os.path.join(skeleton, "refs"))
        os.makedirs(os.path.join(skeleton, "objects"))
        objects = os.path.join(repository, b"objects")
        for entry in os.listdir(objects):
            if _FAN_OUT.fullmatch(entry):
                os.symlink(os.path.join(objects, entry), os.path.join(os.fsencode(skeleton), b"objects", entry))
        yield skeleton


def _write(path: str, content: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)


class _Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


def _execute(command: Sequence[str], env: Mapping[str, str]) -> _Done:
    """Runs a program to its end, from the root directory, with this environment and no other."""
    git = _git_python(command[0])
    whole = [find_program("env"), "-i", *(f"{name}={value}" for name, value in env.items()), *command]
    try:
        code, stdout, stderr = git.cmd.Git("/").execute(
            whole,
            with_extended_output=True,
            with_exceptions=False,
            stdout_as_string=False,
            strip_newline_in_stdout=False,
        )
    except (git.exc.GitCommandError, OSError) as error:
        raise ToolFailed(f"git could not be started: {error}", path=command[0]) from error
    return _Done(code, os.fsdecode(stdout), os.fsdecode(stderr) if isinstance(stderr, bytes) else stderr)


def _git_python(program: str) -> ModuleType:
    """GitPython, imported when first used: its import looks for git, and must find ours, and must not complain."""
    if "git" not in sys.modules:
        wished = {"GIT_PYTHON_REFRESH": "quiet", "GIT_PYTHON_GIT_EXECUTABLE": program}
        before = {name: os.environ.get(name) for name in wished}
        os.environ.update(wished)
        try:
            importlib.import_module("git")
        finally:
            for name, value in before.items():
                _set(name, value)
    return sys.modules["git"]


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
