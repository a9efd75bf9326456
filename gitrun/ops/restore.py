"""restore: put back what differs from the lock - content, type, permissions, times - or the whole run if it is gone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gitrun import journal, repo, statrecord
from gitrun.compare import content_difference, drift, join, links_drift
from gitrun.content import digest_nodes, is_as_recorded, sha256_of
from gitrun.entry import DIRECTORY, FILE, ROOT, Entry, full_path
from gitrun.errors import GitrunError, ObjectMissing, RecordError, Refused, UsageError, system_failed
from gitrun.fsio import TEMPORARY, remove_tree
from gitrun.guard import guarded
from gitrun.journal import Journal
from gitrun.marks import RESTORING, marks_stand, write_marks
from gitrun.ops._context import Context, RunArgument, context, inside_run, jobs_or_all
from gitrun.owner import give_to_owner, owner_to_be
from gitrun.progress import SILENT, Progress
from gitrun.protection import is_asked, make_changeable, make_immutable
from gitrun.rebuild import Rebuilder, close_root, open_directories, refuse_folding, shut_directories
from gitrun.recover import refuse_interrupted, signals_held, sweep
from gitrun.repo import RunRepo
from gitrun.results import LOCKED, UNLOCKED, Difference
from gitrun.results.restore import RestoreResult
from gitrun.settings import Settings
from gitrun.standing import Standing, is_locked, own_files_apart, read_newest
from gitrun.store import Place
from gitrun.walk import Node, walk

_CONTENT = ("deleted", "modified", "type", "target", "links", "mutable")


@dataclass(slots=True)
class Plan:
    """What a restore is going to do."""

    rebuild: list[Entry] = field(default_factory=list)
    """Entries to be made anew, sorted by path."""
    mend: list[Entry] = field(default_factory=list)
    """Entries that only lost permissions, times or attributes."""
    told: list[Difference] = field(default_factory=list)
    added: list[Difference] = field(default_factory=list)
    in_the_way: list[bytes] = field(default_factory=list)
    """Added entries below a place where something else was locked."""
    whole: list[Entry] = field(default_factory=list)
    """Hard links whose content is right."""


def restore(
    run: RunArgument,
    paths: Sequence[str | bytes] = (),
    *,
    dry_run: bool = False,
    clean: bool = False,
    jobs: int = 0,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> RestoreResult:
    """Puts back what differs from the run's newest lock, or only `paths` (relative to the run) and what lies below them.

    Mutable files are put back only when named.  Added files stay, and are told, unless `clean`.  What the store cannot
    give back is told in `notes`, with exit 6; everything else is restored.  Raises NotLocked, RecordError, Refused,
    UsageError for a path that the lock does not know, SystemFailed.
    """
    here = context(run, settings)
    named = [inside_run(path) for path in paths]
    try:
        with guarded(here.place):
            here = here.again()
            return _restore(here, named, dry_run, clean, jobs_or_all(jobs), progress)
    except OSError as error:
        raise system_failed(error, "restore the run", near=here.place.run) from error


def _restore(
    here: Context, named: Sequence[bytes], dry_run: bool, clean: bool, jobs: int, progress: Progress
) -> RestoreResult:
    refuse_interrupted(here.place)
    repo.check_owner(here.place)
    standing = read_newest(here.place)
    sealed = is_locked(here.place)
    interrupted = journal.pending(here.place) is not None
    plan = _plan(here, standing, named, sealed, clean, jobs, progress)
    nothing = not (plan.rebuild or plan.mend or (clean and plan.added) or _own_files_missing(here, standing, sealed))
    if dry_run or (nothing and not interrupted):
        return _result(here, sealed, plan, clean, (0, 0), [], dry_run=dry_run)
    _refuse_obstacles(here, plan, clean)
    lost, written = _carry_out(here, standing, plan, clean, sealed, progress)
    return _result(here, sealed, plan, clean, written, lost, dry_run=False)


# -- the plan --


def _plan(
    here: Context,
    standing: Standing,
    named: Sequence[bytes],
    sealed: bool,
    clean: bool,
    jobs: int,
    progress: Progress,
) -> Plan:
    nodes = _nodes(here, standing) if here.place.exists else []
    missing = _missing_on_the_way(named, nodes)
    entries = [entry for entry in standing.record.entries if _chosen(entry.path, named) or entry.path in missing]
    chosen_nodes = [node for node in nodes if _chosen(node.path, named) or node.path in missing]
    _refuse_unknown(here, named, {entry.path for entry in entries} | {node.path for node in chosen_nodes})
    joined = join(entries, chosen_nodes)
    files = [node for _, node in joined.pairs if node.kind == FILE]
    digests = digest_nodes(here.place.run, files, jobs=jobs, progress=progress)
    found = list(joined.differences)
    for entry, node in joined.pairs:
        known = digests.get(entry.path)
        if known is not None and not is_as_recorded(entry, node.size, known[0]):
            found.append(content_difference(entry, node.size, sha256_of(here.place.run, node)))
        else:
            xattrs = known[1] if known else node.xattrs
            found += drift(entry, node, xattrs, sealed=sealed)
    found += links_drift(joined.pairs)
    return _sorted_out(entries, found, named, clean=clean, gone=not here.place.exists)


def _missing_on_the_way(named: Sequence[bytes], nodes: Sequence[Node]) -> set[bytes]:
    """The directories above named paths that are gone, or are none now."""
    there = {node.path for node in nodes if node.kind == DIRECTORY}
    above = {name[:at] for name in named for at in range(len(name)) if name[at : at + 1] == b"/"}
    return above - there


def _chosen(path: bytes, named: Sequence[bytes]) -> bool:
    return not named or any(path == name or not name or path.startswith(name + b"/") for name in named)


def _refuse_unknown(here: Context, named: Sequence[bytes], known: set[bytes]) -> None:
    for name in named:
        if name and name not in known and not any(path.startswith(name + b"/") for path in known):
            raise UsageError(
                "the lock knows no such path",
                path=full_path(here.place.run, name),
                hint="gitrun verify lists what differs",
            )


def _nodes(here: Context, standing: Standing) -> list[Node]:
    nodes = own_files_apart(here.place, standing.record, walk(here.place.run))
    return [node for node in nodes if not node.path.startswith(TEMPORARY)]


def _sorted_out(
    entries: Sequence[Entry], found: Sequence[Difference], named: Sequence[bytes], *, clean: bool, gone: bool
) -> Plan:
    plan = Plan()
    by_path = {entry.path: entry for entry in entries}
    rebuilt: set[bytes] = set()
    # A directory cannot have its old time while something stays in it that came later.
    busy = set() if clean else {one.path.rpartition(b"/")[0] for one in found if one.kind == "added"}
    for difference in sorted(found, key=lambda one: (one.path, one.kind)):
        entry = by_path.get(difference.path)
        if entry is None:
            plan.added.append(difference)
        elif (entry.mutable and not gone and entry.path not in named) or (
            difference.kind == "mtime" and entry.path in busy
        ):
            continue
        else:
            plan.told.append(difference)
            if difference.kind in _CONTENT:
                rebuilt.add(entry.path)
    touched = {difference.path for difference in plan.told}
    plan.rebuild = [entry for entry in entries if entry.path in rebuilt and entry.path != ROOT]
    plan.mend = [entry for entry in entries if entry.path in touched - rebuilt]
    plan.whole = [entry for entry in entries if entry.hardlink and entry.path not in rebuilt]
    replaced = {difference.path for difference in plan.told if difference.kind == "type"}
    plan.in_the_way = [one.path for one in plan.added if _below_any(one.path, replaced)]
    return plan


def _below_any(path: bytes, tops: set[bytes]) -> bool:
    parts = path.split(b"/")
    return any(b"/".join(parts[:length]) in tops for length in range(1, len(parts)))


def _refuse_obstacles(here: Context, plan: Plan, clean: bool) -> None:
    if plan.in_the_way and not clean:
        raise Refused(
            "a directory that was not locked stands in the way, and holds files",
            path=full_path(here.place.run, plan.in_the_way[0]),
            hint="move them away, or restore with --clean",
        )


# -- carrying it out --


def _carry_out(
    here: Context, standing: Standing, plan: Plan, clean: bool, sealed: bool, progress: Progress
) -> tuple[list[GitrunError], tuple[int, int]]:
    place, record = here.place, standing.record
    by_path = {entry.path: entry for entry in record.entries}
    made_root = not place.exists
    touched = _directories(plan, clean)
    immutable = is_asked(record) and sealed
    try:
        journal.begin(place, Journal(journal.RESTORE, record))
        if made_root:
            _make_root(place)
        elif immutable:
            make_changeable(place.run, record)
        open_directories(place.run, touched)
        lost, written = _write(here, standing, plan, clean, sealed, touched, by_path, progress)
        refuse_folding(place.run, _still_missing(here, standing, plan, lost))
    except BaseException:  # ^C too: what was restored may stay, what was opened may not
        with signals_held(), suppress(OSError, GitrunError):
            if made_root:
                remove_tree(place.run)  # nothing was there before, and nothing is half there now
            else:
                remove_tree(os.path.join(place.run, RESTORING))
                shut_directories(place.run, [by_path[path] for path in touched if path in by_path], sealed=sealed)
            _end(place)
        raise
    _end(place)
    if immutable:
        make_immutable(place.run, record)
    give_to_owner(place)
    return lost, written


def _end(place: Place) -> None:
    statrecord.forget(place)
    sweep(place)
    journal.end(place)


def _make_root(place: Place) -> None:
    owner = owner_to_be(place)
    os.makedirs(place.run, 0o700, exist_ok=True)
    if owner is not None:
        os.chown(place.run, *owner, follow_symlinks=False)


def _directories(plan: Plan, clean: bool) -> set[bytes]:
    """The directories that are written into: those of every entry that is made, removed or mended."""
    paths = [entry.path for entry in plan.rebuild] + [entry.path for entry in plan.mend]
    paths += [difference.path for difference in plan.added] if clean else []
    directories = {ROOT}
    for path in paths:
        directories.add(path.rpartition(b"/")[0])
    directories |= {entry.path for entry in [*plan.rebuild, *plan.mend] if entry.kind == DIRECTORY}
    directories |= {one.path for one in plan.added if clean}
    return directories


def _write(
    here: Context,
    standing: Standing,
    plan: Plan,
    clean: bool,
    sealed: bool,
    touched: set[bytes],
    by_path: dict[bytes, Entry],
    progress: Progress,
) -> tuple[list[GitrunError], tuple[int, int]]:
    place = here.place
    commit = _commit(here, standing)
    files = [entry for entry in plan.rebuild if entry.kind == FILE]
    progress.stage("restoring", sum(entry.size for entry in files), "B")
    lost: list[GitrunError] = []
    directories = [by_path[path] for path in touched if path in by_path and by_path[path].kind == DIRECTORY]
    kept = frozenset(one.path.rpartition(b"/")[0] for one in plan.added if not clean)
    with (
        RunRepo(place.repository or b"") as stored,
        Rebuilder(
            place.run, stored, commit, sealed=sealed, owner=owner_to_be(place), advance=progress.advance
        ) as builder,
    ):
        try:
            builder.remove(_to_remove(plan, clean))
            for entry in plan.whole:
                builder.whole(entry)
            for entry in plan.rebuild:
                try:
                    builder.put(entry)
                except RecordError as error:
                    lost.append(error)
            for entry in plan.mend:
                if entry.kind != DIRECTORY:
                    builder.mend(entry)
        finally:
            if sealed:
                write_marks(place, standing.record)
            builder.close_directories([one for one in directories if one.path], kept)
    close_root(place.run, by_path[ROOT], sealed=sealed, keep_time=ROOT in kept)
    return lost, (len(files) - len(lost), sum(entry.size for entry in files))


def _commit(here: Context, standing: Standing) -> str:
    if standing.tag is not None:
        return standing.tag.commit
    with RunRepo(here.place.repository or b"") as stored:
        return stored.ref(repo.MAIN) or ""


def _to_remove(plan: Plan, clean: bool) -> list[bytes]:
    """Added entries that are to go, and whatever stands where another type was locked."""
    replaced = [one.path for one in plan.told if one.kind == "type"]
    return replaced + [one.path for one in plan.added if clean]


def _own_files_missing(here: Context, standing: Standing, sealed: bool) -> bool:
    if not sealed or not here.place.exists:
        return sealed
    return not marks_stand(here.place, standing.record)


def _still_missing(here: Context, standing: Standing, plan: Plan, lost: Sequence[GitrunError]) -> list[bytes]:
    if lost:
        return []
    joined = join(standing.record.entries, _nodes(here, standing))
    rebuilt = {entry.path for entry in plan.rebuild}
    return [one.path for one in joined.differences if one.kind in ("deleted", "type", "target") and one.path in rebuilt]


def _result(
    here: Context,
    sealed: bool,
    plan: Plan,
    clean: bool,
    written: tuple[int, int],
    lost: Sequence[GitrunError],
    *,
    dry_run: bool,
) -> RestoreResult:
    unrestored = {os.path.relpath(error.path, here.place.run) for error in lost if error.path}
    if dry_run:
        files = [entry for entry in plan.rebuild if entry.kind == FILE]
        written = (len(files), sum(entry.size for entry in files))
    return RestoreResult(
        run=here.place.run_id,
        path=here.place.run,
        state=LOCKED if sealed else UNLOCKED,
        exit=ObjectMissing.exit_code if lost else 0,
        notes=tuple(f"not restored: {os.fsdecode(error.path or b'')}: {error.message}" for error in lost),
        restored=tuple(one for one in plan.told if one.path not in unrestored),
        kept=() if clean else tuple(plan.added),
        removed=tuple(plan.added) if clean else (),
        files=written[0],
        bytes=written[1],
        dry_run=dry_run,
    )
