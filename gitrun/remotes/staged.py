"""A remote whose history has been fetched already, so that many runs come over one connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote_from_bytes

from gitrun.remotes import Advance, Source
from gitrun.remotes.network import fetch_refs


class Staged:
    """The `Source` that `remote` is, but for its git objects, which lie in the bare repository `staging`."""

    def __init__(self, remote: Source, refs: Mapping[str, str], staging: bytes) -> None:
        """`refs` are those of the remote when its history was fetched."""
        self._remote, self._refs, self._staging = remote, refs, staging

    def refs(self) -> dict[str, str]:
        """As they were when the history was fetched."""
        return dict(self._refs)

    def receive(self, refs: Sequence[str], into: bytes, *, shallow: bool = False) -> None:
        """From the staging repository, by stock git, which checks every object."""
        fetch_refs("file://" + quote_from_bytes(self._staging), refs, into, shallow=shallow)

    def receive_large(self, objects: Mapping[str, int], into: bytes, advance: Advance) -> None:
        """From the remote."""
        self._remote.receive_large(objects, into, advance)
