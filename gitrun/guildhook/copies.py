"""What Guild copies out of a locked run into another one is that one's own, and gets its write permission back."""

from __future__ import annotations

import os
import stat
from typing import Any

from . import program


def patch(module: Any) -> None:
    """Wraps what copies the files of an upstream run (`op_dep`), of a prototype (`op_util`), or into a project (`run_merge`)."""
    if module.__name__.endswith(".run_merge"):
        copy_file = module._apply_copy_file_for_merge

        def _apply_copy_file_for_merge(cf: Any, merge: Any, pre_copy: Any) -> Any:
            done = copy_file(cf, merge, pre_copy)
            if program.is_locked(merge.run.dir):
                make_writable(os.path.join(merge.target_dir, cf.target_path))
            return done

        module._apply_copy_file_for_merge = _apply_copy_file_for_merge
        return

    if module.__name__.endswith(".op_dep"):
        copy_source = module._copy_source

        def _copy_source(source_path: str, dest_path: str, *more: Any, **named: Any) -> Any:
            done = copy_source(source_path, dest_path, *more, **named)
            if program.locked_around(source_path):
                make_writable(dest_path)
            return done

        module._copy_source = _copy_source
        return

    copy_sourcecode = module._copy_run_proto_sourcecode

    def _copy_run_proto_sourcecode(proto_run: Any, dest_run: Any) -> Any:
        done = copy_sourcecode(proto_run, dest_run)
        if program.is_locked(proto_run.dir):
            make_writable(dest_run.dir)
        return done

    module._copy_run_proto_sourcecode = _copy_run_proto_sourcecode


def make_writable(top: str) -> None:
    """Lets the owner write to `top` and all that is below it; symlinks are not followed."""
    _add_write(top)
    for directory, names, files in os.walk(top):
        for name in names + files:
            _add_write(os.path.join(directory, name))


def _add_write(path: str) -> None:
    mode = os.lstat(path).st_mode
    if not stat.S_ISLNK(mode) and not mode & stat.S_IWUSR:
        os.chmod(path, stat.S_IMODE(mode) | stat.S_IWUSR)
