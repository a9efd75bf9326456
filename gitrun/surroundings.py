"""What lies in a run repository beside refs and objects and could lead git astray: found by `fsck`, obeyed by nobody.

git takes more from a repository than its content: configuration, hooks, other repositories to read from, another
history to tell.  gitrun writes none of these.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress

from gitrun import gitcmd
from gitrun.errors import RecordError, ToolFailed
from gitrun.fsio import make_directories, read_file, sync_directory, write_file
from gitrun.repo import CONFIG
from gitrun.results.fsck import Finding

REPLACEMENTS = "refs/replace/"
BAD = b"gitrun/bad"
"""Where damaged files are set aside, in the repository; `gc` drops them later."""

_LEADS_ASTRAY = {
    b"objects/info/alternates": "it makes git take objects from elsewhere",
    b"objects/info/http-alternates": "it makes git take objects from elsewhere",
    b"commondir": "it makes git use another repository",
    b"info/grafts": "it makes git tell another history",
    b"shallow": "it makes git cut the history",
    b"info/attributes": "it makes git read files differently",
    b"config.worktree": "it is configuration that git may obey",
}
_LFS_HOOK = re.compile(
    rb"""\#!/bin/sh\n
    command\ -v\ git-lfs\ >/dev/null\ 2>&1\ \|\|\ \{\ (?:echo|printf)\ >&2(?:\ "[^"`$]*")+;\ exit\ 2;\ \}\n
    git\ lfs\ (?:post-checkout|post-commit|post-merge|pre-push)\ "\$@"\n""",
    re.VERBOSE,
)
_OWN_DIRECTORIES = (
    b"objects",
    b"objects/pack",
    b"refs",
    b"refs/heads",
    b"refs/tags",
    b"lfs",
    b"lfs/objects",
    b"gitrun",
)


def look_around(repository: bytes) -> tuple[list[Finding], list[str]]:
    """Findings of the kind `config`, and notes."""
    findings = [*_files(repository), *_directories(repository), *_hooks(repository)]
    try:
        findings += _configuration(repository)
    except ToolFailed as error:
        return findings, [f"the repository's configuration was not looked at: {error.message}"]
    return findings, []


def _files(repository: bytes) -> list[Finding]:
    return [
        Finding("config", os.fsdecode(name), what)
        for name, what in _LEADS_ASTRAY.items()
        if os.path.lexists(os.path.join(repository, name))
    ]


def _directories(repository: bytes) -> list[Finding]:
    found = []
    for name in _OWN_DIRECTORIES:
        path = os.path.join(repository, name)
        if os.path.islink(path):
            found.append(Finding("config", os.fsdecode(name), "it is a symlink: the stored copy lies elsewhere"))
        elif not os.path.isdir(path) and name not in (b"lfs", b"lfs/objects"):
            found.append(Finding("missing", os.fsdecode(name), "the directory is missing"))
    return found


def _hooks(repository: bytes) -> list[Finding]:
    try:
        names = sorted(os.listdir(os.path.join(repository, b"hooks")))
    except OSError:
        return []
    return [
        Finding("config", "hooks/" + os.fsdecode(name), "it is a hook, which git runs")
        for name in names
        if not name.endswith(b".sample") and _is_foreign(os.path.join(repository, b"hooks", name))
    ]


def _is_foreign(path: bytes) -> bool:
    """Whether git would run something else than the hooks that git-lfs installs whenever it is called."""
    try:
        found = os.stat(path)
        if not found.st_mode & 0o111 or stat.S_ISDIR(found.st_mode):
            return False
        data = read_file(path, 4096)
    except OSError:
        return True
    return data is None or not _LFS_HOOK.fullmatch(data)


def _configuration(repository: bytes) -> list[Finding]:
    if not os.path.lexists(os.path.join(repository, b"config")):
        return [Finding("missing", "config", "the repository's configuration is missing")]
    try:
        keys = gitcmd.configuration(repository)
    except RecordError as error:
        return [Finding("config", "config", error.message)]
    found = [
        Finding("config", "config", f"it has {key.name}, which git would obey")
        for key in keys
        if not gitcmd.HARMLESS.fullmatch(key.name)
    ]
    if not any(key.name == "core.bare" and key.value.lower() in ("true", "yes", "on", "1", "") for key in keys):
        found.append(Finding("config", "config", "it does not say that the repository is bare"))
    return list(dict.fromkeys(found))


def put_right(repository: bytes, findings: list[Finding]) -> None:
    """Sets aside what leads astray, and writes a configuration that keeps only the harmless of its keys."""
    for finding in findings:
        path = os.path.join(repository, os.fsencode(finding.object))
        if finding.object == "config":
            _renew_configuration(repository)
        elif finding.kind == "missing" and os.fsencode(finding.object) in _OWN_DIRECTORIES:
            make_directories(path)
        elif finding.kind == "config" and os.fsencode(finding.object) not in _OWN_DIRECTORIES:
            set_aside(repository, path)


def _renew_configuration(repository: bytes) -> None:
    path = os.path.join(repository, b"config")
    try:
        keys = gitcmd.configuration(repository) if os.path.lexists(path) else []
    except (RecordError, ToolFailed):
        keys = []
    kept = [key for key in keys if gitcmd.HARMLESS.fullmatch(key.name) and not key.name.startswith(("core.", "gc."))]
    set_aside(repository, path)
    write_file(path, CONFIG + "".join(_encode(key) for key in kept).encode("utf-8", "surrogateescape"))


def _encode(key: gitcmd.Key) -> str:
    section, _, rest = key.name.partition(".")
    subsection, _, name = rest.rpartition(".")
    head = f'[{section} "{_escape(subsection)}"]' if subsection else f"[{section}]"
    return f'{head}\n\t{name} = "{_escape(key.value)}"\n'.replace("\t" + name + ' = ""\n', "\t" + name + " =\n")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def set_aside(repository: bytes, path: bytes, directory: bytes = BAD) -> None:
    """Moves something out of git's sight, into a directory of the repository; nothing there is fine."""
    target = os.path.join(repository, directory)
    make_directories(target)
    name = os.path.basename(path)
    while os.path.lexists(os.path.join(target, name)):
        name = os.path.basename(path) + b"-" + os.urandom(4).hex().encode()
    with suppress(FileNotFoundError):
        os.rename(path, os.path.join(target, name))
        sync_directory(os.path.dirname(path))
