"""The making of a lock, step by step.

Children before parents, the proof last: until the tag stands nothing claims that the run is locked, and whatever was
done before can be undone from the journal.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote_from_bytes

from gitrun import journal, leases, repo, store
from gitrun.attributes import gitattributes
from gitrun.copier import Link, Source
from gitrun.entry import (
    BLOB,
    DIRECTORY,
    EMPTY_BLAKE3,
    EMPTY_SHA256,
    FILE,
    GIT_LINK,
    LFS,
    LOCK_FILE,
    WRITE_BITS,
    Entry,
    full_path,
)
from gitrun.errors import ChangedWhileReading, GitrunError, Unsupported, system_failed
from gitrun.fsio import remove_tree
from gitrun.gather import Gathered, gather, refuse_unsealable
from gitrun.guard import pool_guarded
from gitrun.journal import Journal
from gitrun.lockfile import LockFile
from gitrun.marks import write_marks
from gitrun.owner import give_to_owner
from gitrun.pack import BLOB as BLOB_OBJECT
from gitrun.pack import COMMIT, TAG, TREE, PackWriter, object_id, packed
from gitrun.progress import Progress
from gitrun.protection import immutable_headers, make_immutable, protection
from gitrun.publish import publish_objects, publish_packs
from gitrun.recover import SPOOL, signals_held, sweep, undo_lock
from gitrun.repo import LOCKED, MAIN, RunRepo
from gitrun.seal import seal
from gitrun.settings import Settings
from gitrun.standing import git_link_text, own_files_apart
from gitrun.statrecord import save, wait_for_tick
from gitrun.tree import FILE_MODE, Leaf, build_trees
from gitrun.upstream import upstream_headers
from gitrun.walk import STILL_WRITTEN, mount_points, walk

GIT_ATTRIBUTES = b".gitattributes"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked of a lock."""

    message: str
    link: Link
    threshold: int
    """Bytes from which on a file is large."""
    force: bool
    immutable: bool
    jobs: int


@dataclass(frozen=True, slots=True)
class Made:
    """A lock that stands."""

    record: LockFile
    commit: str
    when: int
    protection: str
    stored_bytes: int
    notes: tuple[str, ...]


