"""Bad input, section C: permissions, owners, access lists, extended attributes and flags."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import gitrun
from tests.support.snapshots import snapshot
from tests.support.trial import (
    LARGE,
    assert_refused,
    assert_stock_tools_agree,
    assert_untouched,
    entry_of,
    error_lines,
    program,
    remove,
    round_trip,
    stock,
    write,
)
from tests.support.users import GID, UID, as_user, give

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners, flags and capabilities are root's to give")
OTHER = 12345
"""Somebody who is neither root nor the user whom `as_user` plays."""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def drift(verdict: gitrun.VerifyResult) -> list[tuple[str, bytes]]:
    """The warnings, as kind and path."""
    return [(one.kind, one.path) for one in verdict.warnings]


# -- 51, 52: mode bits --


def test_c51_setuid_setgid_and_sticky(run: Path) -> None:
    """Recorded and restored, for the owner: SPEC section 3 decides."""
    for mode in (0o4755, 0o2755, 0o6711, 0o7777, 0o1644, 0o2644):
        write(run / f"{mode:o}", mode=mode)
        (run / f"d{mode:o}").mkdir()
        (run / f"d{mode:o}").chmod(mode | 0o700)
    round_trip(run)
    gitrun.lock(run)
    assert entry_of(run, b"4755").mode == 0o4755
    assert mode_of(run / "4755") == 0o4555


def test_c51_a_setuid_bit_that_was_lost(run: Path) -> None:
    """As by chown or a write."""
    write(run / "tool", mode=0o4755)
    gitrun.lock(run)
    (run / "tool").chmod(0o555)
    verdict = gitrun.verify(run)
    assert verdict.ok and drift(verdict) == [("mode", b"tool")]
    assert program("verify", "--strict", run).code == 4
    gitrun.restore(run)
    assert_untouched(run)


def test_c51_as_a_user(user_run: Path) -> None:
    write(user_run / "tool")
    (user_run / "sub").mkdir()
    give(user_run)
    (user_run / "tool").chmod(0o6755)
    (user_run / "sub").chmod(0o3770)
    before = snapshot(user_run)
    assert program("lock", user_run, user=True).code == 0
    remove(user_run)
    assert program("restore", user_run, user=True).code == 0
    assert program("verify", "--strict", user_run, user=True).code == 0
    assert program("unlock", user_run, user=True).code == 0
    assert snapshot(user_run) == before


@needs_root
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_c51_setgid_of_a_group_that_the_user_is_not_in(user_run: Path, kind: str) -> None:
    """The kernel takes the bit at any chmod by this user: what unlock could not give back must not be taken."""
    path = user_run / "shared"
    write(path) if kind == "file" else path.mkdir()
    os.chown(path, UID, OTHER)
    path.chmod(0o2775)
    assert_refused("lock", user_run, code="Unsupported", path=path, user=True)


@needs_root
def test_c51_root_restores_a_users_setuid_file(user_run: Path) -> None:
    """It must not become root's: the user made it, and would be root by it."""
    write(user_run / "tool")
    give(user_run)
    (user_run / "tool").chmod(0o6755)
    gitrun.lock(user_run)
    (user_run / "tool").unlink()
    gitrun.restore(user_run)
    assert mode_of(user_run / "tool") == 0o6555
    assert ((user_run / "tool").stat().st_uid, (user_run / "tool").stat().st_gid) == (UID, GID)
    remove(user_run)
    gitrun.restore(user_run)
    assert ((user_run / "tool").stat().st_uid, (user_run / "tool").stat().st_gid) == (UID, GID)


def test_c52_every_permission_bit(run: Path) -> None:
    """git keeps one of them."""
    for bit in range(9):
        write(run / f"only-{bit}", mode=1 << bit)
        write(run / f"without-{bit}", mode=0o777 & ~(1 << bit))
        (run / f"d{bit}").mkdir()
        (run / f"d{bit}").chmod(0o777 & ~(1 << bit))
    round_trip(run)


def test_c52_sealing_takes_the_write_bits_only(run: Path) -> None:
    for mode in (0o777, 0o755, 0o666, 0o622, 0o222, 0o400, 0o111, 0o0):
        write(run / f"{mode:o}", mode=mode)
    gitrun.lock(run)
    assert {path.name: mode_of(path) for path in run.iterdir() if path.name.isdigit()} == {
        f"{mode:o}": mode & ~0o222 for mode in (0o777, 0o755, 0o666, 0o622, 0o222, 0o400, 0o111, 0o0)
    }


