"""diff: what changed, with stock git, patch and cmp as the judges."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from gitrun.ops.diff import PATCH_BYTES, TEXT_BYTES, TEXT_LINES
from gitrun.renames import ALIKE_BYTES
from tests.ops.runs import LARGE, MODEL, copy, fill, large_object, overwrite, remove, repository_of
from tests.support.picture import picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def restarted(run: Path) -> Path:
    """A run that was locked, restarted in place, and locked again."""
    (run / "log.txt").write_text("".join(f"epoch {n}\n" for n in range(30)))
    gitrun.lock(run)
    gitrun.unlock(run)
    (run / "config.yaml").write_bytes(b"lr: 0.2\n")
    (run / "go.sh").unlink()
    (run / "new").write_bytes(b"new\n")
    os.rename(run / "sub" / "secret", run / "sub" / "renamed")
    (run / "log.txt").write_text("".join(f"epoch {n}\n" for n in range(3, 33)))
    (run / "model.bin").write_bytes(MODEL[::-1])
    gitrun.lock(run)
    return run


def kinds(result: gitrun.DiffResult) -> dict[bytes, str]:
    return {change.path: change.kind for change in result.changes}


RESTART = {
    b"config.yaml": "modified",
    b"go.sh": "deleted",
    b"log.txt": "modified",
    b"model.bin": "modified",
    b"new": "added",
    b"sub/renamed": "renamed",
}


class TestSides:
    def test_untouched_locked_or_unlocked(self, run: Path) -> None:
        gitrun.lock(run)
        assert not gitrun.diff(run)
        gitrun.unlock(run)
        assert not gitrun.diff(run)

    def test_a_run_against_its_last_lock(self, run: Path) -> None:
        gitrun.lock(run)
        overwrite(run / "config.yaml", b"lr: 9\n")
        told = gitrun.diff(run)
        assert kinds(told) == {b"config.yaml": "modified"}
        assert (told.old, told.new) == (gitrun.status(run).commit, "")

    def test_the_same_size_and_times_do_not_hide_a_change(self, run: Path) -> None:
        gitrun.lock(run)
        before = (run / "config.yaml").stat()
        overwrite(run / "config.yaml", b"lr: 0.9\n")
        os.utime(run / "config.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert kinds(gitrun.diff(run)) == {b"config.yaml": "modified"}

    @pytest.mark.parametrize("words", [("~1",), ("~1", "locked"), ("main~1", "HEAD"), ("refs/gitrun/locks/1", "main")])
    def test_a_restart_against_the_lock_before(self, restarted: Path, words: tuple[str, ...]) -> None:
        assert kinds(gitrun.diff(restarted, *words)) == RESTART

    def test_commits_by_their_beginning_and_the_other_way_round(self, restarted: Path) -> None:
        new, old = (lock.commit for lock in gitrun.log(restarted).locks)
        back = gitrun.diff(restarted, new[:9], old[:9])
        assert (back.old, back.new) == (new, old)
        assert kinds(back)[b"go.sh"] == "added" and kinds(back)[b"new"] == "deleted"

    def test_the_run_named_with_its_revision(self, restarted: Path, call: Call) -> None:
        told = call("diff", "--name-status", restarted, f"{restarted}~1")
        assert told.code == 0
        assert told.out.splitlines() == [
            "M  config.yaml",
            "D  go.sh",
            "M  log.txt",
            "M  model.bin",
            "A  new",
            "R  sub/secret => sub/renamed",
        ]

    def test_git_sees_the_same_paths(self, restarted: Path) -> None:
        shown = git(repository_of(restarted), "diff", "--no-renames", "--name-only", "main~1", "main").splitlines()
        ours = {path for path in shown if path not in (".gitrun.lock", ".gitattributes")}
        told = gitrun.diff(restarted, "~1")
        assert ours == {os.fsdecode(change.path) for change in told.changes} | {"sub/secret"}

    @pytest.mark.parametrize("locked", [True, False])
    def test_another_run(self, run: Path, locked: bool) -> None:
        other = fill(run.with_name("other"))
        (other / "config.yaml").write_bytes(b"lr: 0.5\n")
        gitrun.lock(run)
        if locked:
            gitrun.lock(other)
        told = gitrun.diff(run, other)
        assert kinds(told) == {b"config.yaml": "modified"}
        assert b"-lr: 0.5\n+lr: 0.1\n" in told.changes[0].patch

    def test_a_lock_of_another_run(self, restarted: Path) -> None:
        other = fill(restarted.with_name("other"))
        (other / "log.txt").write_text("".join(f"epoch {n}\n" for n in range(30)))
        gitrun.lock(other)
        assert kinds(gitrun.diff(other, f"{restarted}~1")) == {}
        assert kinds(gitrun.diff(other, f"{restarted}~0"))

    def test_two_locks_of_a_run_that_is_gone(self, restarted: Path) -> None:
        before = gitrun.diff(restarted, "~1", "HEAD").changes
        remove(restarted)
        assert gitrun.diff(restarted, "~1", "HEAD").changes == before

    @pytest.mark.parametrize("path", ["sub", "./sub/", "sub/renamed"])
    def test_only_these_paths(self, restarted: Path, path: str) -> None:
        assert kinds(gitrun.diff(restarted, "~1", paths=[path])).keys() <= {b"sub/renamed"}

    def test_nothing_is_changed_by_looking(self, restarted: Path) -> None:
        before = picture(restarted.parent)
        gitrun.diff(restarted)
        gitrun.diff(restarted, "~1")
        assert picture(restarted.parent) == before


class TestWhat:
    def test_modes_types_and_targets(self, run: Path) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "config.yaml").chmod(0o600)
        (run / "empty").unlink()
        (run / "empty").mkdir()
        (run / "link").unlink()
        (run / "link").symlink_to("go.sh")
        told = gitrun.diff(run)
        assert kinds(told) == {b"config.yaml": "mode", b"empty": "type", b"link": "target"}
        assert (told.changes[0].expected, told.changes[0].actual) == ("0644", "0600")

    def test_permission_that_the_lock_took_is_no_change(self, run: Path) -> None:
        gitrun.lock(run)
        assert not gitrun.diff(run)
        (run / "config.yaml").chmod(0o644)
        assert not gitrun.diff(run)  # `verify` tells that it is writable again

    def test_lines_are_those_of_git(self, restarted: Path) -> None:
        told = {change.path: change for change in gitrun.diff(restarted, "~1").changes}
        numbers = git(repository_of(restarted), "diff", "--numstat", "main~1", "main", "--", "log.txt", "config.yaml")
        for line in numbers.splitlines():
            added, deleted, path = line.split("\t")
            change = told[path.encode()]
            assert (change.added_lines, change.deleted_lines) == (int(added), int(deleted))

    def test_large_text_by_lines_and_binary_by_digest(self, run: Path) -> None:
        lines = [f"{n:063d}\n" for n in range(LARGE // 32)]
        (run / "big.txt").write_text("".join(lines))
        gitrun.lock(run)
        lines[500] = "changed\n"
        overwrite(run / "big.txt", "".join(lines).encode())
        overwrite(run / "model.bin", MODEL[::-1])
        text, binary = gitrun.diff(run).changes
        assert (text.added_lines, text.deleted_lines) == (1, 1) and b"+changed\n" in text.patch
        assert binary.binary and not binary.patch
        assert binary.actual == f"sha256:{hashlib.sha256(MODEL[::-1]).hexdigest()}, {LARGE} bytes"

    @pytest.mark.parametrize("tool", [["patch", "-p1", "--binary"], ["git", "apply", "-p1"]])
    def test_the_output_is_a_patch(self, run: Path, tmp_path: Path, tool: list[str]) -> None:
        (run / "text").write_bytes(b"one\r\ntwo \xff\x1b[31m\nthree")
        odd = ["two words", "ünï", 'quo"ted', "back\\slash", "tab\there"]
        for name in odd:
            (run / name).write_bytes(b"old\n")
        gitrun.lock(run)
        other = copy(run, tmp_path / "applied")
        overwrite(run / "text", b"one\r\n2 \xfe\x1b[32m\nthree\n")
        overwrite(run / "config.yaml", b"")
        for name in odd:
            overwrite(run / name, b"new\n")
        told = subprocess.run(
            [sys.executable, "-m", "gitrun", "diff", run],
            cwd=Path(gitrun.__file__).parents[1],
            capture_output=True,
            check=True,
        )
        subprocess.run(["chmod", "-R", "u+w", other], check=True)
        (other / ".git").unlink()
        subprocess.run(tool, cwd=other, input=told.stdout, check=True, capture_output=True)
        assert (other / "text").read_bytes() == (run / "text").read_bytes()
        assert (other / "config.yaml").read_bytes() == b""
        assert {(other / name).read_bytes() for name in odd} == {b"new\n"}


class TestRenames:
    def test_much_the_same_under_another_name(self, run: Path) -> None:
        text = "".join(f"line {n}\n" for n in range(100))
        (run / "sub" / "old.txt").write_text(text)
        (run / "other.txt").write_text("nothing\nof\nthis\n")
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "sub" / "old.txt").unlink()
        (run / "other.txt").unlink()
        (run / "new.txt").write_text(text.replace("line 5\n", "line five\n"))
        changes = {change.path: change for change in gitrun.diff(run).changes}
        assert {path: change.kind for path, change in changes.items()} == {
            b"new.txt": "renamed",
            b"other.txt": "deleted",
        }
        renamed = changes[b"new.txt"]
        assert renamed.renamed_from == b"sub/old.txt" and 95 <= renamed.similarity < 100
        assert (renamed.added_lines, renamed.deleted_lines) == (1, 1)
        assert renamed.expected != renamed.actual

    def test_git_judges_alike(self, run: Path) -> None:
        """Names and scores are those of `git diff --find-renames`, give or take how it counts pieces of lines."""
        for size in (20, 60, 100):
            (run / f"old{size}").write_text("".join(f"{size} line {n}\n" for n in range(size)))
        gitrun.lock(run)
        gitrun.unlock(run)
        for size, kept in ((20, 19), (60, 50), (100, 30)):
            (run / f"old{size}").unlink()
            lines = [f"{size} line {n}\n" if n < kept else f"wholly different {n * n}\n" for n in range(size)]
            (run / f"new{size}").write_text("".join(lines))
        gitrun.lock(run)
        theirs = {}
        for line in git(repository_of(run), "diff", "-M", "--name-status", "main~1", "main").splitlines():
            status, *names = line.split("\t")
            if status.startswith("R"):
                theirs[tuple(map(str.encode, names))] = int(status[1:])
        ours = {(it.renamed_from, it.path): it.similarity for it in gitrun.diff(run, "~1").changes if it.similarity}
        assert ours.keys() == theirs.keys() == {(b"old20", b"new20"), (b"old60", b"new60")}
        assert all(abs(ours[pair] - theirs[pair]) <= 3 for pair in ours)

    def test_the_likest_wins_and_no_file_became_two(self, run: Path) -> None:
        text = [f"line {n}\n" for n in range(50)]
        (run / "old").write_text("".join(text))
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "old").unlink()
        (run / "near").write_text("".join([*text, "more\n"]))
        (run / "far").write_text("".join(text[:30]))
        changes = {change.path: change.kind for change in gitrun.diff(run).changes}
        assert changes == {b"near": "renamed", b"far": "added"}

    @pytest.mark.parametrize("size", [ALIKE_BYTES, ALIKE_BYTES + 1])
    def test_large_files_count_only_with_the_same_bytes(self, run: Path, size: int) -> None:
        (run / "old").write_bytes(b"x" * size)
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "old").unlink()
        (run / "new").write_bytes(b"x" * (size - 1) + b"y")
        kinds_ = {change.path: change.kind for change in gitrun.diff(run).changes}
        renamed = {b"new": "renamed"}
        assert kinds_ == (renamed if size == ALIKE_BYTES else {b"new": "added", b"old": "deleted"})

    @pytest.mark.parametrize("tool", [["patch", "-p1"], ["git", "apply", "-p1"]], ids=["patch", "git"])
    def test_patch_and_git_move_the_file(self, run: Path, tmp_path: Path, tool: list[str]) -> None:
        lines = [f"{n}\n" for n in range(30)]
        (run / "two words").write_text("".join(lines))
        (run / "same").write_text("the same\n" * 9)
        gitrun.lock(run)
        other = copy(run, tmp_path / "applied")
        gitrun.unlock(run)
        os.rename(run / "two words", run / "sub" / "three words")
        os.rename(run / "same", run / "sub" / "as-before")
        (run / "sub" / "three words").write_text("".join(["first\n", *lines[1:]]))
        told = program("diff", run)
        subprocess.run(["chmod", "-R", "u+w", other], check=True)
        (other / ".git").unlink()
        subprocess.run(tool, cwd=other, input=told.out.encode(), check=True, capture_output=True)
        assert (other / "sub" / "three words").read_text() == (run / "sub" / "three words").read_text()
        assert (other / "sub" / "as-before").exists() and not (other / "two words").exists()


class TestTool:
    @pytest.fixture(autouse=True)
    def _tool(self, tmp_path: Path) -> None:
        """A tool that notes what it was given, and tries to change it."""
        script = tmp_path / "tool"
        script.write_text(
            f'#!/bin/sh\necho "$1 $2" >>{tmp_path}/seen\ncat "$1" >>{tmp_path}/old\ncat "$2" >>{tmp_path}/new\n'
            'chmod u+w "$2"; echo scribble >>"$2"\n'
        )
        script.chmod(0o755)
        for key, value in {"diff.tool": "mine", "difftool.mine.cmd": f'{script} "$LOCAL" "$REMOTE"'}.items():
            subprocess.run(["git", "config", "--global", key, value], check=True)

    def test_the_tool_gets_both_sides_of_what_differs(self, restarted: Path, tmp_path: Path) -> None:
        before = picture(restarted)
        assert program("diff", "--tool", restarted, "~1").code == 0
        seen = (tmp_path / "seen").read_text().splitlines()
        assert "old/config.yaml new/config.yaml" in seen and not any("sub/renamed" in line for line in seen)
        assert b"lr: 0.1\n" in (tmp_path / "old").read_bytes() and b"lr: 0.2\n" in (tmp_path / "new").read_bytes()
        assert MODEL in (tmp_path / "old").read_bytes() and MODEL[::-1] in (tmp_path / "new").read_bytes()
        assert picture(restarted) == before and gitrun.verify(restarted)

    def test_an_unlocked_run_is_not_changed_either(self, restarted: Path, tmp_path: Path) -> None:
        gitrun.unlock(restarted)
        before = picture(restarted)
        assert program("diff", "--tool", "--exit-code", restarted, "~1", "--", "config.yaml").code == 4
        assert (tmp_path / "seen").read_text() == "old/config.yaml new/config.yaml\n"
        assert picture(restarted) == before

    def test_nothing_is_left_behind(self, restarted: Path, tmp_path: Path) -> None:
        (tmp_path / "tmp").mkdir()
        program("diff", "--tool", restarted, "~1", env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
        assert (tmp_path / "seen").exists() and not list((tmp_path / "tmp").iterdir())

    def test_a_tool_that_is_missing(self, restarted: Path) -> None:
        subprocess.run(["git", "config", "--global", "difftool.mine.cmd", "/nonexistent/tool"], check=True)
        told = program("diff", "--tool", restarted, "~1")
        assert told.code == 7 and "hint: git config --global diff.tool" in told.err

    def test_no_differences_start_no_tool(self, run: Path, tmp_path: Path) -> None:
        gitrun.lock(run)
        assert program("diff", "--tool", run).code == 0
        assert not (tmp_path / "seen").exists()

    @pytest.mark.parametrize("option", ["--json", "--stat", "--name-status"])
    def test_what_does_not_go_with_it(self, run: Path, call: Call, option: str) -> None:
        assert call("diff", "--tool", option, run).code == 2


class TestBounds:
    def test_too_large_a_text_is_told_by_digest(self, run: Path) -> None:
        (run / "huge").write_bytes(b"x\n" * (TEXT_BYTES // 2 + 1))
        gitrun.lock(run)
        overwrite(run / "huge", b"y\n" * (TEXT_BYTES // 2 + 1))
        (change,) = gitrun.diff(run).changes
        assert not change.patch and change.added_lines is None and "16 MiB" in change.note

    def test_too_many_lines_are_told_by_digest(self, run: Path) -> None:
        (run / "huge").write_bytes(b"\n" * TEXT_LINES)
        gitrun.lock(run)
        overwrite(run / "huge", b"\n" * (TEXT_LINES + 1))
        (change,) = gitrun.diff(run).changes
        assert not change.patch and "lines" in change.note

    def test_too_many_differences_are_cut_at_a_line(self, run: Path) -> None:
        (run / "long").write_bytes(b"")
        gitrun.lock(run)
        overwrite(run / "long", b"0123456789\n" * (PATCH_BYTES // 8))
        (change,) = gitrun.diff(run).changes
        assert PATCH_BYTES - 100 < len(change.patch) <= PATCH_BYTES and change.patch.endswith(b"\n")
        assert change.note.startswith("cut")

    def test_content_that_was_never_stored(self, run: Path, call: Call) -> None:
        (run / "big.txt").write_bytes(b"line\n" * LARGE)
        gitrun.lock(run, link="none")
        gitrun.unlock(run)
        (run / "big.txt").write_bytes(b"other\n" * LARGE)
        told = call("diff", run)
        assert told.code == 0 and "never stored" in told.err and "Traceback" not in told.err

    @pytest.mark.parametrize("damage", ["missing", "flipped"])
    def test_a_damaged_store_is_told_and_never_shown(self, run: Path, damage: str) -> None:
        text = b"line\n" * LARGE
        (run / "big.txt").write_bytes(text)
        gitrun.lock(run)
        stored = large_object(repository_of(run), text)
        if damage == "missing":
            stored.unlink()
        else:
            overwrite(stored, b"evil\n" * LARGE)
        overwrite(run / "big.txt", b"other\n" * LARGE)
        (change,) = gitrun.diff(run).changes
        assert change.note and not change.patch


class TestRefusals:
    def test_never_locked(self, run: Path, ask: Ask) -> None:
        told = ask("diff", run)
        assert (told["exit"], told["error"]["code"]) == (3, "NotLocked")

    @pytest.mark.parametrize("revision", ["~7", "nonsense", "refs/gitrun/locks/9", "ffff"])
    def test_no_such_lock(self, restarted: Path, ask: Ask, revision: str) -> None:
        told = ask("diff", restarted, revision)
        assert (told["exit"], told["error"]["code"]) == (3, "NotLocked")

    def test_the_run_is_gone(self, restarted: Path, ask: Ask) -> None:
        remove(restarted)
        assert ask("diff", restarted)["error"]["code"] == "RunNotFound"

    def test_too_many_words(self, restarted: Path, call: Call) -> None:
        told = call("diff", restarted, "~1", "HEAD", "config.yaml")
        assert told.code == 2 and "--" in told.err

    @pytest.mark.parametrize("path", ["../x", "/etc", "sub/../../x"])
    def test_a_path_outside_the_run(self, restarted: Path, call: Call, path: str) -> None:
        assert call("diff", restarted, "--", path).code == 2


class TestOutput:
    def test_exit_code_4_only_when_asked_and_only_for_differences(self, run: Path) -> None:
        gitrun.lock(run)
        assert program("diff", "--exit-code", run).code == 0
        overwrite(run / "config.yaml", b"x")
        assert program("diff", run).code == 0
        assert program("diff", "--exit-code", run).code == 4
        told = program("diff", "--exit-code", "--json", run)
        assert (told.code, told.object["exit"]) == (4, 4)

    def test_a_renamed_file_whose_mode_changed_too(self, run: Path) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        os.rename(run / "config.yaml", run / "settings.yaml")
        (run / "settings.yaml").chmod(0o600)
        (change,) = gitrun.diff(run).changes
        assert change.kind == "renamed" and "0644 -> 0600" in change.note

    def test_paths_behind_two_dashes(self, restarted: Path, call: Call) -> None:
        told = call("diff", "--name-status", restarted, "~1", "--", "new", "go.sh")
        assert told.out.splitlines() == ["D  go.sh", "A  new"]

    def test_stat(self, restarted: Path, call: Call) -> None:
        told = call("diff", "--stat", restarted, "~1").out
        assert "log.txt" in told and "+3 -3" in told
        assert told.splitlines()[-1] == "  6 paths changed, 5 lines added, 5 deleted"

    def test_json(self, restarted: Path, ask: Ask) -> None:
        told = ask("diff", restarted, "~1")
        assert {one["path"]: one["kind"] for one in told["changes"]} == {os.fsdecode(p): k for p, k in RESTART.items()}
        (renamed,) = (one for one in told["changes"] if one["kind"] == "renamed")
        assert renamed["renamed_from"] == "sub/secret"

    def test_names_with_control_characters(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        gitrun.unlock(run)
        (run / "\x1b[31m\nred").write_bytes(b"text\n")
        for form in ([], ["--stat"], ["--name-status"]):
            told = call("diff", *form, run)
            assert told.code == 0 and "\x1b" not in told.out and "red" in told.out

    def test_no_differences_are_said_on_stderr(self, run: Path, call: Call) -> None:
        gitrun.lock(run)
        told = call("diff", run)
        assert (told.code, told.out, told.err) == (0, "", "no differences\n")