class Making:
    """One lock under way.  `run` either makes it or puts everything back."""

    def __init__(
        self,
        place: store.Place,
        label: str,
        layout: str,
        mutable: frozenset[bytes],
        wanted: Wanted,
        settings: Settings,
        progress: Progress,
    ) -> None:
        assert place.repository is not None
        self._place = place
        self._repository = place.repository
        self._new = not os.path.isdir(place.repository)
        self._label, self._layout, self._mutable = label, layout, mutable
        self._wanted, self._settings, self._progress = wanted, settings, progress
        self._spool = place.own(SPOOL)
        self._begun: Journal | None = None
        self._when = int(time.time())
        self._notes: list[str] = []

    def run(self) -> Made:
        """The steps, in the order that makes a crash harmless."""
        leases.ignore_signals()
        try:
            self._walk()
            self._prepare_repository()
            with pool_guarded(self._place, shared=True):
                self._gather()
                self._begin()
                self._publish()
            write_marks(self._place, self._record, self._lock_file)
            self._take_permission()
            self._look_again()
            self._tag()
            return self._finish()
        except OSError as error:
            self._undo()
            raise system_failed(error, "lock the run", near=self._place.run) from error
        except BaseException:  # ^C too: nothing may stay half done
            self._undo()
            raise

    def _walk(self) -> None:
        run = self._place.run
        mounted = mount_points(run)
        if mounted:
            raise Unsupported("a file system is mounted inside the run", path=mounted[0], hint="unmount it first")
        self._nodes = walk(run)
        for node in self._nodes:
            if node.kind == DIRECTORY and os.path.basename(node.path) == store.STORE_NAME:
                raise Unsupported("the run holds a gitrun store", path=full_path(run, node.path), hint="move it out")
        refuse_unsealable(run, self._nodes)

    def _prepare_repository(self) -> None:
        if self._new:
            repo.create(self._place)
        else:
            repo.check_owner(self._place)
            repo.write_record(self._repository, self._place.record())
        remove_tree(self._spool)
        os.mkdir(self._spool, 0o700)
        with RunRepo(self._repository) as opened_repo:
            self._known = opened_repo.packed_ids()
            self._parent = opened_repo.ref(MAIN) or ""
            of = opened_repo.commit(self._parent).run_id if self._parent else self._place.run_id
            self._origin = f"{of} {self._parent}" if of != self._place.run_id else ""

    def _gather(self) -> None:
        wanted = self._wanted
        source = Source(
            run=self._place.run,
            repository=self._repository,
            store=self._place.store,
            nodes=self._nodes,
            mutable=self._mutable,
            link=wanted.link,
            threshold=wanted.threshold,
            force=wanted.force,
            jobs=wanted.jobs,
            known=self._known,
        )
        pack = PackWriter(self._spool)
        try:
            gathered = gather(source, self._spool, pack, self._progress)
            self._record = self._recorded(gathered)
            self._lock_file = self._record.encode()
            self._digest = sha256(self._lock_file).hexdigest()
            self._commit, self._tag_oid = self._add_history(pack, gathered)
            self._packs = list(dict.fromkeys([*gathered.packs, pack.finish()]))
        finally:
            pack.close()
        self._wanted_objects = tuple(gathered.objects)
        mine = {oid: store.object_path(self._repository, oid) for oid in gathered.objects}
        self._objects = tuple(oid for oid, path in mine.items() if not os.path.lexists(path))
        self._has_large = any(entry.storage == LFS for entry in gathered.entries)
        self._note_outside_links(gathered.outside_links)
        if self._wanted.link == "hardlink" and self._objects:
            self._notes.append("large files share their inodes with the store: a forced edit in place damages both")

    def _note_outside_links(self, paths: list[bytes]) -> None:
        if paths and self._wanted.link != "hardlink":
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            name = os.fsdecode(paths[0])
            self._notes.append(f"{name}{more} has another hard link outside the run: that name is read-only now too")

    # -- the record --

    def _recorded(self, gathered: Gathered) -> LockFile:
        headers = [
            ("filesystem", _filesystem(self._place.run)),
            ("layout", self._layout),
            ("run-id", self._place.run_id),
            ("store", quote_from_bytes(self._place.store)),
            ("threshold", str(self._wanted.threshold)),
        ]
        if self._links_git():
            headers.append(("git-link", quote_from_bytes(git_link_text(self._place))))
        if self._wanted.link == "hardlink":
            headers.append(("link", "hardlink"))
        if self._wanted.immutable:
            headers += immutable_headers(self._place.run, self._nodes)
        headers += upstream_headers(self._place.run, self._nodes, self._settings)
        return LockFile.of([*gathered.entries, *self._created()], headers)

    def _links_git(self) -> bool:
        has_own = any(node.path == GIT_LINK for node in self._nodes)
        if has_own or not self._settings.git_link or b"\n" in self._repository:
            return False
        return not repo.enclosing_work_tree_shows(self._place.run)

    def _created(self) -> list[Entry]:
        """The mutable files that are missing and will be made empty, so that their tool can write to them."""
        known = {node.path: node for node in self._nodes}
        made = []
        for path in self._mutable:
            parent = known.get(path.rpartition(b"/")[0])
            if path not in known and parent is not None and parent.kind == DIRECTORY:
                mode = parent.mode & 0o666
                entry = Entry(path, FILE, mode, 0, parent.mtime_ns, EMPTY_SHA256, EMPTY_BLAKE3, BLOB, True, True)
                made.append(entry)
        return made

    def _add_history(self, pack: PackWriter, gathered: Gathered) -> tuple[str, str]:
        """Puts trees, commit and tag into the pack; returns the ids of the last two."""
        files = [entry for entry in self._record.entries if entry.kind == FILE]
        large = [entry.tree_path or entry.path for entry in files if entry.storage != BLOB]
        small = [entry.tree_path or entry.path for entry in files if entry.storage == BLOB]
        leaves = [*gathered.leaves]
        leaves += [Leaf(LOCK_FILE, FILE_MODE, self._add(pack, BLOB_OBJECT, self._lock_file))]
        leaves += [Leaf(GIT_ATTRIBUTES, FILE_MODE, self._add(pack, BLOB_OBJECT, gitattributes(large, small)))]
        leaves += [
            Leaf(entry.path, FILE_MODE, self._add(pack, BLOB_OBJECT, b""))
            for entry in self._record.entries
            if entry.created
        ]
        trees = build_trees(leaves)
        for tree in trees:
            self._add(pack, TREE, tree.data, tree.oid)
        author, committer = self._settings.author, self._settings.committer
        parents = [self._parent] if self._parent else []
        data = repo.encode_commit(trees[-1].oid.hex(), parents, author, committer, self._when, self._message())
        commit = self._add(pack, COMMIT, data).hex()
        tag = self._add(pack, TAG, repo.encode_tag(commit, committer, self._when, self._tag_message()))
        return commit, tag.hex()

    def _add(self, pack: PackWriter, kind: int, data: bytes, oid: bytes = b"") -> bytes:
        oid = oid or object_id(kind, data)
        if oid not in self._known and oid not in pack:
            pack.add(packed(kind, data, oid))
        return oid

    def _message(self) -> str:
        record = self._record
        counts = f"{_counted(record.files, 'file')}, {_counted(record.bytes, 'byte')}"
        subject = self._wanted.message or f"Lock {self._label}: {counts}"
        trailers = {
            repo.RUN_ID_TRAILER: record.run_id,
            "Gitrun-Layout": self._layout,
            "Gitrun-Files": str(record.files),
            "Gitrun-Bytes": str(record.bytes),
            repo.DIGEST_TRAILER: self._digest,
        }
        if self._origin:
            trailers[repo.ORIGIN_TRAILER] = self._origin
        return f"{_one_paragraph(subject)}\n\n" + "".join(f"{key}: {value}\n" for key, value in trailers.items())

    def _tag_message(self) -> str:
        return f"Locked run {self._record.run_id}\n\n{repo.DIGEST_TRAILER}: {self._digest}\n"

    # -- from here on the journal can undo --

    def _begin(self) -> None:
        begun = Journal(
            journal.LOCK,
            self._record,
            self._tag_oid,
            self._commit,
            self._parent,
            tuple(pack.name for pack in self._packs),
            self._objects,
        )
        self._begun = begun
        journal.begin(self._place, begun, self._lock_file)

    def _publish(self) -> None:
        self._stored = sum(pack.size for pack in self._packs)
        self._stored += publish_objects(self._place, self._spool, self._wanted_objects)
        publish_packs(self._place, self._spool, self._packs)

    def _take_permission(self) -> None:
        wanted = self._wanted
        by_path = {node.path: node for node in self._nodes}
        pairs = [(entry, by_path[entry.path]) for entry in self._record.entries if not entry.created]
        seal(self._place.run, pairs, force=wanted.force, jobs=wanted.jobs)
        if wanted.immutable:
            make_immutable(self._place.run, self._record)
        if self._has_large:  # small ones are as quickly read again as trusted
            wait_for_tick(time.time_ns())

    def _look_again(self) -> None:
        """Every entry as it was when it was hashed, nothing new, nothing gone."""
        run = self._place.run
        self._looked_ns = time.time_ns()
        self._looked = own_files_apart(self._place, self._record, walk(run))
        before = {node.path: node for node in self._nodes}
        created = {entry.path for entry in self._record.entries if entry.created}
        for node in self._looked:
            was = before.pop(node.path, None)
            if was is None and node.path not in created:
                raise ChangedWhileReading(
                    "a file appeared while the run was locked", path=full_path(run, node.path), hint=STILL_WRITTEN
                )
            if was is not None and not was.unchanged(node) and node.path not in self._mutable:
                raise ChangedWhileReading(
                    "it changed while the run was locked", path=full_path(run, node.path), hint=STILL_WRITTEN
                )
        for path in before:
            raise ChangedWhileReading(
                "a file vanished while the run was locked", path=full_path(run, path), hint=STILL_WRITTEN
            )

    def _tag(self) -> None:
        give_to_owner(self._place)
        with RunRepo(self._repository) as opened_repo:
            opened_repo.commit(self._commit)  # it can be read back, before anything points there
            opened_repo.set_ref(MAIN, self._commit)
            opened_repo.set_ref(LOCKED, self._tag_oid)

    def _finish(self) -> Made:
        save(self._place, self._digest, self._looked, differences=0, now_ns=self._looked_ns)
        try:
            remove_tree(self._spool)
            journal.end(self._place)
            give_to_owner(self._place)
        except OSError as error:  # the lock stands, and the next command sweeps
            self._notes.append(f"locked, but leftovers in the store could not be removed: {error.strerror}")
        in_force = protection(self._place.run, self._is_writable)
        return Made(self._record, self._commit, self._when, in_force, self._stored, tuple(self._notes))

    def _is_writable(self) -> bool:
        sealed = (node for node in self._looked if node.kind in (FILE, DIRECTORY) and node.path not in self._mutable)
        return any(node.mode & WRITE_BITS for node in sealed)

    def _undo(self) -> None:
        """Puts everything back.  Where even that fails the journal stays, and `status` says `interrupted`."""
        if self._new and store.read_record(self._repository) not in (None, self._place.record()):
            return  # another run was faster to take this name, and nothing there is this one's
        with signals_held(), suppress(OSError, GitrunError):
            if self._begun is not None:
                undo_lock(self._place, self._begun, drop_tag=True)
            sweep(self._place)
            remove_tree(self._spool)
            if self._new:
                remove_tree(self._repository)
                store.prune(self._place.store)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _one_paragraph(text: str) -> str:
    """A message that cannot be taken for trailers, without control characters."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text).strip() or "Lock"


def _filesystem(run: bytes) -> str:
    """The type of the file system, and what of it a lock depends on."""
    try:
        os.getxattr(run, "user.gitrun")
        xattrs = True
    except OSError as error:
        import errno

        xattrs = error.errno == errno.ENODATA
    return f"{filesystem_type(run)} {'xattrs' if xattrs else 'no-xattrs'}"


def filesystem_type(path: bytes) -> str:
    """The type of the file system that `path` is on, as Linux names it; `unknown` where it does not tell."""
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            rows = [line.split(b" ") for line in table]
    except OSError:
        return "unknown"
    holding = [row for row in rows if (path + b"/").startswith(row[4].rstrip(b"/") + b"/")]
    best = max(holding, key=lambda row: len(row[4]), default=None)
    return best[best.index(b"-") + 1].decode("ascii", "replace") if best else "unknown"
