"""A remote that is a server: the user's own git and git-lfs speak to it, so that credentials, ssh and proxies work as ever.

What the server sends is untrusted.  It comes into a fresh repository whose configuration and hooks are nobody's; files are
bounded by the kernel, so that a server that does not stop sending fails instead of filling the disk.
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

from gitrun.copying import hash_file
from gitrun.errors import GitrunError, ObjectCorrupt, ObjectMissing, RecordError, Refused, SystemFailed, ToolFailed
from gitrun.fsio import make_directories, opened, remove_tree, sync_directory, write_file
from gitrun.gitcmd import find_git, find_git_lfs
from gitrun.packread import MAX_OBJECT
from gitrun.remotes import Advance, Cargo, Update
from gitrun.remotes.address import Address, shown
from gitrun.store import object_path

REMOTE = "gitrun"
"""What the remote is called in the configuration that git is given for one call."""
LARGEST_OBJECT = MAX_OBJECT
"""Bytes of a git object: what a small pack can unfold to must fit into memory."""
_SLACK = 64 << 20
"""Bytes of the disk that nothing from a server may take."""
_BATCH = 400
"""LFS objects in one call of git-lfs: they are words of its command line."""
_REFS = 3000
"""Refs in one call of git: likewise."""
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


class Network:
    """The repository at a URL."""

    def __init__(self, address: Address, patience: float) -> None:
        """`patience`: so many seconds git-lfs may move nothing."""
        self._address, self._patience = address, patience

    def refs(self) -> dict[str, str]:
        """By `git ls-remote`."""
        told = self._git(["ls-remote", "--quiet", "--refs", REMOTE], os.devnull.encode())
        return {name: oid for oid, _, name in (line.partition("\t") for line in told.splitlines()) if name}

    def send(self, repositories: Sequence[bytes], updates: Sequence[Update]) -> None:
        """By one `git push`, which moves all refs or none, and only from where they were."""
        try:
            with _one_of(repositories) as repository:
                for at in range(0, len(updates), _REFS):
                    self._move(updates[at : at + _REFS], repository)
        except ToolFailed as error:
            if "stale info" in error.message or "fetch first" in error.message:
                raise Refused("somebody has pushed this run meanwhile", path=self._shown, hint="push again") from error
            raise

    def _move(self, updates: Sequence[Update], repository: bytes) -> None:
        words = ["push", "--quiet", "--porcelain", "--no-verify", "--atomic"]
        words += [f"--force-with-lease={it.ref}:{it.old}" for it in updates]
        self._git([*words, REMOTE, *(f"{it.new}:{it.ref}" for it in updates)], repository)

    def send_large(self, cargoes: Sequence[Cargo], advance: Advance) -> list[int | GitrunError]:
        """By one `git lfs push` of many, which asks the server first what it lacks; each alone where that one fails."""
        counted, objects = _Counted(advance), {oid for cargo in cargoes for oid in cargo.objects}
        try:
            with _large_of(cargoes) as repository:
                self._push_large(repository, sorted(objects), counted)
        except GitrunError as error:
            if len(cargoes) == 1 or isinstance(error, Stalled) or not self._answers():
                return [error] * len(cargoes)
            return [self._push_alone(cargo, counted) for cargo in cargoes]
        return [counted.of(cargo.objects) for cargo in cargoes]

    def _answers(self) -> bool:
        try:
            self.refs()
        except ToolFailed:
            return False
        return True

    def _push_alone(self, cargo: Cargo, counted: _Counted) -> int | GitrunError:
        try:
            with _large_of([cargo]) as repository:
                self._push_large(repository, sorted(cargo.objects), counted)
        except GitrunError as error:
            return error
        return counted.of(cargo.objects)

    def _push_large(self, repository: bytes, oids: Sequence[str], counted: _Counted) -> None:
        """Once more where anything was sent: git-lfs 3.3 says nothing of what the server refused as unprocessable (422)."""
        before = counted.total
        self._push_batches(repository, oids, counted)
        again = _Counted(lambda _: None)
        if counted.total > before:
            self._push_batches(repository, oids, again)
        if again.total:
            raise ToolFailed(
                "the server does not keep large files that it is sent", path=self._shown, hint="ask who runs it"
            )

    def _push_batches(self, repository: bytes, oids: Sequence[str], counted: _Counted) -> None:
        for at in range(0, len(oids), _BATCH):
            with counted.listening() as listened:
                words = ["push", "--object-id", REMOTE, *oids[at : at + _BATCH]]
                self._git_lfs(words, repository, listened, counted)

    def receive(self, refs: Sequence[str], into: bytes, *, shallow: bool = False) -> None:
        """By `git fetch`, which checks every object."""
        fetch_refs(self._address.url, refs, into, shallow=shallow, environment=self._environment())

    def receive_large(self, objects: Mapping[str, int], into: bytes, advance: Advance) -> None:
        """By `git lfs fetch` of everything that the fetched refs need."""
        if not objects:
            return
        largest = max(objects.values())
        counted = _Counted(advance)
        with counted.listening() as listened:
            self._git_lfs(["fetch", "--all", REMOTE], into, listened, counted, largest=largest + _BLOCK)
        for oid, size in objects.items():
            _check_large(into, oid, size)

    def missing(self, objects: Mapping[str, int]) -> list[str]:
        """Not told: only a server's own answer to a fetch would be worth anything."""
        return []

    def mend(self, repository: bytes, objects: Mapping[str, int]) -> list[str]:
        """Sends those that the server says it has not; what it holds damaged, only whoever runs it can remove."""
        mended = []
        for oid, size in objects.items():
            (sent,) = self.send_large([Cargo(repository, {oid: size})], lambda _: None)
            if isinstance(sent, GitrunError):
                raise sent
            if sent:
                mended.append(oid)
        return mended

    @property
    def _shown(self) -> str:
        return shown(self._address.url)

    def _environment(self) -> dict[str, str]:
        more = {"REMOTE_USERNAME": self._address.username, "REMOTE_PASSWORD": self._address.password}
        return more if self._address.password else {}

    def _git(self, words: Sequence[str], repository: bytes) -> str:
        return run_git(words, repository, self._address.url, self._environment())

    def _git_lfs(
        self, words: Sequence[str], repository: bytes, more: Mapping[str, str], counted: _Counted, *, largest: int = 0
    ) -> None:
        run_git_lfs(
            words,
            repository,
            self._address.url,
            {**self._environment(), **more},
            moved=lambda: counted.total,
            patience=self._patience,
            largest=largest,
        )


