"""fsck: the stored copy itself - every git object, every large file, every ref, every lock; and its repair.

gitrun's own look comes first, stock `git fsck --strict` judges after it.  All faults are told, with the files of the run
that they concern.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from gitrun import gitcmd, journal, largefiles, mend, store
from gitrun.errors import GitrunError, NotLocked, RecordError, ToolFailed, system_failed
from gitrun.guard import guarded
from gitrun.inspection import Inspection, inspect, not_stored
from gitrun.lockfile import LockFile
from gitrun.ops._context import Context, RunArgument, context, jobs_or_all
from gitrun.ops.status import status_here
from gitrun.owner import give_to_owner
from gitrun.progress import SILENT, Progress
from gitrun.recover import refuse_interrupted
from gitrun.repo import MAIN, RunRepo, check_owner, write_record
from gitrun.results import UNLOCKED
from gitrun.results.fsck import Finding, FsckResult
from gitrun.settings import Settings
from gitrun.store import Place
from gitrun.surroundings import set_aside

_ID = re.compile(r"\b[0-9a-f]{40}\b")
_RECORD, _JOURNAL = "gitrun/run", "gitrun/journal"
_ROUNDS = 5
"""What is mended may bring to light what it hid: a tag its commit, a commit its tree."""


def fsck(
    run: RunArgument,
    *,
    repair: bool = False,
    remote: RunArgument | None = None,
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> FsckResult:
    """The health of the stored copy of a run; `exit` is 6 where something is damaged, 0 once all of it is mended.

    With `repair`, good bytes are taken from the run and from other runs' repositories; they are checked first.  With
    `remote` (empty: `gitrun.remote`) the copy there is read as well, and either side is repaired from the other.
    Raises RunNotFound, NotLocked when there is no stored copy, RunBusy, Refused for somebody else's repository, and
    SystemFailed.
    """
    here = _with_nameless(context(run, settings))
    with guarded(here.place, shared=not repair):
        here = _with_nameless(here.again())
        if here.place.repository is None:
            raise NotLocked("there is no stored copy of this run", path=here.place.run, hint="gitrun lock makes one")
        if remote is None:
            return fsck_here(here, repair=repair, progress=progress)
        from gitrun.ops.fsck_remote import with_remote

        return with_remote(here, remote, repair=repair, progress=progress)


def _with_nameless(here: Context) -> Context:
    """The context with the repository of the run's name, where that one has lost the record of whose it is."""
    place = here.place
    if place.repository is not None:
        return here
    repository = os.path.join(place.store, place.name + store.REPOSITORY_SUFFIX)
    if not os.path.isdir(os.path.join(repository, b"objects")) or store.read_record(repository) is not None:
        return here
    try:
        with RunRepo(repository) as repo:
            tag = repo.tag()
            commit = tag.commit if tag else repo.ref(MAIN)
            run_id = LockFile.decode(repo.lock_file(commit)).run_id if commit else ""
    except GitrunError:
        run_id = place.run_id
    if not run_id or (place.run_id and place.run_id != run_id):
        return here
    return replace(here, place=replace(place, repository=repository, run_id=run_id))


def fsck_here(here: Context, *, repair: bool, progress: Progress) -> FsckResult:
    """The health of the stored copy, for a caller that holds the guard: for `repair` the exclusive one."""
    if repair:
        check_owner(here.place)
        with suppress(RecordError):  # a journal that cannot be read is one of the faults
            refuse_interrupted(here.place)
    try:
        return _repaired(here, progress) if repair else _checked(here, progress)
    except OSError as error:
        raise system_failed(error, "repair the stored copy" if repair else "check the stored copy") from error


@dataclass(slots=True)
class _Look:
    """One look at everything."""

    found: Inspection
    findings: list[Finding]
    notes: list[str]
    good: set[str]
    """Large files that need not be read again."""
    checked_bytes: int


def _look(place: Place, trusted: set[str], progress: Progress) -> _Look:
    found = inspect(place, progress)
    large = largefiles.check(place, found.large, trusted, jobs=jobs_or_all(0), progress=progress)
    findings = [*found.findings, *large.findings, *_own_findings(place)]
    notes = list(found.notes)
    try:
        findings += _stock_findings(place, found, findings)
    except ToolFailed as error:
        notes.append(f"stock git fsck was left out: {error.message}")
    return _Look(found, _sorted(findings), notes, large.good, found.checked_bytes + large.checked_bytes)


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(set(findings), key=lambda finding: (finding.object, finding.kind, finding.message))


