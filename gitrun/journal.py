"""The journal: what a lock, unlock or restore is about to do, so that a crash can be undone or finished.

It lies in the run repository while the work is under way, and holds the record with the original permission bits.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from gitrun.errors import RecordError
from gitrun.fsio import read_file, remove_file, sync_directory, write_file
from gitrun.lockfile import MAX_BYTES, LockFile
from gitrun.store import Place

LOCK, UNLOCK, RESTORE = "lock", "unlock", "restore"


@dataclass(frozen=True, slots=True)
class Journal:
    """One operation under way."""

    verb: str
    record: LockFile
    """What the lock records, or what the unlock or restore goes back to."""
    tag: str = ""
    """The tag object that makes a lock complete."""
    commit: str = ""
    parent: str = ""
    """The lock's commit, and where the branch was before it; empty for nowhere."""
    packs: tuple[str, ...] = ()
    """The packs that a lock adds, without suffix."""
    objects: tuple[str, ...] = ()
    """The LFS objects that a lock adds to the repository."""
    git_link: bool = False
    """Whether the `.git` file in the run is gitrun's."""

    def encode(self, record: bytes = b"") -> bytes:
        """One line of JSON, then the record, which may be given if it is encoded already."""
        told = {key: value for key, value in _fields(self).items() if key != "record"}
        return json.dumps(told, sort_keys=True).encode() + b"\n" + (record or self.record.encode())

    @classmethod
    def decode(cls, data: bytes) -> Journal:
        """The journal in `data`; raises RecordError for anything else."""
        head, _, record = data.partition(b"\n")
        try:
            told = json.loads(head)
            told |= {"packs": tuple(told["packs"]), "objects": tuple(told["objects"])}
            return cls(record=LockFile.decode(record), **told)
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError("the journal is damaged", hint="gitrun fsck") from error


def _fields(journal: Journal) -> dict[str, object]:
    """The fields by name; `dataclasses.asdict` would copy every entry of the record."""
    return {name: getattr(journal, name) for name in journal.__slots__}


def begin(place: Place, journal: Journal, record: bytes = b"") -> None:
    """Writes the journal, synced: from here on a crash leaves the state `interrupted`."""
    write_file(place.own(b"journal"), journal.encode(record), mode=0o600)


def end(place: Place) -> None:
    """Removes the journal: the work is done or undone."""
    if remove_file(place.own(b"journal")):
        sync_directory(place.own(b""))


def is_begun(place: Place) -> bool:
    """Whether work goes on, or was interrupted."""
    return place.repository is not None and os.path.lexists(place.own(b"journal"))


def pending(place: Place) -> Journal | None:
    """The journal of work that was interrupted, if any."""
    if place.repository is None:
        return None
    data = read_file(place.own(b"journal"), MAX_BYTES)
    return Journal.decode(data) if data is not None else None
