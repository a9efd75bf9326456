"""Seals finished runs: stores, hashes, commits and tags them, and proves at any time that nothing changed.

    import gitrun

    gitrun.lock("runs/train", message="as published")
    verdict = gitrun.verify("runs/train")
    if not verdict:
        print([difference.path for difference in verdict.differences])

All names are loaded when they are first used: `import gitrun` itself costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # for type checkers, without the cost of importing `typing`
if TYPE_CHECKING:
    from gitrun.errors import (
        ChangedWhileReading,
        DifferencesFound,
        GitrunError,
        Interrupted,
        LockFileInvalid,
        NewerFormat,
        NotLocked,
        ObjectCorrupt,
        ObjectMissing,
        RecordError,
        Refused,
        RunActive,
        RunBusy,
        RunChanged,
        RunNotFound,
        SystemFailed,
        TagMismatch,
        TagMissing,
        ToolFailed,
        Unreadable,
        Unsupported,
        UsageError,
    )
    from gitrun.ops.clone import clone
    from gitrun.ops.diff import diff
    from gitrun.ops.doctor import doctor
    from gitrun.ops.export import export
    from gitrun.ops.fetch import fetch
    from gitrun.ops.fork import fork
    from gitrun.ops.fsck import fsck
    from gitrun.ops.gc import gc
    from gitrun.ops.guild_hook import guild_hook
    from gitrun.ops.import_run import import_run
    from gitrun.ops.lock import lock
    from gitrun.ops.log import log
    from gitrun.ops.path import path
    from gitrun.ops.pull import pull
    from gitrun.ops.push import push
    from gitrun.ops.remote_runs import remote_runs
    from gitrun.ops.restore import restore
    from gitrun.ops.status import status
    from gitrun.ops.unlock import unlock
    from gitrun.ops.verify import verify
    from gitrun.results import Difference
    from gitrun.results.clone import CloneResult
    from gitrun.results.diff import Change, DiffResult
    from gitrun.results.doctor import DoctorResult, Fact, Trouble
    from gitrun.results.export import ExportResult
    from gitrun.results.fetch import FetchResult
    from gitrun.results.fork import ForkResult
    from gitrun.results.fsck import Finding, FsckResult
    from gitrun.results.gc import GcResult
    from gitrun.results.guild_hook import GuildHookResult
    from gitrun.results.import_run import ImportResult
    from gitrun.results.lock import LockResult
    from gitrun.results.log import LockedAt, LogResult
    from gitrun.results.push import PushResult
    from gitrun.results.remote import RemoteRun
    from gitrun.results.restore import RestoreResult
    from gitrun.results.status import StatusResult
    from gitrun.results.unlock import UnlockResult
    from gitrun.results.verify import VerifyResult
    from gitrun.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Change",
    "ChangedWhileReading",
    "CloneResult",
    "DiffResult",
    "Difference",
    "DifferencesFound",
    "DoctorResult",
    "ExportResult",
    "Fact",
    "FetchResult",
    "Finding",
    "ForkResult",
    "FsckResult",
    "GcResult",
    "GitrunError",
    "GuildHookResult",
    "ImportResult",
    "Interrupted",
    "LockFileInvalid",
    "LockResult",
    "LockedAt",
    "LogResult",
    "NewerFormat",
    "NotLocked",
    "ObjectCorrupt",
    "ObjectMissing",
    "PushResult",
    "RecordError",
    "Refused",
    "RemoteRun",
    "RestoreResult",
    "RunActive",
    "RunBusy",
    "RunChanged",
    "RunNotFound",
    "Settings",
    "StatusResult",
    "SystemFailed",
    "TagMismatch",
    "TagMissing",
    "ToolFailed",
    "Trouble",
    "UnlockResult",
    "Unreadable",
    "Unsupported",
    "UsageError",
    "VerifyResult",
    "__version__",
    "clone",
    "diff",
    "doctor",
    "export",
    "fetch",
    "fork",
    "fsck",
    "gc",
    "guild_hook",
    "import_run",
    "lock",
    "log",
    "path",
    "pull",
    "push",
    "remote_runs",
    "restore",
    "status",
    "unlock",
    "verify",
]

_VALUES = {
    "ImportResult": "results.import_run",
    "Change": "results.diff",
    "Difference": "results",
    "Fact": "results.doctor",
    "RemoteRun": "results.remote",
    "Trouble": "results.doctor",
    "Finding": "results.fsck",
    "GuildHookResult": "results.guild_hook",
    "LockedAt": "results.log",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_module_of(name)), name)
    globals()[name] = value
    return value


def _module_of(name: str) -> str:
    if name.islower():  # a verb
        return f"gitrun.ops.{name}"
    if name == "Settings":
        return "gitrun.settings"
    if name in _VALUES:
        return f"gitrun.{_VALUES[name]}"
    return f"gitrun.results.{name.removesuffix('Result').lower()}" if name.endswith("Result") else "gitrun.errors"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