_BLOCK = 1 << 20


@contextmanager
def _one_of(repositories: Sequence[bytes]) -> Iterator[bytes]:
    """The repository; of several, one for the duration of a block that borrows the objects of all."""
    if len(repositories) == 1:
        yield repositories[0]
        return
    with _scratch() as scratch:
        lines = [os.path.join(repository, b"objects") + b"\n" for repository in repositories]
        write_file(os.path.join(scratch, b"objects", b"info", b"alternates"), b"".join(lines), sync=False)
        yield scratch


@contextmanager
def _large_of(cargoes: Sequence[Cargo]) -> Iterator[bytes]:
    """A repository, for the duration of a block, that has links to the large files of all.

    One will do for a single cargo, too: git-lfs tells its progress by path, and this path is a tame one.
    """
    with _scratch() as scratch:
        for repository, objects in cargoes:
            for oid in objects:
                link = object_path(scratch, oid)
                os.makedirs(os.path.dirname(link), exist_ok=True)
                with suppress(FileExistsError):  # another run has the same
                    os.symlink(object_path(repository, oid), link)
        yield scratch


@contextmanager
def _scratch() -> Iterator[bytes]:
    """An empty bare repository for the duration of a block."""
    scratch = os.fsencode(tempfile.mkdtemp(prefix="gitrun-push-"))
    try:
        run_git(["init", "--quiet", "--bare", "--template="], scratch, "", {})
        yield scratch
    finally:
        remove_tree(scratch)


def fetch_refs(
    url: str, refs: Sequence[str], into: bytes, *, shallow: bool = False, environment: Mapping[str, str] | None = None
) -> None:
    """Makes the bare repository `into` with these refs of the repository at a URL.  Raises ToolFailed, SystemFailed."""
    make_directories(into)
    run_git(["init", "--quiet", "--bare", "--template="], into, url, {})
    words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *(["--depth=1"] if shallow else [])]
    for at in range(0, len(refs), _REFS):
        disk = os.statvfs(into)
        available = disk.f_bavail * disk.f_frsize - _SLACK
        specs = [f"+{ref}:{ref}" for ref in refs[at : at + _REFS]]
        run_git([*words, REMOTE, *specs], into, url, environment or {}, largest=max(available, _BLOCK))
    told = run_git(["cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectsize)"], into, url, {})
    largest = max(map(int, told.split()), default=0)
    if largest > LARGEST_OBJECT:
        raise RecordError(f"the remote sent an object of {largest} bytes, which no lock makes", path=shown(url))


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


def _check_large(repository: bytes, oid: str, size: int) -> None:
    path = object_path(repository, oid)
    try:
        with opened(path) as fd:
            found = os.fstat(fd).st_size
            digest = hash_file(fd)[0] if found == size else ""
            os.fsync(fd)
    except FileNotFoundError as error:
        raise ObjectMissing(f"the remote has no LFS object {oid}", path=path, hint="was the push completed?") from error
    if digest != oid:
        raise ObjectCorrupt(f"the remote's LFS object {oid} is damaged: {size} bytes expected, {found} seen", path=path)
    sync_directory(os.path.dirname(path))


class _Counted:
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


def refuse_small_disk(directory: bytes, needed: int) -> None:
    """Raises SystemFailed where `needed` bytes do not fit on the disk that `directory` is on."""
    disk = os.statvfs(directory)
    available = disk.f_bavail * disk.f_frsize
    if needed > available - _SLACK:
        raise SystemFailed(
            f"not enough space: {needed} bytes needed, {available} available, of which {_SLACK} stay free",
            path=directory,
            hint="free some space",
        )