def _stock_findings(place: Place, found: Inspection, known: Iterable[Finding]) -> list[Finding]:
    """What stock git says beyond what gitrun's own look has told."""
    assert place.repository is not None
    told = {finding.object for finding in known}
    faulty = {os.path.basename(container.path).partition(b".")[0].decode() for container in found.damaged}
    findings = []
    for message in gitcmd.fsck(place.repository, found.refs.good):
        ids = _ID.findall(message)
        if told.isdisjoint(ids) and not any(name in message for name in faulty):
            findings.append(Finding("git", ids[0] if ids else "", message))
    return findings


def _own_findings(place: Place) -> list[Finding]:
    """What is wrong with gitrun's own files in the repository."""
    assert place.repository is not None
    findings = []
    if store.read_record(place.repository) is None:
        findings.append(Finding("corrupt", _RECORD, "the record of whose repository this is cannot be read"))
    try:
        journal.pending(place)
    except RecordError as error:
        findings.append(Finding("corrupt", _JOURNAL, error.message))
    return findings


# -- the two ways --


def _checked(here: Context, progress: Progress) -> FsckResult:
    look = _look(here.place, set(), progress)
    return _result(here, look, look.findings, look.checked_bytes)


def _repaired(here: Context, progress: Progress) -> FsckResult:
    place = here.place
    look = first = _look(place, set(), progress)
    findings, read = dict.fromkeys(first.findings), first.checked_bytes
    notes: list[str] = []
    for _ in range(_ROUNDS):
        before = look.findings
        if not before:
            break
        notes += _mend(place, look)
        look = _look(place, look.good, progress)
        findings |= dict.fromkeys(look.findings)
        read += look.checked_bytes
        if look.findings == before:
            break
    give_to_owner(place)
    remaining = {finding.object for finding in look.findings}
    told = [replace(finding, repaired=finding.object not in remaining) for finding in _sorted(findings)]
    result = _result(here, look, told, read)
    return replace(result, notes=(*result.notes, *dict.fromkeys(notes), *_verdict(told)))


def _mend(place: Place, look: _Look) -> list[str]:
    assert place.repository is not None
    for finding in look.findings:
        if finding.object == _JOURNAL:
            set_aside(place.repository, place.own(b"journal"))
        elif finding.object == _RECORD:
            write_record(place.repository, place.record())
    mend.mend(place, look.found)
    return largefiles.mend(place, look.found.large, look.findings)


def _verdict(findings: list[Finding]) -> tuple[str, ...]:
    mended = sum(finding.repaired for finding in findings)
    lost = [finding for finding in findings if not finding.repaired]
    notes = [
        f"{mended} of {len(findings)} faults are repaired; what was damaged lies in gitrun/bad and lfs/bad of the repository"
    ]
    if any(finding.kind in ("missing", "corrupt") for finding in lost):
        notes.append(
            "what is left is in none of the run, the pool and the other runs: a copy of the repository may have it"
        )
    return tuple(notes) if findings else ()


def _result(here: Context, look: _Look, findings: list[Finding], read: int) -> FsckResult:
    place = here.place
    ok = all(finding.repaired for finding in findings)
    return FsckResult(
        run=place.run_id,
        path=place.run,
        state=_state(here),
        exit=0 if ok else 6,
        notes=(*_notes(place, look), *look.notes),
        ok=ok,
        findings=tuple(findings),
        checked_objects=look.found.checked_objects + len(look.found.large),
        checked_bytes=read,
    )


def _notes(place: Place, look: _Look) -> list[str]:
    notes = []
    if _is_interrupted(place):
        notes.append("an earlier command did not finish: gitrun status tells more")
    elsewhere = not_stored(look.found)
    if elsewhere:
        notes.append(f"{elsewhere} large files were never stored (lock --link none): only the run has them")
    return notes


def _is_interrupted(place: Place) -> bool:
    return os.path.lexists(place.own(b"journal"))


def _state(here: Context) -> str:
    try:
        return status_here(here.again()).state
    except GitrunError:
        return UNLOCKED
