"""The attributes of locked runs: clearing a note works, and `locked` can be asked for."""

from __future__ import annotations

import os
from typing import Any

from . import program

NOTES = ("label", "tags", "comments", "marked")
"""What people change on finished runs: the files stay writable, and their directory does not."""


def patch(module: Any) -> None:
    """Wraps two methods of `guild.run.Run`."""
    run = module.Run
    del_attr, getitem = run.del_attr, run.__getitem__

    def clear(self: Any, name: str) -> Any:
        """Guild removes the file, does not notice that it could not, and takes an empty one for none."""
        done = del_attr(self, name)
        path = self._attr_path(name)
        if name in NOTES and program.is_locked(self.dir) and os.path.exists(path):
            with open(path, "w", encoding="utf-8"):
                pass
        return done

    def get(self: Any, name: str) -> Any:
        """`locked` is yes or no, for `guild compare` and `guild select`, unless somebody has made such an attribute."""
        if name == "locked" and not os.path.exists(self._attr_path(name)):
            return "yes" if program.is_locked(self.dir) else "no"
        return getitem(self, name)

    run.del_attr, run.__getitem__ = clear, get
