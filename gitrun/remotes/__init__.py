"""Remotes: where locked runs are pushed to, and come back from.

`address` knows what a URL means, `network` speaks to servers by the user's own git and git-lfs, `directory` to a bare
repository on a disk.  Both are a `Transport`; `staged` is a `Source` for many runs over one connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from gitrun.errors import GitrunError
from gitrun.remotes.address import Address

Advance = Callable[[int], None]


class Update(NamedTuple):
    """A ref of the remote, and where it is to point."""

    ref: str
    old: str
    """Where it points now; empty for nowhere."""
    new: str


class Cargo(NamedTuple):
    """Large files that a repository has, oid to size, and that may have to be sent."""

    repository: bytes
    objects: Mapping[str, int]


class Source(Protocol):
    """What runs come from; every method raises ToolFailed for a remote that fails, and SystemFailed."""

    def refs(self) -> dict[str, str]:
        """All branches and tags: name to object id."""

    def receive(self, refs: Sequence[str], into: bytes, *, shallow: bool = False) -> None:
        """Fetches refs, under their own names, into the new bare repository `into`; `shallow`: the last commits alone."""

    def receive_large(self, objects: Mapping[str, int], into: bytes, advance: Advance) -> None:
        """Fetches LFS objects into a repository, each checked by its SHA-256 and size; raises ObjectMissing."""


class Transport(Source, Protocol):
    """What the verbs ask of a remote."""

    def send_large(self, cargoes: Sequence[Cargo], advance: Advance) -> list[int | GitrunError]:
        """Sends the LFS objects that the remote lacks: of each cargo how many bytes that were, or why it is not there."""

    def send(self, repositories: Sequence[bytes], updates: Sequence[Update]) -> None:
        """Sends git objects, then moves refs in this order; raises Refused where one has been moved meanwhile."""

    def missing(self, objects: Mapping[str, int]) -> list[str]:
        """The LFS objects that the remote does not have, as far as that can be told without fetching them."""

    def mend(self, repository: bytes, objects: Mapping[str, int]) -> list[str]:
        """Puts good LFS objects of a repository in the place of damaged ones there; those that it could do that with."""


def transport(address: Address, patience: float) -> Transport:
    """What speaks to the remote at an address; a server that moves nothing for `patience` seconds has failed."""
    if address.directory is not None:
        from gitrun.remotes.directory import Directory

        return Directory(address.directory)
    from gitrun.remotes.network import Network

    return Network(address, patience)
