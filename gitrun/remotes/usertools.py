"""The user's own git and git-lfs, told what no server and no repository may change, and what they say when they fail.

Their configuration, credential helpers, ssh and proxies are the user's; hooks, filters and protocols that run programs are off.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from gitrun.errors import RecordError, ToolFailed
from gitrun.fsio import remove_tree
from gitrun.gitcmd import find_git, find_git_lfs
from gitrun.remotes import Advance
from gitrun.remotes.address import shown

REMOTE = "gitrun"
"""What the remote is called in the configuration that git is given for one call."""
_KEPT = re.compile(
    r"GIT_((AUTHOR|COMMITTER)_.*|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)|ASKPASS|SSH|SSH_COMMAND|SSH_VARIANT|TRACE.*"
    r"|CURL_VERBOSE|SSL_.*|HTTP_.*|PROXY.*|LFS_SKIP_SMUDGE)"
)
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "fetch.fsckObjects": "true",
    "fetch.unpackLimit": "1",
    "fetch.recurseSubmodules": "false",
    "push.followTags": "false",
    "push.recurseSubmodules": "no",
    "push.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.ssh.allow": "always",
    "http.followRedirects": "initial",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "lfs.fetchinclude": "",
    "lfs.fetchexclude": "",
    "lfs.skipdownloaderrors": "false",
    "lfs.contenttype": "false",
    "lfs.locksverify": "false",
    "lfs.allowincompletepush": "false",
    "lfs.transfer.maxretries": "3",
}
_HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$REMOTE_USERNAME" "$REMOTE_PASSWORD"; }; f'
"""A credential helper that says what stood in the URL: a password on a command line can be read by everybody."""
_OBJECTS = re.compile(r"LFS objects:[^\n(]*\((\d+)/(\d+)\)")
"""How many objects git-lfs has moved, of how many."""
_OID = re.compile(r"[0-9a-f]{64}\Z")
_FORGED = re.compile(
    r"error: object [0-9a-f]{40}: \w+:|fsck error|not a valid object|did not send all necessary objects"
    r"|empty filename in tree entry|malformed mode|too-short tree"
)
"""What git says of objects that it does not take."""
_HINTS = (
    (r"could not read Username|Authentication failed|terminal prompts disabled|Authorization error|403|401",
     "give git a credential helper, or the right to write there"),
    (r"Could not resolve host|Failed to connect|Connection (refused|timed out)|Network is unreachable", "is the network up?"),
    (r"Permission denied \(publickey|Host key verification failed", "`ssh` to that host must work without a password"),
    (r"not found|does not appear to be a git repository|does not exist", "does the repository exist there?"),
    (r"certificate|SSL", "the server's certificate is not one that this machine trusts"),
)  # fmt: skip


class Stalled(ToolFailed):
    """A server moves nothing any more."""


def run_git(
    words: Sequence[str], repository: bytes, url: str, environment: Mapping[str, str], *, largest: int = 0
) -> str:
    """What git prints; `url` is the remote REMOTE, and no file of more than `largest` bytes is written.

    Raises ToolFailed, and RecordError for objects that cannot be right.
    """
    with _started([find_git(), *words], repository, url, environment, largest) as git:
        stdout, stderr = git.communicate()
    if git.returncode:
        raise _failure(words, url, stderr + "\n" + stdout)
    return stdout


def run_git_lfs(
    words: Sequence[str],
    repository: bytes,
    url: str,
    environment: Mapping[str, str],
    *,
    moved: Callable[[], int],
    patience: float,
    largest: int = 0,
) -> None:
    """Runs git-lfs, as long as it moves something: `moved` are the bytes so far.  Raises ToolFailed after `patience` seconds.

    git-lfs 3 waits for ever for an object that a server's answer has left out.
    """
    with _started([find_git_lfs(), *words], repository, url, environment, largest) as lfs:
        before, since = moved(), time.monotonic()
        while True:
            try:
                stdout, stderr = lfs.communicate(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                if moved() != before:
                    before, since = moved(), time.monotonic()
                elif time.monotonic() - since > patience:
                    lfs.kill()
                    lfs.communicate()
                    raise Stalled(
                        f"git lfs {words[0]} has moved nothing for {patience:g} s",
                        path=shown(url),
                        hint="try again; gitrun.stallTimeout is how long it may take",
                    ) from None
    told = _OBJECTS.findall(stdout)
    if lfs.returncode or any(
        done != all_ for done, all_ in told[-1:]
    ):  # git-lfs 3.3 ends well where a server refused (422)
        raise _failure(["lfs", *words], url, stderr + "\n" + stdout)


def _started(
    command: Sequence[str], repository: bytes, url: str, environment: Mapping[str, str], largest: int
) -> subprocess.Popen[str]:
    try:
        process = subprocess.Popen(
            command,
            env=_git_environment(repository, url, environment),
            cwd="/",
            stdin=None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if largest:
            with suppress(ProcessLookupError):  # it has ended already
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest, largest))
    except OSError as error:
        raise ToolFailed(f"git could not be started: {error.strerror}", hint="apt install git, or the like") from error
    return process


def _git_environment(repository: bytes, url: str, more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or _KEPT.fullmatch(name)}
    settings = {**_SETTINGS, f"remote.{REMOTE}.url": url}
    if "REMOTE_PASSWORD" in more:
        settings[f"credential.{_origin(url)}.helper"] = _HELPER  # for no other host, wherever the server may lead
    terminal = sys.stdin is not None and sys.stdin.isatty()
    told = {
        **kept,
        **more,
        "GIT_DIR": os.fsdecode(repository),
        "GIT_TERMINAL_PROMPT": "1" if terminal else "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_CONFIG_COUNT": str(len(settings)),
        "LC_ALL": "C.UTF-8",
    }
    if not terminal and "GIT_SSH_COMMAND" not in kept and "GIT_SSH" not in kept:
        told["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
    for number, (key, value) in enumerate(settings.items()):
        told |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return told


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _failure(words: Sequence[str], url: str, said: str) -> ToolFailed | RecordError:
    """What git complained of, on one line, without secrets; of objects that cannot be right, a RecordError."""
    lines = [re.sub(r"\b(https?|ssh)://[^\s/@]*@", r"\1://", " ".join(line.split())) for line in said.splitlines()]
    lines = [re.sub(r"\?[^\s'\"]*", "?…", line) for line in lines if line]
    weighty = [line for line in lines if re.match(r"(fatal|error|remote|!|\[)", line)] or lines
    told = next((line for line in reversed(weighty) if "Could not read from remote" not in line), "it said nothing")
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, said)), "")
    verb = " ".join(words[: 2 if words[0] == "lfs" else 1])
    if _FORGED.search(said):
        fault = next((line for line in lines if _FORGED.search(line)), told)
        return RecordError(f"what the remote sent is damaged or forged: {fault[:300]}", path=shown(url))
    return ToolFailed(f"git {verb} failed: {told[:300]}", path=shown(url), hint=hint)


class Counted:
    """Bytes that git-lfs says it has moved, told while it moves them."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._seen: dict[str, int] = {}

    @property
    def total(self) -> int:
        """All bytes so far."""
        return sum(self._seen.values())

    def of(self, oids: Iterable[str]) -> int:
        """Bytes so far of these objects."""
        return sum(self._seen.get(oid, 0) for oid in oids)

    @contextmanager
    def listening(self) -> Iterator[dict[str, str]]:
        """The environment for one call of git-lfs, whose progress is heard until the block ends."""
        directory = tempfile.mkdtemp(prefix="gitrun-progress-")
        path = os.path.join(directory, "lfs")
        ended = threading.Event()
        listener = threading.Thread(target=self._listen, args=(path, ended), daemon=True)
        listener.start()
        try:
            yield {"GIT_LFS_PROGRESS": path, "GIT_LFS_FORCE_PROGRESS": "0"}
        finally:
            ended.set()
            listener.join()
            remove_tree(os.fsencode(directory))

    def _listen(self, path: str, ended: threading.Event) -> None:
        at = 0
        while True:
            last = ended.wait(0.2)
            at = self._read(path, at)
            if last:
                return

    def _read(self, path: str, at: int) -> int:
        """`upload 1/3 4096/123456 path`: how much of which file; an upload's is named by its oid."""
        try:
            with open(path, errors="replace") as file:
                file.seek(at)
                text = file.read()
        except FileNotFoundError:
            return at
        for found in re.finditer(r"^\w+ \d+/\d+ (\d+)/\d+ (.+)$", text, re.MULTILINE):
            oid = _OID.search(found[2])
            done, name = int(found[1]), oid[0] if oid else found[2]
            moved = done - self._seen.get(name, 0)
            if moved > 0:
                self._seen[name] = done
                self._advance(moved)
        return at + len(text.encode())
