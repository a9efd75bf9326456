"""A remote that is a server: the user's own git and git-lfs speak to it, so that credentials, ssh and proxies work as ever.

What the server sends is untrusted.  It comes into a fresh repository whose configuration and hooks are nobody's; files are
bounded by the kernel, so that a server that does not stop sending fails instead of filling the disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from gitrun.copying import hash_file
from gitrun.errors import GitrunError, ObjectCorrupt, ObjectMissing, RecordError, Refused, SystemFailed, ToolFailed
from gitrun.fsio import make_directories, opened, remove_tree, sync_directory, write_file
from gitrun.packread import MAX_OBJECT
from gitrun.remotes import Advance, Cargo, Update
from gitrun.remotes.address import Address, shown
from gitrun.remotes.usertools import REMOTE, Counted, Stalled, run_git, run_git_lfs
from gitrun.store import object_path

LARGEST_OBJECT = MAX_OBJECT
"""Bytes of a git object: what a small pack can unfold to must fit into memory."""
_SLACK = 64 << 20
"""Bytes of the disk that nothing from a server may take."""
_BATCH = 400
"""LFS objects in one call of git-lfs: they are words of its command line."""
_REFS = 3000
"""Refs in one call of git: likewise."""
_BLOCK = 1 << 20


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
        """By one `git push` (of up to 1,500 runs), which moves all refs or none, and only from where they were."""
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
        counted, objects = Counted(advance), {oid for cargo in cargoes for oid in cargo.objects}
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

    def _push_alone(self, cargo: Cargo, counted: Counted) -> int | GitrunError:
        try:
            with _large_of([cargo]) as repository:
                self._push_large(repository, sorted(cargo.objects), counted)
        except GitrunError as error:
            return error
        return counted.of(cargo.objects)

    def _push_large(self, repository: bytes, oids: Sequence[str], counted: Counted) -> None:
        """Once more where anything was sent: git-lfs 3.3 says nothing of what the server refused as unprocessable (422)."""
        before = counted.total
        self._push_batches(repository, oids, counted)
        again = Counted(lambda _: None)
        if counted.total > before:
            self._push_batches(repository, oids, again)
        if again.total:
            raise ToolFailed(
                "the server does not keep large files that it is sent", path=self._shown, hint="ask who runs it"
            )

    def _push_batches(self, repository: bytes, oids: Sequence[str], counted: Counted) -> None:
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
        counted = Counted(advance)
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
        self, words: Sequence[str], repository: bytes, more: Mapping[str, str], counted: Counted, *, largest: int = 0
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


@contextmanager
def _one_of(repositories: Sequence[bytes]) -> Iterator[bytes]:
    """The repository; of several, one for the duration of a block that borrows the objects of all."""
    if len(repositories) == 1:
        yield repositories[0]
        return
    with _bare() as bare:
        lines = [os.path.join(repository, b"objects") + b"\n" for repository in repositories]
        write_file(os.path.join(bare, b"objects", b"info", b"alternates"), b"".join(lines), sync=False)
        yield bare


@contextmanager
def _large_of(cargoes: Sequence[Cargo]) -> Iterator[bytes]:
    """A repository, for the duration of a block, that has links to the large files of all.

    One will do for a single cargo, too: git-lfs tells its progress by path, and this path is a tame one.
    """
    with _bare() as bare:
        for repository, objects in cargoes:
            for oid in objects:
                link = object_path(bare, oid)
                os.makedirs(os.path.dirname(link), exist_ok=True)
                with suppress(FileExistsError):  # another run has the same
                    os.symlink(object_path(repository, oid), link)
        yield bare


@contextmanager
def _bare() -> Iterator[bytes]:
    """An empty bare repository for the duration of a block."""
    bare = os.fsencode(tempfile.mkdtemp(prefix="gitrun-push-"))
    try:
        run_git(["init", "--quiet", "--bare", "--template="], bare, "", {})
        yield bare
    finally:
        remove_tree(bare)


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
