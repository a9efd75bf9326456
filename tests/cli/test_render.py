"""What people read."""

from __future__ import annotations

import io
import time

import pytest

from gitrun.cli import cmd_fsck, cmd_gc, cmd_lock, cmd_restore, cmd_status, cmd_unlock, cmd_verify
from gitrun.cli._console import Common, Console
from gitrun.cli._report import command, shell_word, title
from gitrun.results import LOCKED, MODIFIED, ORPHANED, PROTECTED, UNLOCKED, Difference
from gitrun.results.fsck import Finding, FsckResult
from gitrun.results.gc import GcResult
from gitrun.results.lock import LockResult
from gitrun.results.restore import RestoreResult
from gitrun.results.status import StatusResult
from gitrun.results.unlock import UnlockResult
from gitrun.results.verify import VerifyResult

RUN = "3f2a1b4c" + "0" * 24
AT = b"/runs/" + RUN.encode()
WHEN = 1_790_000_000
CHANGES = (
    Difference(b"metrics.json", "modified", "sha256:aa", "sha256:bb"),
    Difference(b"a\x1b[2J", "added", "", "file"),
)
DRIFT = (Difference(b"", "mode", "0555", "0755"),)
COMMIT = "c" * 40


class Shown:
    """A console, and what is on its two streams."""

    def __init__(self, **common: bool) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        self.console = Console(Common(**common), _out=self._out, _err=self._err)

    @property
    def out(self) -> list[str]:
        return self._out.getvalue().splitlines()

    @property
    def err(self) -> list[str]:
        return self._err.getvalue().splitlines()


def locked(**changed: object) -> LockResult:
    given = {"run": RUN, "path": AT, "state": LOCKED, "commit": COMMIT, "files": 61, "bytes": 3_250_585}
    more = {"locked_at": WHEN, "protection": PROTECTED, "label": "train lr=0.1"}
    return LockResult(**{**given, **more, **changed})  # type: ignore[arg-type]


def verified(**changed: object) -> VerifyResult:
    given = {"run": RUN, "path": AT, "state": LOCKED, "ok": True, "checked_files": 61, "checked_bytes": 3_250_585}
    more = {"commit": COMMIT, "locked_at": WHEN, "protection": PROTECTED}
    return VerifyResult(**{**given, **more, **changed})  # type: ignore[arg-type]


def test_lock() -> None:
    shown = Shown()
    cmd_lock.show(locked(notes=("a symlink dangles",)), shown.console)
    assert shown.out == ["locked train lr=0.1 (3f2a1b4c): 61 files, 3.1 MiB, read-only"]
    assert shown.err == ["note: a symlink dangles"]


def test_lock_without_protection_says_so() -> None:
    shown = Shown()
    cmd_lock.show(locked(protection="none"), shown.console)
    assert shown.out[0].endswith("3.1 MiB, not protected")


def test_already_locked() -> None:
    shown = Shown()
    cmd_lock.show(locked(already=True), shown.console)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(WHEN))
    assert shown.out == [f"already locked train lr=0.1 (3f2a1b4c): 61 files, 3.1 MiB, untouched since {when}"]


def test_verify_ok() -> None:
    shown = Shown()
    cmd_verify.show(verified(), shown.console)
    assert (shown.out, shown.err) == (["ok 3f2a1b4c: 61 files, 3.1 MiB, read-only"], [])


def test_verify_quick_says_what_it_trusted() -> None:
    shown = Shown()
    cmd_verify.show(verified(checked_files=1, checked_bytes=10, trusted_files=60), shown.console)
    assert shown.out == ["ok 3f2a1b4c: 1 file, 10 B read, 60 files trusted for size, times and inode, read-only"]


def test_verify_differences() -> None:
    shown = Shown()
    cmd_verify.show(verified(ok=False, exit=4, state=MODIFIED, differences=CHANGES, warnings=DRIFT), shown.console)
    assert shown.out == [
        "CHANGED 3f2a1b4c: 1 modified, 1 added",
        "  modified  metrics.json",
        "  added     a\\x1b[2J",
        "warning metadata drifted: 1 mode",
        "  mode  .  0555 -> 0755",
    ]
    assert shown.err == [f"hint: `gitrun restore /runs/{RUN}` puts the locked content back"]


def test_verify_quiet_leaves_only_differences() -> None:
    shown = Shown(quiet=True)
    cmd_verify.show(verified(warnings=DRIFT), shown.console)
    assert (shown.out, shown.err) == ([], [])
    cmd_verify.show(verified(ok=False, exit=4, differences=CHANGES[:1]), shown.console)
    assert (shown.out, shown.err) == (["CHANGED 3f2a1b4c: 1 modified", "  modified  metrics.json"], [])


def test_verify_verbose_has_the_digests() -> None:
    shown = Shown(verbose=True)
    cmd_verify.show(verified(ok=False, exit=4, differences=CHANGES[:1]), shown.console)
    assert [line.split() for line in shown.out[2:4]] == [["was", "sha256:aa"], ["is", "sha256:bb"]]


def test_litter_is_named() -> None:
    shown = Shown()
    litter = Difference(b".x.swp", "added", "", "file", "litter of an editor")
    cmd_verify.show(verified(ok=False, differences=(litter,)), shown.console)
    assert shown.out[1] == "  added  .x.swp  (litter of an editor)"


def test_mutable_files_are_no_difference() -> None:
    shown = Shown()
    cmd_verify.show(verified(mutable=(Difference(b".guild/attrs/label", "mutable", "", ""),)), shown.console)
    assert shown.out[1:] == ["  1 mutable file changed since the lock, as it may"]