# -- 53 to 56: access lists and extended attributes --


def acl(path: Path) -> bytes:
    return stock("getfacl", "--absolute-names", "--numeric", "--omit-header", path)


@pytest.fixture
def acl_run(run: Path) -> Path:
    """A run with access lists that give another user more than the mode tells."""
    for name in ("file", "sub/below", "sub/large"):
        write(run / name, b"x" * (LARGE if name.endswith("large") else 5), 0o640)
    (run / "shared").mkdir()
    stock("setfacl", "-m", "u:12345:rw,g:777:rw,m::rw", run / "file")
    stock("setfacl", "-m", "u:12345:rwx", run / "sub")
    stock("setfacl", "-m", "u:12345:rw,m::r", run / "sub" / "below")
    stock("setfacl", "-m", "g:777:rw", run / "sub" / "large")
    return run


def test_c53_access_lists(acl_run: Path) -> None:
    paths = [acl_run / name for name in ("file", "sub", "sub/below", "sub/large")]
    before = [acl(path) for path in paths]
    round_trip(acl_run)
    assert [acl(path) for path in paths] == before


def test_c53_a_lock_takes_the_write_permission_that_a_list_gives(acl_run: Path) -> None:
    gitrun.lock(acl_run)
    assert re.search(rb"^user:12345:rw-\s+#effective:r--$", acl(acl_run / "file"), re.MULTILINE)
    if os.geteuid() == 0:
        acl_run.parent.parent.chmod(0o755)
        probe = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "test", "-w", acl_run / "file"]
        assert subprocess.run(probe).returncode == 1


@pytest.mark.parametrize("grant", ["m::rw", "u:12345:rw,m::rw", "u:54321:rw", "g:12345:r"])
def test_c53_permission_granted_again(acl_run: Path, grant: str) -> None:
    gitrun.lock(acl_run)
    stock("setfacl", "-m", grant, acl_run / "file")
    verdict = gitrun.verify(acl_run)
    assert verdict.ok
    assert b"file" in {path for _, path in drift(verdict)}
    assert {kind for kind, _ in drift(verdict)} <= {"xattr", "writable", "mode"}
    assert program("verify", "--strict", acl_run).code == 4
    gitrun.restore(acl_run)
    assert_untouched(acl_run)


def test_c53_access_list_removed(acl_run: Path) -> None:
    gitrun.lock(acl_run)
    for name in ("file", "sub", "sub/large"):
        stock("setfacl", "-b", acl_run / name)
    assert {path for kind, path in drift(gitrun.verify(acl_run)) if kind == "xattr"} == {b"file", b"sub", b"sub/large"}
    gitrun.restore(acl_run)
    assert_untouched(acl_run)
    gitrun.unlock(acl_run)
    assert b"user:12345:rw-\n" in acl(acl_run / "file")


def test_c54_default_access_lists(run: Path) -> None:
    """What they would give to new files must not reach what restore makes."""
    (run / "sub" / "below").mkdir(parents=True)
    write(run / "sub" / "file", mode=0o600)
    for path in (run, run / "sub", run / "sub" / "below"):
        stock("setfacl", "-d", "-m", "u:12345:rwx,g:777:rwx,o::rwx", path)
    write(run / "inherits", mode=0o640)
    write(run / "sub" / "large", b"large\n" * LARGE)
    round_trip(run)
    gitrun.lock(run)
    assert mode_of(run / ".gitrun.lock") & 0o222 == 0
    (run / "sub").chmod(0o755)
    stock("setfacl", "-k", run / "sub")
    assert ("xattr", b"sub") in drift(gitrun.verify(run))
    gitrun.restore(run)
    assert_untouched(run)


def test_c55_user_attributes(run: Path) -> None:
    """Always recorded, not on request: SPEC section 3 decides."""
    write(run / "file")
    write(run / "large", b"large\n" * LARGE)
    (run / "sub").mkdir()
    for path in (run, run / "file", run / "large", run / "sub"):
        os.setxattr(path, "user.empty", b"")
        os.setxattr(path, "user.na me=\n%\u202e", b"\0\xff\n" * 100)
        os.setxattr(path, b"user.\xff", b"not UTF-8")
    stock("setfattr", "-n", "user.note", "-v", "kept", run / "file")
    round_trip(run)


