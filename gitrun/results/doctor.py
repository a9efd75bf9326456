"""What `doctor` returns."""

from __future__ import annotations

from dataclasses import dataclass

from gitrun.results import Json, Result, path_json

CHECKED = "checked"


@dataclass(frozen=True)
class Fact:
    """Something that is so here."""

    name: str
    """A stable name, such as `reflinks` or `git-lfs`."""
    ok: bool
    """gitrun can do all it does with that."""
    value: str
    """For people: a version, or what follows from it."""

    def to_dict(self) -> Json:
        """The JSON form."""
        return {"name": self.name, "ok": self.ok, "value": self.value}


@dataclass(frozen=True)
class Trouble:
    """Something that should not stay so."""

    kind: str
    """`interrupted` `leftover` `trash-copy` `auto-lock-failed` `orphaned` `config` `name`."""
    path: bytes
    """Absolute."""
    message: str
    hint: str
    """How to mend it."""
    mended: bool = False

    def to_dict(self) -> Json:
        """The JSON form."""
        told = {"kind": self.kind, **path_json(self.path), "message": self.message, "hint": self.hint}
        return {**told, "mended": self.mended}


@dataclass(frozen=True, kw_only=True)
class DoctorResult(Result):
    """What can be done here, and what is wrong below `path`; `run` is empty."""

    facts: tuple[Fact, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    def to_dict(self) -> Json:
        """The JSON form, one object."""
        return {
            **Result.to_dict(self),
            "facts": [fact.to_dict() for fact in self.facts],
            "troubles": [trouble.to_dict() for trouble in self.troubles],
        }