def test_unlock() -> None:
    shown = Shown()
    cmd_unlock.show(UnlockResult(run=RUN, path=AT, state=UNLOCKED, files=61, differences=CHANGES[:1]), shown.console)
    assert shown.out == [
        "unlocked 3f2a1b4c: 61 files have their permissions back",
        "changed while it was locked: 1 modified",
        "  modified  metrics.json",
    ]


def test_restore() -> None:
    shown = Shown()
    result = RestoreResult(run=RUN, path=AT, state=LOCKED, restored=CHANGES[:1], kept=CHANGES[1:], files=1, bytes=2048)
    cmd_restore.show(result, shown.console)
    assert shown.out == [
        "restored 3f2a1b4c: 1 entry (1 file, 2.0 KiB written)",
        "  modified  metrics.json",
        "not in the lock, and left alone: 1 entry",
        "  added  a\\x1b[2J",
    ]
    assert "--clean" in shown.err[0]


def test_restore_dry_run() -> None:
    shown = Shown()
    result = RestoreResult(run=RUN, path=AT, state=MODIFIED, restored=CHANGES[:1], removed=CHANGES[1:], dry_run=True)
    cmd_restore.show(result, shown.console)
    assert shown.out[0] == "would restore 3f2a1b4c: 1 entry"
    assert shown.out[2] == "would remove: 1 entry"


def test_restore_of_nothing() -> None:
    shown = Shown()
    cmd_restore.show(RestoreResult(run=RUN, path=AT, state=LOCKED), shown.console)
    assert shown.out == ["ok 3f2a1b4c: nothing to restore"]


def test_fsck() -> None:
    shown = Shown()
    cmd_fsck.show(
        FsckResult(run=RUN, path=AT, state=LOCKED, ok=True, checked_objects=70, checked_bytes=1), shown.console
    )
    assert shown.out == ["ok 3f2a1b4c: 70 objects, 1 B"]


def test_fsck_faults() -> None:
    shown = Shown()
    finding = Finding("corrupt", "abc", "content differs", (b"a", b"b", b"c", b"d\n"))
    result = FsckResult(run=RUN, path=AT, state=LOCKED, ok=False, exit=6, findings=(finding,))
    cmd_fsck.show(result, shown.console)
    assert shown.out == ["DAMAGED 3f2a1b4c: 1 fault", "  corrupt  abc: content differs (of a, b, c and 1 more)"]
    assert "--repair" in shown.err[0]


def test_gc() -> None:
    shown = Shown()
    cmd_gc.show(GcResult(path=b"/w/.gitrun", removed=(b"x", b"y"), freed_bytes=1_288_490_189), shown.console)
    cmd_gc.show(GcResult(path=b"/w/.gitrun"), shown.console)
    assert shown.out == ["freed 1.2 GiB in /w/.gitrun: 2 files dropped", "ok /w/.gitrun: nothing to drop"]


STANDING = [
    StatusResult(
        run=RUN, path=AT, state=LOCKED, label="train\x1b lr=0.1", files=61, bytes=3_250_585, locked_at=WHEN,
        protection=PROTECTED, locks=2,
    ),
    StatusResult(run="plain-89abcdef", path=b"/runs/pl\nain", state=ORPHANED, files=1, bytes=1, locked_at=WHEN - 3600),
    StatusResult(run="", path=b"/runs/new", state=UNLOCKED),
]  # fmt: skip


def test_status() -> None:
    shown = Shown()
    cmd_status.show(STANDING, shown.console, WHEN + 5)
    assert shown.out == [
        "3f2a1b4c  locked    5 s ago     61  3.1 MiB  train\\x1b lr=0.1",
        "89abcdef  orphaned  1 h ago      1      1 B  pl\\nain",
        "-         unlocked  -            -        -  new",
    ]
    assert shown.err == ["3 runs: 1 locked, read-only; 1 orphaned; 1 unlocked; 3.1 MiB"]


@pytest.mark.parametrize("width", [80, 40, 20])
def test_status_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "width", width)
    shown = Shown()
    cmd_status.show(STANDING, shown.console, WHEN + 5)
    assert shown.out[0].startswith("ID        STATE")
    assert max(map(len, shown.out)) <= width


def test_status_verbose() -> None:
    shown = Shown(verbose=True)
    cmd_status.show(STANDING[:1], shown.console, WHEN + 5)
    assert shown.out[0].endswith(f"read-only       2  /runs/{RUN}")


@pytest.mark.parametrize(
    ("path", "run_id", "label", "told"),
    [
        (AT, RUN, "", "3f2a1b4c"),
        (AT, RUN, RUN, "3f2a1b4c"),
        (AT, RUN, "train", "train (3f2a1b4c)"),
        (b"/runs/mine", "mine-89abcdef", "", "mine (89abcdef)"),
        (b"/runs/mine", "", "", "mine"),
    ],
)
def test_titles(path: bytes, run_id: str, label: str, told: str) -> None:
    assert title(path, run_id, label) == told


def test_commands_in_hints_can_be_typed(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert command("restore", b"/usr") == "`gitrun restore`"
    assert shell_word(b"/usr/share") == "share"
    assert shell_word(b"/usr/-rf") == "./-rf"
    assert shell_word(b"/usr/two words") == "'two words'"
    assert shell_word(b"/etc/x") == "/etc/x"
    assert shell_word(b"/usr/a\nb") == shell_word(b"/usr/a\xff") == "RUN"
