"""lock: what it writes, where, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import LARGE, MODEL, copy, fill, large_object, loosen, overwrite, remove, repository_of
from tests.support.mounts import bound, mounted, needs_root
from tests.support.picture import contents, modes, picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program
from tests.support.users import UID

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


def configure(home: Path, *pairs: str) -> None:
    """Writes `key=value` pairs into git's global configuration."""
    for pair in pairs:
        key, _, value = pair.partition("=")
        subprocess.run(["git", "config", "--global", key, value], check=True, cwd=home)


def log(run: Path, form: str, revision: str = "main") -> str:
    return git(repository_of(run), "log", "-1", f"--format={form}", revision)


class TestCommit:
    def test_the_subject_says_what_was_locked(self, run: Path) -> None:
        gitrun.lock(run)
        assert log(run, "%s") == f"Lock train: 6 files, {LARGE + 41} bytes"

    def test_the_message_is_the_subject(self, run: Path) -> None:
        gitrun.lock(run, message="as published")
        assert log(run, "%s") == "as published"

    def test_trailers(self, run: Path) -> None:
        locked = gitrun.lock(run, message="x\n\nGitrun-Run-Id: forged")
        told = dict(line.split(": ", 1) for line in log(run, "%(trailers:only,unfold)").splitlines())
        digest = hashlib.sha256((run / ".gitrun.lock").read_bytes()).hexdigest()
        assert told == {
            "Gitrun-Run-Id": locked.run,
            "Gitrun-Layout": "plain",
            "Gitrun-Files": "6",
            "Gitrun-Bytes": str(LARGE + 41),
            "Lock-File-Sha256": digest,
        }

    def test_author_and_committer_come_from_gits_configuration(self, run: Path, hermetic: Path) -> None:
        configure(hermetic, "user.name=Ada Löv <x>", "user.email=ada@example.org")
        gitrun.lock(run)
        assert log(run, "%an|%ae|%cn|%ce") == "Ada Löv x|ada@example.org|Ada Löv x|ada@example.org"

    def test_gits_variables_and_roles_go_first(
        self, run: Path, hermetic: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(hermetic, "user.name=Ada", "user.email=ada@example.org")
        monkeypatch.setenv("GIT_AUTHOR_NAME", "Author")
        monkeypatch.setenv("GIT_COMMITTER_EMAIL", "committer@example.org")
        gitrun.lock(run)
        assert log(run, "%an|%ae|%cn|%ce") == "Author|ada@example.org|Ada|committer@example.org"

    @pytest.mark.parametrize("strict", [False, True])
    def test_without_an_identity_user_and_host_serve(self, run: Path, hermetic: Path, strict: bool) -> None:
        configure(hermetic, f"user.useConfigOnly={strict}")
        gitrun.lock(run)
        name, address = log(run, "%an|%ae").split("|")
        assert address == f"{name}@{socket.gethostname()}"
        git(repository_of(run), "fsck", "--strict")

    def test_the_tag_is_annotated_and_vouches_for_the_lock_file(self, run: Path) -> None:
        locked = gitrun.lock(run)
        repository = repository_of(run)
        assert git(repository, "cat-file", "-t", "locked") == "tag"
        assert git(repository, "rev-parse", "locked^{commit}") == locked.commit == git(repository, "rev-parse", "main")
        digest = hashlib.sha256((run / ".gitrun.lock").read_bytes()).hexdigest()
        assert f"Lock-File-Sha256: {digest}" in git(repository, "tag", "-l", "--format=%(contents)", "locked")

    def test_the_tree_is_the_run(self, run: Path) -> None:
        gitrun.lock(run)
        listed = git(repository_of(run), "ls-tree", "-r", "--format=%(objectmode) %(path)", "locked").splitlines()
        assert listed == [
            "100644 .gitattributes",
            "100644 .gitrun.lock",
            "100644 config.yaml",
            "100644 empty",
            "100755 go.sh",
            "120000 link",
            "100644 model.bin",
            "100644 sub/deep/sealed",
            "100644 sub/secret",
        ]
        show = [git(repository_of(run), "show", f"locked:{name}") for name in ("config.yaml", "link", "go.sh")]
        assert show == ["lr: 0.1", "sub/secret", "#!/bin/sh"]
        assert git(repository_of(run), "show", "locked:.gitattributes").splitlines()[0] == "* -text"
        git(repository_of(run), "fsck", "--strict")

    def test_a_large_file_is_a_canonical_pointer(self, run: Path) -> None:
        gitrun.lock(run)
        oid = hashlib.sha256(MODEL).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {LARGE}"
        assert git(repository_of(run), "show", "locked:model.bin") == pointer
        assert large_object(repository_of(run)).read_bytes() == MODEL
        attributes = git(repository_of(run), "show", "locked:.gitattributes")
        assert re.search(r"^/?model\.bin filter=lfs diff=lfs merge=lfs -text$", attributes, re.MULTILINE)

    def test_each_lock_is_the_child_of_the_one_before(self, run: Path) -> None:
        commits = []
        for content in ("one", "two", "three"):
            (run / "config.yaml").write_text(content)
            commits.append(gitrun.lock(run).commit)
            gitrun.unlock(run)
        assert git(repository_of(run), "rev-list", "--first-parent", "main").split() == commits[::-1]
        assert log(run, "%P", commits[0]) == ""

    def test_the_same_content_is_the_same_tree(self, run: Path) -> None:
        trees, records = [], []
        for _ in range(2):
            gitrun.lock(run)
            trees.append(log(run, "%T"))
            records.append((run / ".gitrun.lock").read_bytes())
            gitrun.unlock(run)
        assert trees[0] == trees[1]
        assert records[0] == records[1]
        (run / "config.yaml").write_text("another")
        gitrun.lock(run)
        assert log(run, "%T") not in trees

    def test_files_of_equal_content_are_stored_once(self, run: Path) -> None:
        (run / "again.bin").write_bytes(MODEL)
        gitrun.lock(run)
        assert [p for p in (repository_of(run) / "lfs").rglob("*") if p.is_file()] == [large_object(repository_of(run))]


class TestRun:
    def test_lock_prints_that_it_is_locked(self, run: Path, call: Call) -> None:
        told = call("lock", run)
        assert (told.code, told.err) == (0, "")
        assert re.fullmatch(r"locked train \([0-9a-f]{8}\): 6 files, 1\.0 MiB, .*\n", told.out)

    def test_write_bits_go_and_nothing_else(self, run: Path) -> None:
        before = picture(run)
        gitrun.lock(run)
        after = picture(run)
        assert set(after) - set(before) == {b".gitrun.lock", b".git"}
        for path, seen in before.items():
            symlink = path == b"link"
            assert after[path] == seen._replace(mode=seen.mode if symlink else seen.mode & ~0o222)

    def test_sha256sum_agrees(self, run: Path) -> None:
        gitrun.lock(run)
        command = ["sha256sum", "--strict", "--quiet", "-c", ".gitrun.lock"]
        assert subprocess.run(command, cwd=run, capture_output=True).returncode == 0

    def test_locked_and_untouched_is_left_alone(self, run: Path, call: Call, ask: Ask) -> None:
        first = ask("lock", run)
        before = picture(run.parent)
        told = call("lock", run)
        assert told.code == 0 and "already locked" in told.out
        again = ask("lock", run)
        assert again["already"] and again["commit"] == first["commit"] and again["locked_at"] == first["locked_at"]
        assert picture(run.parent) == before

    def test_touched_only_is_not_changed(self, run: Path) -> None:
        gitrun.lock(run)
        os.utime(run / "config.yaml")
        assert gitrun.lock(run).already

    def test_locked_and_changed_is_refused(self, run: Path, ask: Ask) -> None:
        first = gitrun.lock(run)
        overwrite(run / "config.yaml", b"lr: 0.2\n")
        told = ask("lock", run)
        assert told["exit"] == 5 and told["error"]["code"] == "RunChanged"
        assert told["error"]["path"] == str(run / "config.yaml")
        assert "gitrun" in told["error"]["hint"]
        assert git(repository_of(run), "rev-parse", "main") == first.commit

    @pytest.mark.parametrize("kind", ["text", "empty", "directory", "symlink", "fifo"])
    def test_a_lock_file_that_is_not_ours_is_refused(self, run: Path, ask: Ask, kind: str) -> None:
        stray = run / ".gitrun.lock"
        {
            "text": lambda: stray.write_text("pid 17\n"),
            "empty": stray.touch,
            "directory": stray.mkdir,
            "symlink": lambda: stray.symlink_to("/etc/passwd"),
            "fifo": lambda: os.mkfifo(stray),
        }[kind]()
        before = os.lstat(run), sorted(os.listdir(run.parent))
        told = ask("lock", run)
        assert told["exit"] == 5 and told["error"]["path"] == str(stray)
        assert (os.lstat(run).st_mode, sorted(os.listdir(run.parent))) == (before[0].st_mode, before[1])

    def test_an_empty_run_says_so(self, tmp_path: Path, call: Call) -> None:
        (tmp_path / "nothing").mkdir()
        told = call("lock", tmp_path / "nothing")
        assert told.code == 0 and "0 files" in told.out
        assert call("verify", tmp_path / "nothing").code == 0

    def test_an_outside_hard_link_is_told(self, run: Path, call: Call) -> None:
        os.link(run / "config.yaml", run.parent / "other-name")
        told = call("lock", run)
        assert told.code == 0 and "config.yaml" in told.err and "hard link" in told.err
        assert (run.parent / "other-name").stat().st_mode & 0o222 == 0

    def test_a_hard_link_inside_is_not(self, run: Path, call: Call) -> None:
        os.link(run / "config.yaml", run / "other-name")
        assert call("lock", run).err == ""

    def test_the_mode_of_what_a_symlink_points_to_stays(self, run: Path) -> None:
        outside = run.parent / "outside"
        outside.mkdir()
        (outside / "file").write_text("theirs")
        (run / "out").symlink_to("../outside")
        (run / "abs").symlink_to(outside / "file")
        before = picture(outside)
        gitrun.lock(run)
        gitrun.verify(run)
        gitrun.unlock(run)
        assert picture(outside) == before


class TestIdentity:
    def test_the_id_is_the_name_and_eight_digits(self, run: Path) -> None:
        assert re.fullmatch(r"train-[0-9a-f]{8}", gitrun.lock(run).run)

    @pytest.mark.parametrize("name", [b"a b~^:?*[\\c", b"..x..", b"x.lock", b"-dash", b"\xff\n", "é".encode(), b"@{"])
    def test_the_id_may_stand_in_a_ref(self, run: Path, name: bytes) -> None:
        strange = run.parent / os.fsdecode(name)
        run.rename(strange)
        locked = gitrun.lock(strange)
        assert re.fullmatch(r"[A-Za-z0-9._-]+-[0-9a-f]{8}", locked.run)
        subprocess.run(["git", "check-ref-format", f"refs/heads/runs/{locked.run}"], check=True)
        assert gitrun.verify(strange).run == locked.run

    def move_within(self, run: Path) -> Path:
        return run.rename(run.with_name("renamed"))

    def move_away(self, run: Path) -> Path:
        (run.parent.parent / "elsewhere").mkdir()
        loosen(run)  # the kernel wants to write `..`
        moved = run.rename(run.parent.parent / "elsewhere" / "train")
        moved.chmod(0o555)
        return moved

    def move_parent(self, run: Path) -> Path:
        return run.parent.rename(run.parent.with_name("moved")) / run.name

    @pytest.mark.parametrize("move", [move_within, move_away, move_parent])
    def test_it_survives_a_move(self, run: Path, move: Callable[[TestIdentity, Path], Path]) -> None:
        locked = gitrun.lock(run)
        moved = move(self, run)
        verdict = gitrun.verify(moved, strict=True)
        assert (verdict.ok, verdict.run, verdict.state) == (True, locked.run, "locked")
        assert gitrun.status(moved).run == locked.run
        assert gitrun.lock(moved).already
        gitrun.unlock(moved)
        assert not (moved / ".gitrun.lock").exists() and not (moved / ".git").exists()

    @pytest.mark.parametrize("move", [move_within, move_parent])
    def test_the_repository_has_the_name_of_the_run_again_when_it_was_unlocked(
        self, run: Path, move: Callable[[TestIdentity, Path], Path]
    ) -> None:
        gitrun.lock(run)
        moved = move(self, run)
        gitrun.unlock(moved)
        assert gitrun.path(moved) == repository_of(moved)
        assert [p.name for p in repository_of(moved).parent.glob("*.git")] == [f"{moved.name}.git"]

    @pytest.mark.parametrize("move", [move_within, move_parent])
    def test_the_history_goes_on_after_a_move(self, run: Path, move: Callable[[TestIdentity, Path], Path]) -> None:
        first = gitrun.lock(run)
        moved = move(self, run)
        gitrun.unlock(moved)
        (moved / "config.yaml").write_text("new")
        second = gitrun.lock(moved)
        assert second.run == first.run
        assert git(gitrun.path(moved), "rev-list", "main").split() == [second.commit, first.commit]

    def test_a_new_run_under_the_old_name_is_another_run(self, run: Path) -> None:
        first = gitrun.lock(run)
        moved = run.rename(run.with_name("kept"))
        fill(run)
        second = gitrun.lock(run)
        assert second.run != first.run
        assert gitrun.path(run) != gitrun.path(moved)
        gitrun.unlock(run)
        assert gitrun.verify(moved, strict=True).commit == first.commit
        assert gitrun.lock(run).run == second.run
        gitrun.unlock(moved)
        assert gitrun.lock(moved).run == first.run

    def test_unlocking_a_new_run_under_the_old_name_harms_nobody(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        moved = run.rename(run.with_name("kept"))
        fill(run)
        assert call("unlock", run).code == 3
        assert gitrun.status(run).state == "unlocked"
        assert gitrun.status(moved).state == "locked"
        assert gitrun.verify(moved, strict=True)

    def test_runs_that_swap_their_names_keep_their_repositories(self, run: Path) -> None:
        other = fill(run.with_name("other"))
        (other / "config.yaml").write_text("of the other")
        ids = gitrun.lock(run).run, gitrun.lock(other).run
        run.rename(run.with_name("t"))
        other.rename(run)
        run.with_name("t").rename(other)
        assert (gitrun.verify(run, strict=True).run, gitrun.verify(other, strict=True).run) == ids[::-1]
        assert gitrun.verify(run) and gitrun.verify(other)


class TestCopies:
    @pytest.mark.parametrize("beside", [True, False])
    def test_a_copy_is_verified_by_its_own_lock_file(self, run: Path, ask: Ask, beside: bool) -> None:
        locked = gitrun.lock(run)
        target = run.with_name("copy") if beside else run.parent.parent / "copy"
        told = ask("verify", copy(run, target))
        assert (told["exit"], told["ok"], told["state"], told["run"]) == (0, True, "detached", locked.run)
        assert "copy" in told["notes"][0] and "nothing else vouches" in told["notes"][0]
        assert gitrun.status(target).state == "detached"
        overwrite(target / "config.yaml", b"x")
        assert [d.path for d in gitrun.verify(target).differences] == [b"config.yaml"]

    def test_a_copy_whose_original_is_out_of_reach(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        copied = copy(run, run.parent.parent / "copy")
        run.parent.rename(run.parent.with_name("away"))
        assert gitrun.verify(copied).state == "detached"
        assert call("lock", copied).code == 5
        gitrun.unlock(copied)
        assert contents(picture(copied)) == contents(picture(fill(run)))

    @pytest.mark.parametrize("beside", [True, False])
    def test_unlocking_a_copy_leaves_the_original_alone(self, run: Path, beside: bool) -> None:
        locked = gitrun.lock(run)
        before = picture(run.parent)
        original = modes(picture(fill(run.parent.parent / "model")))
        copied = copy(run, run.with_name("copy") if beside else run.parent.parent / "copy")
        gitrun.unlock(copied)
        assert modes(picture(copied)) == original
        after = {path: seen for path, seen in picture(run.parent).items() if not path.startswith(b"copy")}
        del before[b"."], after[b"."]  # the copy lies there now
        assert after == before
        assert gitrun.verify(run).commit == locked.commit

    def test_a_copy_is_locked_as_a_run_of_its_own(self, run: Path, ask: Ask) -> None:
        first = gitrun.lock(run)
        copied = copy(run, run.with_name("copy"))
        told = ask("lock", copied)
        assert told["exit"] == 5 and "copy" in told["error"]["message"] and "unlock" in told["error"]["hint"]
        gitrun.unlock(copied)
        second = gitrun.lock(copied)
        assert second.run != first.run and gitrun.path(copied) != gitrun.path(run)
        assert gitrun.verify(run) and gitrun.verify(copied)


class TestStore:
    def test_the_variable_puts_it_elsewhere(self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GITRUN_STORE", str(tmp_path / "store"))
        gitrun.lock(run)
        assert gitrun.path(run) == tmp_path / "store" / "train.git"
        assert not (run.parent / ".gitrun").exists()
        assert large_object(tmp_path / "store").exists()
        monkeypatch.delenv("GITRUN_STORE")
        assert gitrun.verify(run).state == "locked"  # the lock file tells where

    def test_so_does_gits_configuration_unless_the_variable_is_set(
        self, run: Path, tmp_path: Path, hermetic: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(hermetic, f"gitrun.store={tmp_path}/configured")
        gitrun.lock(run)
        assert gitrun.path(run) == tmp_path / "configured" / "train.git"
        monkeypatch.setenv("GITRUN_STORE", str(tmp_path / "store"))
        gitrun.lock(other := fill(tmp_path / "other"))
        assert gitrun.path(other) == tmp_path / "store" / "other.git"

    def test_two_runs_of_one_name_do_not_share(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GITRUN_STORE", str(tmp_path / "store"))
        one, two = fill(tmp_path / "a" / "train"), fill(tmp_path / "b" / "train")
        (two / "config.yaml").write_text("of two")
        locked = gitrun.lock(one), gitrun.lock(two)
        assert locked[0].run != locked[1].run
        assert gitrun.path(one) != gitrun.path(two)
        assert gitrun.path(one).parent == gitrun.path(two).parent == tmp_path / "store"
        assert gitrun.verify(one, strict=True) and gitrun.verify(two, strict=True)
        gitrun.unlock(one)
        assert gitrun.status(two).state == "locked"
        gitrun.unlock(two)
        assert (gitrun.lock(one).run, gitrun.lock(two).run) == (locked[0].run, locked[1].run)

    @pytest.mark.parametrize("where", ["store", ".", "sub/store"])
    def test_a_store_inside_the_run_is_refused(
        self, run: Path, where: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = picture(run)
        monkeypatch.setenv("GITRUN_STORE", str(run / where))
        told = ask("lock", run)
        assert (told["exit"], told["error"]["code"]) == (5, "Unsupported")
        assert picture(run) == before

    def test_a_run_that_holds_a_store_is_refused(self, run: Path, ask: Ask) -> None:
        inner = fill(run / "nested" / "inner")
        gitrun.lock(inner)
        told = ask("lock", run)
        assert told["exit"] == 5 and told["error"]["path"] == str(run / "nested" / ".gitrun")

    def test_a_store_is_no_run(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        assert call("lock", run.parent / ".gitrun").code == 5
        assert call("lock", repository_of(run)).code == 5

    def test_a_large_file_of_two_runs_is_one_inode(self, run: Path) -> None:
        other = fill(run.with_name("other"))
        gitrun.lock(run)
        gitrun.lock(other)
        stores = [repository_of(run), repository_of(other), run.parent / ".gitrun"]
        assert len({large_object(top).stat().st_ino for top in stores}) == 1
        assert large_object(stores[0]).stat().st_nlink == 3

    def test_what_the_pool_has_is_not_counted_as_added(self, run: Path) -> None:
        other = fill(run.with_name("other"))
        assert gitrun.lock(run).stored_bytes > LARGE
        assert gitrun.lock(other).stored_bytes < LARGE

    def test_deleting_a_repository_harms_no_other_run(self, run: Path) -> None:
        other = fill(run.with_name("other"))
        gitrun.lock(run), gitrun.lock(other)
        shutil.rmtree(repository_of(run))
        assert gitrun.verify(other, strict=True)
        git(repository_of(other), "fsck", "--strict")
        assert large_object(repository_of(other)).read_bytes() == MODEL
        remove(other)
        gitrun.restore(other)
        assert gitrun.verify(other, strict=True)

    def test_a_repository_alone_is_whole(self, run: Path, tmp_path: Path) -> None:
        locked = gitrun.lock(run)
        subprocess.run(["cp", "-a", repository_of(run), tmp_path / "alone.git"], check=True)
        remove(run)
        shutil.rmtree(run.parent)
        git(tmp_path / "alone.git", "fsck", "--strict")
        assert git(tmp_path / "alone.git", "rev-parse", "locked^{commit}") == locked.commit
        assert large_object(tmp_path / "alone.git").read_bytes() == MODEL


class TestThreshold:
    def stored_large(self, run: Path) -> set[str]:
        lines = (run / ".gitrun.lock").read_text().splitlines()
        marks = pairwise(lines)
        return {name.split("  ", 1)[1] for head, name in marks if head.startswith("# f") and head.endswith(" lfs")}

    @pytest.fixture
    def sizes(self, tmp_path: Path) -> Path:
        (tmp_path / "sizes").mkdir()
        for size in (99, 100, 101):
            (tmp_path / "sizes" / str(size)).write_bytes(b"x" * size)
        return tmp_path / "sizes"

    def test_from_the_threshold_on_a_file_is_large(self, sizes: Path, call: Call) -> None:
        assert call("lock", "--large-threshold", "100", sizes).code == 0
        assert self.stored_large(sizes) == {"100", "101"}
        assert "# threshold: 100" in (sizes / ".gitrun.lock").read_text()

    def test_it_is_configured(self, sizes: Path, hermetic: Path) -> None:
        configure(hermetic, "gitrun.largeThreshold=101")
        gitrun.lock(sizes)
        assert self.stored_large(sizes) == {"101"}

    def test_it_is_one_mebibyte_by_default(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        for size in (LARGE - 1, LARGE):
            (tmp_path / "run" / str(size)).write_bytes(b"x" * size)
        gitrun.lock(tmp_path / "run")
        assert self.stored_large(tmp_path / "run") == {str(LARGE)}

    @pytest.mark.parametrize("value", ["much", "-1", "0", "1e99"])
    def test_nonsense_is_wrong_usage(self, sizes: Path, hermetic: Path, call: Call, value: str) -> None:
        assert call("lock", f"--large-threshold={value}", sizes).code == 2
        configure(hermetic, f"gitrun.largeThreshold={value}")
        assert call("lock", sizes).code == 2
        assert not (sizes / ".gitrun.lock").exists()


class TestLink:
    def test_copy_and_auto_give_the_store_its_own_inode(self, run: Path) -> None:
        other = fill(run.with_name("other"))
        gitrun.lock(run, link="copy")
        gitrun.lock(other, link="auto")
        for one in (run, other):
            assert (one / "model.bin").stat().st_ino != large_object(repository_of(one)).stat().st_ino

    def test_reflink_where_it_cannot_is_exit_8(self, tmp_path: Path, call: Call) -> None:
        with mounted("ext4", tmp_path) as place:
            run = fill(place / "train")
            before = picture(run)
            told = call("lock", "--link", "reflink", run)
            assert told.code == 8 and "model.bin" in told.err and "hint" in told.err
            assert picture(run) == before and not (place / ".gitrun").exists()
            assert call("lock", run).code == 0  # auto copies there

    @pytest.mark.parametrize("kind", ["btrfs", "xfs"])
    def test_reflink_where_it_can(self, tmp_path: Path, call: Call, kind: str) -> None:
        with mounted(kind, tmp_path) as place:
            run = fill(place / "train")
            assert call("lock", "--link", "reflink", run).code == 0
            assert shares_blocks(run / "model.bin", large_object(repository_of(run)))
            overwrite(run / "model.bin", b"damaged")
            assert large_object(repository_of(run)).read_bytes() == MODEL
            assert call("restore", run).code == 0
            assert call("verify", "--strict", run).code == 0
            other = fill(place / "other")
            assert call("lock", other).code == 0
            remove(other)
            assert call("restore", other).code == 0

    def test_auto_reflinks_where_it_can(self, tmp_path: Path, call: Call) -> None:
        with mounted("btrfs", tmp_path) as place:
            run = fill(place / "train")
            assert call("lock", run).code == 0
            assert shares_blocks(run / "model.bin", large_object(repository_of(run)))

    def test_hardlink_shares_the_inode_until_unlock(self, run: Path, call: Call) -> None:
        before = picture(run)
        told = call("lock", "--link", "hardlink", run)
        assert told.code == 0
        stored = large_object(repository_of(run))
        assert (run / "model.bin").stat().st_ino == stored.stat().st_ino
        assert gitrun.verify(run, strict=True)
        gitrun.unlock(run)
        assert (run / "model.bin").stat().st_ino != stored.stat().st_ino
        assert picture(run) == before
        (run / "model.bin").write_bytes(b"new")
        assert stored.read_bytes() == MODEL and stored.stat().st_mode & 0o222 == 0

    def test_hardlink_says_what_it_risks(self, run: Path, call: Call) -> None:
        told = call("lock", "--link", "hardlink", run)
        assert "damages both" in told.out + told.err

    def test_hardlink_then_a_forced_edit_is_told_by_verify(self, run: Path) -> None:
        gitrun.lock(run, link="hardlink")
        overwrite(run / "model.bin", b"damaged")
        assert [d.path for d in gitrun.verify(run).differences] == [b"model.bin"]

    def test_hardlinks_inside_the_run_stay_together(self, run: Path) -> None:
        os.link(run / "model.bin", run / "sub" / "twin.bin")
        gitrun.lock(run, link="hardlink")
        gitrun.unlock(run)
        assert (run / "model.bin").stat().st_ino == (run / "sub" / "twin.bin").stat().st_ino
        assert (run / "model.bin").stat().st_nlink == 2

    def test_restore_gives_inodes_of_their_own(self, run: Path) -> None:
        gitrun.lock(run, link="hardlink")
        loosen(run)
        (run / "model.bin").unlink()
        gitrun.restore(run)
        assert (run / "model.bin").stat().st_ino != large_object(repository_of(run)).stat().st_ino

    def test_none_keeps_only_pointers(self, run: Path, ask: Ask) -> None:
        assert ask("lock", "--link", "none", run)["stored_bytes"] < LARGE
        assert not large_object(repository_of(run)).exists()
        assert ask("verify", "--strict", run)["ok"]
        overwrite(run / "model.bin", MODEL[:-1] + b"x")
        assert ask("verify", run)["exit"] == 4

    def test_none_then_restore_names_what_was_never_stored(self, run: Path, call: Call, ask: Ask) -> None:
        gitrun.lock(run, link="none")
        overwrite(run / "config.yaml", b"x")
        overwrite(run / "model.bin", b"x")
        told = call("restore", run)
        assert told.code == 6 and "model.bin" in told.err and "stored" in told.err
        assert (run / "config.yaml").read_bytes() == b"lr: 0.1\n"
        assert [one["path"] for one in ask("verify", run)["differences"]] == ["model.bin"]


def shares_blocks(one: Path, other: Path) -> bool:
    """Whether both files have their first block at the same place of the disk."""
    starts = []
    for path in (one, other):
        told = subprocess.run(["filefrag", "-s", "-v", path], capture_output=True, text=True, check=True).stdout
        starts.append(re.findall(r"^ +0: +\d+\.\. *\d+: +(\d+)\.\.", told, re.MULTILINE))
    return bool(starts[0]) and starts[0] == starts[1]


class TestGitFile:
    def test_plain_git_works_inside_the_run(self, run: Path, hermetic: Path) -> None:
        first = gitrun.lock(run, message="first").commit
        gitrun.unlock(run)
        (run / "config.yaml").write_text("lr: 0.3\n")
        second = gitrun.lock(run, message="second").commit
        for words, expected in [
            (["log", "--format=%s"], "second\nfirst"),
            (["show", "--format=%s", "--stat", "locked"], "second"),
            (["diff", first, second, "--", "config.yaml"], "+lr: 0.3"),
        ]:
            done = subprocess.run(["git", *words], cwd=run / "sub", capture_output=True, text=True)
            assert done.returncode == 0 and expected in done.stdout, done.stderr
        assert gitrun.verify(run, strict=True)

    def test_it_goes_at_unlock(self, run: Path) -> None:
        gitrun.lock(run)
        assert (run / ".git").read_text() == "gitdir: ../.gitrun/train.git\n"
        gitrun.unlock(run)
        assert not (run / ".git").exists()

    def test_a_run_with_a_repository_of_its_own_keeps_it(self, run: Path) -> None:
        subprocess.run(["git", "init", "-q", run], check=True)
        before = picture(run)
        gitrun.lock(run)
        assert (run / ".git").is_dir()
        assert gitrun.verify(run, strict=True)
        gitrun.unlock(run)
        assert picture(run) == before

    def test_a_git_file_of_the_runs_own_is_data(self, run: Path) -> None:
        (run / ".git").write_text("gitdir: ../somewhere\n")
        gitrun.lock(run)
        assert (run / ".git").read_text() == "gitdir: ../somewhere\n"
        overwrite(run / ".git", b"gitdir: ../elsewhere\n")
        assert [d.path for d in gitrun.verify(run).differences] == [b".git"]

    @pytest.mark.parametrize(("ignored", "expected"), [(False, False), (True, True)])
    def test_inside_another_work_tree_only_where_that_ignores_it(
        self, run: Path, ignored: bool, expected: bool
    ) -> None:
        subprocess.run(["git", "init", "-q", run.parent], check=True)
        if ignored:
            (run.parent / ".gitignore").write_text("train/\n.gitrun/\n")
        gitrun.lock(run)
        assert (run / ".git").exists() is expected
        done = subprocess.run(["git", "status", "--short"], cwd=run.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def test_the_configuration_can_forbid_it(self, run: Path, hermetic: Path) -> None:
        configure(hermetic, "gitrun.gitLink=false")
        gitrun.lock(run)
        assert not (run / ".git").exists()
        assert gitrun.verify(run, strict=True)


class TestProtection:
    @pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
    def test_immutable(self, tmp_path: Path, ask: Ask, kind: str) -> None:
        with mounted(kind, tmp_path) as place:
            run = fill(place / "train")
            before = picture(run)
            told = ask("lock", "--immutable", run)
            assert (told["exit"], told["protection"]) == (0, "immutable")
            for deed in ((run / "new").touch, lambda: (run / "config.yaml").write_text("x")):
                with pytest.raises(PermissionError):  # even for root
                    deed()
            with pytest.raises(PermissionError):
                run.rename(run.with_name("moved"))
            assert ask("verify", run)["protection"] == ask("status", run)["protection"] == "immutable"
            assert ask("lock", run)["already"]
            assert ask("unlock", run)["exit"] == 0
            assert picture(run) == before
            (run / "config.yaml").write_text("writable again")

    def test_immutable_is_not_for_everybody(self, users_run: Path) -> None:
        needs_root()  # else it would be tried as whoever this is
        before = picture(users_run)
        told = program("lock", "--immutable", users_run, user=True)
        assert told.code == 8 and "immutable" in told.err and told.err.count("\n") == 2
        assert picture(users_run) == before
        assert program("lock", users_run, user=True).code == 0

    def test_roots_own_protection_is_named_for_what_it_is(self, run: Path, ask: Ask) -> None:
        needs_root()
        for verb in ("lock", "verify", "status"):
            assert ask(verb, run)["protection"] == "read-only (root ignores it)"

    def test_a_users_protection(self, users_run: Path) -> None:
        for verb in ("lock", "verify", "status"):
            assert program(verb, "--json", users_run, user=True).object["protection"] == "read-only"

    def test_a_run_on_a_file_system_that_ignores_chmod(self, users_run: Path, shared_tmp: Path) -> None:
        with bound(["--chmod-ignore"], users_run.parent, shared_tmp / "view") as view:
            told = program("lock", "--json", view / "train", user=True).object
            assert (told["exit"], told["state"], told["protection"]) == (0, "locked", "none")
            said = program("status", view / "train", user=True)
            assert "none" in said.out + said.err or "not protected" in said.out + said.err
            verdict = program("verify", "--json", view / "train", user=True).object
            assert (verdict["exit"], verdict["ok"], verdict["protection"]) == (0, True, "none")
            assert {one["kind"] for one in verdict["warnings"]} == {"writable"}
            assert program("verify", "--strict", view / "train", user=True).code == 4
            assert program("unlock", view / "train", user=True).code == 0

    def test_lock_says_that_nothing_protects_it(self, users_run: Path, shared_tmp: Path) -> None:
        with bound(["--chmod-ignore"], users_run.parent, shared_tmp / "view") as view:
            told = program("lock", view / "train", user=True)
            assert told.code == 0 and "not protected" in told.out + told.err

    def test_a_file_system_that_refuses_chmod(self, users_run: Path, shared_tmp: Path) -> None:
        with bound(["--chmod-deny"], users_run.parent, shared_tmp / "view") as view:
            told = program("lock", "--json", view / "train", user=True).object
            assert (told["exit"], told.get("protection")) == (0, "none"), told
            assert program("unlock", view / "train", user=True).code == 0

    def test_root_leaves_nothing_of_roots_in_a_users_place(self, users_run: Path, call: Call) -> None:
        needs_root()
        before = picture(users_run)
        assert call("lock", users_run).code == 0
        found = picture(users_run.parent)
        assert {seen.owner[0] for seen in found.values()} == {UID}
        assert program("verify", "--strict", users_run, user=True).code == 0
        told = program("unlock", users_run, user=True)
        assert told.code == 0, told.err
        assert picture(users_run) == before
        assert program("lock", users_run, user=True).code == 0
        assert call("unlock", users_run).code == 0
        assert {seen.owner[0] for seen in picture(users_run.parent).values()} == {UID}
        assert program("lock", users_run, user=True).code == 0

    def test_another_users_files_in_the_run_are_refused_before_anything(self, users_run: Path) -> None:
        needs_root()
        os.chown(users_run / "config.yaml", 12345, 12345)
        before = picture(users_run.parent)
        told = program("lock", users_run, user=True)
        assert told.code == 5 and "config.yaml" in told.err and "12345" in told.err
        assert picture(users_run.parent) == before
