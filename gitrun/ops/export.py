"""export: a lock for programs that know neither gitrun nor git."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Literal

from gitrun.entry import FILE
from gitrun.errors import GitrunError, Refused, UsageError, system_failed
from gitrun.exporting import Content, as_json, sum_list, write_bag, write_tar
from gitrun.fsio import TEMPORARY, remove_tree, sync_directory
from gitrun.guard import guarded
from gitrun.ops._context import Context, RunArgument, context
from gitrun.ops.status import status_here
from gitrun.progress import SILENT, Progress
from gitrun.repo import MAIN, RunRepo
from gitrun.results.export import ExportResult
from gitrun.scratch import scratch
from gitrun.settings import Settings
from gitrun.standing import Standing, read_newest

Format = Literal["bagit", "tar", "sha256sum", "json"]
FORMATS: tuple[Format, ...] = ("bagit", "tar", "sha256sum", "json")
STDOUT = b"-"


def export(
    run: RunArgument,
    destination: RunArgument,
    *,
    form: Format = "bagit",
    settings: Settings | None = None,
    progress: Progress = SILENT,
) -> ExportResult:
    """Writes the newest lock of a run to `destination`, which must not exist yet; `-` is stdout, for all but a bag.

    The run may be unlocked since, or gone.  Content is checked by SHA-256 on its way.  Nothing is at the destination after
    a failure.  Raises NotLocked, Refused, UsageError, Unsupported, RecordError, SystemFailed.
    """
    here = context(run, settings)
    target = _target(destination, form)
    try:
        with guarded(here.place, shared=True):
            here = here.again()
            standing = read_newest(here.place)
            if target == STDOUT:
                return _export(here, standing, target, form, progress)
            with scratch(os.path.dirname(target), b"export-to", os.fsdecode(target)):
                return _export(here, standing, target, form, progress)
    except GitrunError:
        raise
    except OSError as error:
        raise system_failed(error, "export the run", near=target) from error


def _target(destination: RunArgument, form: Format) -> bytes:
    told = os.fsencode(destination)
    if told == STDOUT:
        if form == "bagit":
            raise UsageError("a bag is a directory, and cannot go to stdout", hint="name a directory, or --format tar")
        return told
    target = os.path.abspath(told)
    if os.path.lexists(target):
        raise Refused("there is something already", path=target, hint="name a place where nothing is yet")
    if not os.path.isdir(os.path.dirname(target)):
        raise Refused("there is no such directory", path=os.path.dirname(target), hint="mkdir it first")
    return target


def _export(here: Context, standing: Standing, target: bytes, form: Format, progress: Progress) -> ExportResult:
    assert here.place.repository is not None  # read_newest found a record there
    files = [entry for entry in standing.record.entries if entry.kind == FILE and not entry.created]
    with RunRepo(here.place.repository) as repo:
        commit = standing.tag.commit if standing.tag else repo.ref(MAIN) or ""
        when = repo.commit(commit).when
        run = here.place.run if here.place.exists else None
        content = Content(repo, commit, run, progress.advance)
        progress.stage("exporting", sum(entry.size for entry in files), "B")
        notes: list[str] = []
        if form == "bagit":
            _directory(target, lambda top: notes.extend(write_bag(top, standing, content, when)))
        elif form == "tar":
            _file(target, lambda out: notes.extend(write_tar(out, standing, content, here.place.name, when)))
        else:
            data = sum_list(standing) if form == "sha256sum" else as_json(standing, commit)
            _file(target, lambda out: out.write(data))
    now = status_here(here)
    return ExportResult(
        run=now.run,
        path=now.path,
        state=now.state,
        notes=tuple(notes),
        destination=target,
        format=form,
        commit=commit,
        files=len(files),
        bytes=sum(entry.size for entry in files),
    )


def _beside(target: bytes) -> bytes:
    return os.path.join(os.path.dirname(target), TEMPORARY + b"export-" + sha256(target).hexdigest()[:16].encode())


def _directory(target: bytes, write: Callable[[bytes], object]) -> None:
    building = _beside(target)
    remove_tree(building)
    os.mkdir(building)
    try:
        write(building)
        os.rename(building, target)
    except BaseException:  # ^C too
        with suppress(OSError):
            remove_tree(building)
        raise
    sync_directory(os.path.dirname(target))


def _file(target: bytes, write: Callable[..., object]) -> None:
    if target == STDOUT:
        write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    building = _beside(target)
    try:
        with open(building, "wb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
        os.rename(building, target)
    except BaseException:  # ^C too
        with suppress(OSError):
            os.unlink(building)
        raise
    sync_directory(os.path.dirname(target))