def test_c55_large_attribute(run: Path) -> None:
    write(run / "file")
    os.setxattr(run / "file", "user.large", os.urandom(3000))
    round_trip(run)


@pytest.mark.parametrize("name", ["file", "sub", "large"])
@pytest.mark.parametrize("change", ["lost", "changed", "added"])
def test_c55_attribute_that_changed(run: Path, name: str, change: str) -> None:
    write(run / "file")
    write(run / "large", b"large\n" * LARGE)
    (run / "sub").mkdir()
    os.setxattr(run / name, "user.note", b"kept")
    gitrun.lock(run)
    (run / name).chmod(0o755)
    if change == "lost":
        os.removexattr(run / name, "user.note")
    else:
        os.setxattr(run / name, "user.note" if change == "changed" else "user.more", b"new")
    (run / name).chmod(0o555 if name == "sub" else 0o444)
    verdict = gitrun.verify(run)
    assert verdict.ok and drift(verdict) == [("xattr", os.fsencode(name))]
    strict = gitrun.verify(run, strict=True)
    assert [(one.kind, one.path) for one in strict.differences] == [("xattr", os.fsencode(name))]
    gitrun.restore(run)
    assert_untouched(run)


@needs_root
def test_c56_capability(run: Path) -> None:
    write(run / "tool", mode=0o755)
    stock("setcap", "cap_net_raw+ep", run / "tool")
    round_trip(run)
    assert b"cap_net_raw=ep" in stock("getcap", run / "tool")


@needs_root
def test_c56_attributes_that_only_root_may_read_or_set(user_run: Path) -> None:
    """They belong to the machine; they never stop a lock."""
    write(user_run / "file")
    give(user_run)
    os.setxattr(user_run / "file", "trusted.x", b"root's")
    stock("setcap", "cap_net_raw+ep", user_run / "file")
    assert program("lock", user_run, user=True).code == 0
    assert program("verify", "--strict", user_run, user=True).code == 0
    assert program("unlock", user_run, user=True).code == 0
    assert os.getxattr(user_run / "file", "trusted.x") == b"root's"
    assert program("lock", user_run, user=True).code == 0
    remove(user_run)
    assert program("restore", user_run, user=True).code == 0
    assert program("verify", user_run, user=True).code == 0


# -- 57: flags --


@pytest.fixture
def flagged(run: Path) -> Iterator[Path]:
    """A run whose flags are taken away afterwards."""
    for name in ("file", "log", "sub/file"):
        write(run / name)
    yield run
    stock("chattr", "-R", "-i", "-a", run)


def flags(path: Path) -> bytes:
    return stock("lsattr", "-d", path).split()[0]


@needs_root
def test_c57_immutable_and_append_only_files(flagged: Path) -> None:
    """Nobody can chmod them, and nobody can change them: they are locked as they are, and keep their flags."""
    stock("chattr", "+i", flagged / "file", flagged / "sub" / "file")
    stock("chattr", "+a", flagged / "log")
    before = snapshot(flagged)
    assert program("lock", flagged).code == 0
    assert_stock_tools_agree(flagged)
    verdict = gitrun.verify(flagged)
    assert verdict.ok
    assert gitrun.unlock(flagged).differences == ()
    assert snapshot(flagged) == before
    assert b"i" in flags(flagged / "file") and b"a" in flags(flagged / "log")


@needs_root
def test_c57_immutable_run_directory(flagged: Path) -> None:
    """No lock file can be written there: the system's refusal, and nothing changed."""
    stock("chattr", "+i", flagged)
    assert_refused("lock", flagged, code="SystemFailed", exit_code=8, path=flagged)
    assert mode_of(flagged / "file") == 0o644


@needs_root
def test_c57_immutable_subdirectory(flagged: Path) -> None:
    stock("chattr", "+i", flagged / "sub")
    before = snapshot(flagged)
    gitrun.lock(flagged)
    assert gitrun.verify(flagged).ok
    gitrun.unlock(flagged)
    assert snapshot(flagged) == before


