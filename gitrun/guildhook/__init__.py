"""What `gitrun guild install` puts into Guild's own Python environment, where it is the package `gitrun_guild`.

It runs on Guild's Python, 3.8 or newer, beside a Guild that may change: nothing here imports gitrun, which lives in an
environment of its own and is run as a program (`program`), and a patch that fails leaves Guild as it is.

This module is loaded at the start of every Python process there, by a `.pth` file, and so does nothing but wait for
modules of Guild.  https://docs.python.org/3/library/site.html
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` would be loaded at every start of Python
if TYPE_CHECKING:
    from typing import Any

_WAITED_FOR = {
    "guild.commands.main": "commands",
    "guild.commands.main_impl": "finishing",
    "guild.commands.runs": "commands",
    "guild.commands.runs_impl": "showing",
    "guild.op": "running",
    "guild.op_dep": "copies",
    "guild.op_util": "copies",
    "guild.run": "attributes",
    "guild.run_merge": "copies",
    "guild.run_util": "removal",
    "guild.var": "removal",
}
"""Which module here patches which one of Guild's, once that is loaded."""


class _Finder:
    """Finds what the other finders find, and has it patched after it was executed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _WAITED_FOR:
            return None
        for finder in sys.meta_path:
            spec: Any = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """A loader that patches the module it has loaded; in all else the one it stands for."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        _patch(module)


def _patch(module: Any) -> None:
    try:
        from importlib import import_module

        import_module(__name__ + "." + _WAITED_FOR[module.__name__]).patch(module)
    except Exception:  # another Guild than the one this was made for: better no hook than no Guild
        import logging

        logging.getLogger("guild").debug("gitrun: cannot patch %s", module.__name__, exc_info=True)


def install() -> None:
    """Begins to wait; called by the `.pth` file."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