@needs_root
def test_c57_immutable_takes_no_flag_that_it_did_not_set(flagged: Path) -> None:
    stock("chattr", "+i", flagged / "file")
    gitrun.lock(flagged, immutable=True)
    assert b"i" in flags(flagged / "sub" / "file")
    gitrun.unlock(flagged)
    assert b"i" not in flags(flagged / "sub" / "file")
    assert b"i" in flags(flagged / "file")


# -- 58: owners --


@needs_root
@pytest.mark.parametrize("name", ["file", "sub", "sub/file"])
def test_c58_foreign_owner(user_run: Path, name: str) -> None:
    write(user_run / "file")
    write(user_run / "sub" / "file")
    give(user_run)
    os.chown(user_run / name, OTHER, OTHER)
    assert_refused("lock", user_run, code="Unsupported", path=user_run / name, user=True, says=f"uid {OTHER}")


@needs_root
def test_c58_foreign_symlinks_and_fifos_need_no_chmod(user_run: Path) -> None:
    (user_run / "link").symlink_to("nowhere")
    os.mkfifo(user_run / "fifo", 0o600)
    give(user_run)
    for name in ("link", "fifo"):
        os.chown(user_run / name, OTHER, OTHER, follow_symlinks=False)
    assert program("lock", user_run, user=True).code == 0
    assert program("verify", "--strict", user_run, user=True).code == 0
    assert program("unlock", user_run, user=True).code == 0


@needs_root
def test_c58_run_of_somebody_else(user_run: Path) -> None:
    write(user_run / "file")
    os.chown(user_run, OTHER, OTHER)
    os.chown(user_run / "file", OTHER, OTHER)
    assert_refused("lock", user_run, code="Unsupported", path=user_run, user=True)


@needs_root
def test_c58_root_restores_a_users_run(user_run: Path) -> None:
    """What root restores belongs to the user, who could not unlock otherwise."""
    write(user_run / "sub" / "file")
    (user_run / "link").symlink_to("sub")
    os.mkfifo(user_run / "fifo")
    give(user_run)
    before = snapshot(user_run)
    assert program("lock", user_run, user=True).code == 0
    remove(user_run)
    gitrun.restore(user_run)
    assert_untouched(user_run)
    done = program("unlock", user_run, user=True)
    assert done.code == 0, done.err
    assert snapshot(user_run) == before


@needs_root
def test_c58_root_mends_one_file_of_a_users_run(user_run: Path) -> None:
    write(user_run / "file")
    give(user_run)
    before = snapshot(user_run)
    assert program("lock", user_run, user=True).code == 0
    write(user_run / "file", "changed\n")
    gitrun.restore(user_run)
    done = program("unlock", user_run, user=True)
    assert done.code == 0, done.err
    assert snapshot(user_run) == before


# -- 59 to 61: what cannot be read --


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o111, 0o077])
@pytest.mark.parametrize("size", [5, LARGE], ids=["small", "large"])
def test_c59_unreadable_file(user_run: Path, mode: int, size: int) -> None:
    """SPEC section 6 knows no `--force-read`."""
    write(user_run / "before")
    write(user_run / "sub" / "file", b"x" * size)
    give(user_run)
    (user_run / "sub" / "file").chmod(mode)
    assert_refused("lock", user_run, code="Unreadable", path=user_run / "sub" / "file", user=True)


@needs_root
def test_c59_root_reads_it(run: Path) -> None:
    write(run / "file", mode=0)
    write(run / "sub" / "file").parent.chmod(0)
    round_trip(run)


def test_c59_file_that_became_unreadable(user_run: Path) -> None:
    """verify has no verdict then: the system failed."""
    write(user_run / "file")
    give(user_run)
    assert program("lock", user_run, user=True).code == 0
    (user_run / "file").chmod(0)
    assert_refused("verify", user_run, code="SystemFailed", path=user_run / "file", exit_code=8, user=True)
    done = program("unlock", user_run, user=True)
    assert done.code == 0, done.err
    assert mode_of(user_run / "file") == 0o644


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o100])
@pytest.mark.parametrize("name", ["sub", "sub/below"])
def test_c60_unreadable_directory(user_run: Path, mode: int, name: str) -> None:
    write(user_run / "sub" / "below" / "file")
    give(user_run)
    (user_run / name).chmod(mode)
    assert_refused("lock", user_run, code="Unreadable", path=user_run / name, user=True)


def test_c60_unreadable_run(user_run: Path) -> None:
    write(user_run / "file")
    give(user_run)
    user_run.chmod(0o300)
    assert_refused("lock", user_run, code="Unreadable", path=user_run, user=True)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o666])
def test_c61_directory_without_search(user_run: Path, mode: int) -> None:
    write(user_run / "sub" / "file")
    give(user_run)
    (user_run / "sub").chmod(mode)
    assert_refused("lock", user_run, code="Unreadable", path=user_run / "sub" / "file", user=True)


def test_c61_empty_directory_without_search(user_run: Path) -> None:
    """It hides nothing: it is listed, and comes back."""
    (user_run / "sub").mkdir()
    give(user_run)
    (user_run / "sub").chmod(0o600)
    before = snapshot(user_run)
    assert program("lock", user_run, user=True).code == 0
    assert program("verify", "--strict", user_run, user=True).code == 0
    assert program("unlock", user_run, user=True).code == 0
    assert snapshot(user_run) == before


def test_c61_store_that_cannot_be_made(user_run: Path) -> None:
    write(user_run / "file")
    give(user_run)
    user_run.parent.chmod(0o555)
    assert_refused("lock", user_run, code="SystemFailed", path=user_run.parent / ".gitrun", exit_code=8, user=True)


# -- 63, 64: drift --


def test_c63_only_the_time_changed(run: Path) -> None:
    write(run / "file")
    (run / "link").symlink_to("file")
    (run / "sub").mkdir()
    gitrun.lock(run)
    for name in ("file", "link", "sub"):
        os.utime(run / name, ns=(1, 2), follow_symlinks=False)
    verdict = gitrun.verify(run)
    assert verdict.ok and drift(verdict) == [("mtime", b"file"), ("mtime", b"link"), ("mtime", b"sub")]
    outcome = program("verify", run)
    assert outcome.code == 0 and "3 mtime" in outcome.out
    assert program("verify", "--strict", run).code == 4
    gitrun.restore(run)
    assert_untouched(run)


def test_c63_copied_without_times(run: Path, tmp_path: Path) -> None:
    """As by `cp -r` or `rsync` without `-t`: the copy is verified by its own lock file."""
    write(run / "file")
    os.utime(run / "file", ns=(1, 2))
    gitrun.lock(run)
    copy = tmp_path / "elsewhere" / "run"
    copy.parent.mkdir()
    stock("cp", "-r", "--no-preserve=all", run, copy)
    verdict = gitrun.verify(copy)
    assert verdict.ok and verdict.state == "detached"
    assert {kind for kind, _ in drift(verdict)} <= {"mtime", "writable", "mode"}


def test_c64_write_permission_came_back(user_run: Path) -> None:
    """A warning that names it, with its own kind; `restore` puts it right (SPEC knows no `--repair-modes`)."""
    write(user_run / "file")
    write(user_run / "other")
    give(user_run)
    assert program("lock", user_run, user=True).code == 0
    assert as_user(["chmod", "u+w", user_run / "file"]).returncode == 0
    outcome = program("verify", "--json", user_run, user=True)
    assert outcome.code == 0
    assert [(one["kind"], one["path"]) for one in outcome.object["warnings"]] == [("writable", "file")]
    assert outcome.object["protection"] == "none"
    assert program("verify", "--strict", user_run, user=True).code == 4
    assert program("restore", user_run, user=True).code == 0
    assert program("verify", "--strict", user_run, user=True).code == 0


def test_c64_every_write_permission_came_back(run: Path) -> None:
    """One line, not one for each entry."""
    for name in ("a", "b", "sub/c"):
        write(run / name)
    gitrun.lock(run)
    stock("chmod", "-R", "u+w", run)
    verdict = gitrun.verify(run)
    assert verdict.ok and verdict.protection == "none"
    assert [(one.kind, one.path, one.actual) for one in verdict.warnings] == [
        ("writable", b"", "writable: all 5 files and directories")
    ]
    gitrun.restore(run)
    shutil.rmtree(run / "sub")
    assert "deleted" in program("verify", run).out
    assert error_lines(program("restore", run)) == []
    assert_untouched(run)
