"""Tampering with runs and their records (cases G131 to G148): verify says which, and nobody obeys what was planted."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.layouts.runs import make_guild
from tests.ops.runs import MODEL, copy, large_object, loosen, overwrite, repository_of
from tests.support.picture import Picture, modes, picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]

HOSTILE_PATHS = [
    b"../victim/secret", b"/etc/passwd", b"sub/../../victim/secret", b"sub//secret", b"./sub", b"sub/.", b"sub/", b"..",
]  # fmt: skip


@pytest.fixture
def locked(run: Path) -> Path:
    gitrun.lock(run)
    return run


@pytest.fixture
def victim(run: Path) -> Path:
    """A directory beside the run that nobody may touch."""
    directory = run.parent / "victim"
    directory.mkdir()
    (directory / "secret").write_text("theirs")
    (directory / "secret").chmod(0o640)
    return directory


def found(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["path"], one["kind"]) for one in verdict["differences"]]


def rewrite(run: Path, old: bytes, new: bytes) -> None:
    """Edits the working lock file."""
    data = (run / ".gitrun.lock").read_bytes()
    assert old in data
    overwrite(run / ".gitrun.lock", data.replace(old, new))


def detached(locked: Path, old: bytes, new: bytes) -> Path:
    """A copy with an edited lock file, which is all that there is to go by."""
    away = locked.parent.parent / "away"
    away.mkdir()
    copied = copy(locked, away / "copy")
    locked.parent.joinpath(".gitrun").rename(locked.parent / "hidden")
    rewrite(copied, old, new)
    return copied


def forge(run: Path, change: Callable[[bytes], bytes]) -> None:
    """Puts another lock file into commit and tag, all ids and digests right: what only a signature would betray."""
    repository = repository_of(run)
    record = change((run / ".gitrun.lock").read_bytes())
    overwrite(run / ".gitrun.lock", record)

    def git_in(*words: str, data: bytes = b"") -> str:
        command = ["git", f"--git-dir={repository}", *words]
        done = subprocess.run(command, input=data, capture_output=True, check=True, cwd="/")
        return os.fsdecode(done.stdout).strip()

    blob = git_in("hash-object", "-w", "--stdin", data=record)
    lines = subprocess.run(
        ["git", f"--git-dir={repository}", "ls-tree", "-z", "locked"], capture_output=True, check=True, cwd="/"
    ).stdout.split(b"\0")
    replaced = [
        b"100644 blob %s\t.gitrun.lock" % blob.encode() if line.endswith(b"\t.gitrun.lock") else line for line in lines
    ]
    tree = git_in("mktree", "-z", data=b"\0".join(replaced))
    old = git_in("cat-file", "commit", "locked^{commit}")
    commit = git_in(
        "hash-object", "-w", "-t", "commit", "--stdin", data=f"tree {tree}\n{old.partition(chr(10))[2]}\n".encode()
    )
    tag = git_in("cat-file", "tag", "locked").splitlines()
    tag[0] = f"object {commit}"
    tag = [
        line if "Lock-File-Sha256" not in line else f"Lock-File-Sha256: {hashlib.sha256(record).hexdigest()}"
        for line in tag
    ]
    oid = git_in("hash-object", "-w", "-t", "tag", "--stdin", "--literally", data="\n".join(tag).encode() + b"\n")
    git_in("update-ref", "refs/tags/locked", oid)
    git_in("update-ref", "refs/heads/main", commit)


def everywhere(top: Path) -> Picture:
    return {path: seen for path, seen in picture(top).items() if path != b"."}


class TestRun:
    def test_g131_one_bit_of_a_file(self, locked: Path, ask: Ask) -> None:
        overwrite(locked / "config.yaml", b"lr: 0.0\n")
        (one,) = ask("verify", locked)["differences"]
        assert one["kind"] == "modified"
        assert hashlib.sha256(b"lr: 0.1\n").hexdigest() in one["expected"]
        assert hashlib.sha256(b"lr: 0.0\n").hexdigest() in one["actual"]

    def test_g132_five_kinds(self, locked: Path, ask: Ask) -> None:
        loosen(locked)
        (locked / "new").touch()
        (locked / "empty").unlink()
        (locked / "go.sh").rename(locked / "went.sh")
        (locked / "config.yaml").unlink()
        (locked / "config.yaml").symlink_to("sub/secret")
        (locked / "model.bin").chmod(0o640)
        verdict = ask("verify", locked)
        assert found(verdict) == [
            ("config.yaml", "type"), ("empty", "deleted"), ("go.sh", "deleted"), ("new", "added"), ("went.sh", "added"),
        ]  # fmt: skip
        assert ("model.bin", "writable") in [(one["path"], one["kind"]) for one in verdict["warnings"]]

    def test_g146_write_permission_given_back_by_an_editor(self, users_run: Path) -> None:
        assert program("lock", users_run, user=True).code == 0
        subprocess.run(["chmod", "-R", "u+w", users_run], check=True)
        told = program("verify", "--json", users_run, user=True).object
        assert (told["exit"], told["ok"], told["protection"]) == (0, True, "none")
        assert {one["kind"] for one in told["warnings"]} == {"writable"}

    @pytest.mark.parametrize(
        "name", [".ipynb_checkpoints", ".~x.ipynb", ".x.swp", "__pycache__", ".DS_Store", ".nfs01"]
    )
    def test_g147_litter_fails_and_is_called_so(self, locked: Path, ask: Ask, name: str) -> None:
        loosen(locked)
        (locked / name).mkdir()
        (one,) = ask("verify", locked)["differences"]
        assert one["kind"] == "added" and one["note"]

    def test_g148_notes_for_people_may_change(self, tmp_path: Path, ask: Ask) -> None:
        run = make_guild(tmp_path)
        gitrun.lock(run)
        (run / ".guild" / "attrs" / "label").write_text("best\n")
        verdict = ask("verify", "--strict", run)
        assert (verdict["exit"], verdict["differences"]) == (0, [])
        assert [one["path"] for one in verdict["mutable"]] == [".guild/attrs/label"]


class TestWorkingLockFile:
    def test_g133_edited(self, locked: Path, ask: Ask) -> None:
        rewrite(locked, b" 8 ", b" 9 ")
        assert found(ask("verify", locked)) == [(".gitrun.lock", "modified")]

    def test_g133_edited_to_fit_an_edited_file(self, locked: Path, ask: Ask) -> None:
        """The verdict comes from the tag."""
        from blake3 import blake3

        old, new = b"lr: 0.1\n", b"lr: 0.9\n"
        overwrite(locked / "config.yaml", new)
        for digest in (lambda data: hashlib.sha256(data).hexdigest(), lambda data: blake3(data).hexdigest()):
            rewrite(locked, digest(old).encode(), digest(new).encode())
        assert found(ask("verify", locked)) == [(".gitrun.lock", "modified"), ("config.yaml", "modified")]
        assert found(ask("verify", "--quick", locked)) == [(".gitrun.lock", "modified"), ("config.yaml", "modified")]

    @pytest.mark.parametrize(
        "how", ["deleted", "empty", "cut", "garbage", "newer", "huge", "directory", "symlink", "fifo"]
    )
    def test_g134_it_is_compared_and_never_needed(self, locked: Path, ask: Ask, how: str, tmp_path: Path) -> None:
        before = modes(picture(locked))
        path = locked / ".gitrun.lock"
        data = path.read_bytes()
        loosen(locked)
        if how in ("empty", "cut", "garbage", "newer", "huge"):
            new = {
                "empty": b"", "cut": data[: len(data) // 2], "garbage": b"\xff\0" * 99,
                "newer": data.replace(b"lock 1.0", b"lock 2.0"), "huge": data,
            }[how]  # fmt: skip
            overwrite(path, new)
            if how == "huge":
                os.truncate(path, 3 << 30)
        else:
            path.unlink()
            (tmp_path / "elsewhere").write_bytes(data)
            {
                "deleted": lambda: None, "directory": path.mkdir,
                "symlink": lambda: path.symlink_to(tmp_path / "elsewhere"), "fifo": lambda: os.mkfifo(path),
            }[how]()  # fmt: skip
        kinds = {"deleted": "deleted", "directory": "type", "symlink": "type", "fifo": "type", "huge": "type"}
        told = ask("verify", locked)
        assert told["exit"] == 4
        assert found(told)[0][0] == ".gitrun.lock" and found(told)[0][1] in (kinds.get(how, "modified"), "modified")
        assert ask("status", locked)["exit"] == 0
        assert ask("restore", "--clean", "--yes", locked)["exit"] == 0
        assert path.read_bytes() == data
        assert ask("verify", locked)["exit"] == 0
        assert modes(picture(locked)) == before

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"# gitrun lock 1.0\n", b""),
            (b"# gitrun lock 1.0\n", b"# gitrun lock one\n"),
            (b"# entries: 11\n", b"# entries: 12\n"),
            (b"# entries: 11\n", b"# entries: 11\n# entries: 11\n"),
            (b"# entries: 11\n", b""),
            (b"#\n# d", b"# d"),
            (b" blob\n", b" blob"),
            (b" blob\n", b" blub\n"),
            (b"# f 600 6 ", b"# f 600 06 "),
            (b"# f 600 6 ", b"# f 600 -6 "),
            (b"# f 600 6 ", b"# f 600 NaN "),
            (b"# f 600 6 ", b"# f 99999 6 "),
            (b"# f 600 6 ", b"# x 600 6 "),
            (b"  sub/secret\n", b"  sub/secret\r\n"),
            (b"  sub/secret\n", b"  sub/secret"),
            (b"  sub/secret\n", b"  \n"),
            (b"  sub/secret\n", b"  empty\n"),
            (b"  sub/secret\n", b"  config.yaml/secret\n"),
            (b"  sub/secret\n", b"  nowhere/secret\n"),
            (b"  sub/secret\n", b"  sub/sec\0ret\n"),
            *((b"  sub/secret\n", b"  " + path + b"\n") for path in HOSTILE_PATHS),
        ],
    )
    def test_g134_g135_a_bad_one_that_is_all_there_is(
        self, locked: Path, victim: Path, ask: Ask, old: bytes, new: bytes
    ) -> None:
        copied = detached(locked, old, new)
        before = everywhere(locked.parent.parent)
        for verb in ("verify", "unlock"):
            told = ask(verb, copied)
            # Without its first line it is no lock file of ours at all.
            assert told["exit"] in ((3, 5, 6) if not new or b"one" in new else (6,)), told
            assert told["error"]["path"].startswith(str(copied))
        assert ask("status", copied)["exit"] == 0
        assert ask("lock", copied)["exit"] in (5, 6)
        assert everywhere(locked.parent.parent) == before

    def test_g134_a_newer_one_needs_a_newer_gitrun(self, locked: Path, ask: Ask) -> None:
        told = ask("verify", detached(locked, b"# gitrun lock 1.0\n", b"# gitrun lock 2.0\n"))
        assert (told["exit"], told["error"]["code"]) == (6, "NewerFormat")

    def test_g134_a_newer_minor_version_with_unknown_keys_will_do(self, locked: Path, ask: Ask) -> None:
        copied = detached(locked, b"# gitrun lock 1.0\n", b"# gitrun lock 1.9\n")
        rewrite(copied, b"# threshold", b"# tea: green\n# threshold")
        assert ask("verify", copied)["exit"] == 0

    @pytest.mark.parametrize("path", HOSTILE_PATHS)
    def test_g135_a_hostile_path_that_tag_and_commit_vouch_for(
        self, locked: Path, victim: Path, call: Call, path: bytes
    ) -> None:
        forge(locked, lambda data: data.replace(b"  sub/secret\n", b"  " + path + b"\n"))
        before = everywhere(locked.parent)
        for words in (
            ["verify"],
            ["unlock"],
            ["restore"],
            ["restore", "--clean", "--yes"],
            ["lock"],
            ["verify", "--store"],
        ):
            told = call(*words, locked)
            assert told.code == 6 and "Traceback" not in told.err, (words, told)
        assert everywhere(locked.parent) == before

    @pytest.mark.parametrize("outside", [b"..", b"/dev", b"sub/..", b"."])
    def test_g135_a_hostile_path_in_a_record_without_any_other_fault(
        self, locked: Path, victim: Path, call: Call, outside: bytes
    ) -> None:
        """Sorted, counted, and every parent an entry: only the names are wrong."""

        def change(data: bytes) -> bytes:
            lines = data.split(b"\n")
            at = lines.index(b"#  sub") + 1 if outside.startswith(b"sub") else lines.index(b"#  .") + 1
            planted = [b"# d 777 0 1", b"#  " + outside, b"# d 777 0 1", b"#  " + outside + b"/victim"]
            return b"\n".join([*lines[:at], *planted, *lines[at:]]).replace(b"# entries: 11", b"# entries: 13")

        forge(locked, change)
        before = everywhere(locked.parent)
        for words in (["verify"], ["unlock"], ["restore"], ["lock"]):
            told = call(*words, locked)
            assert told.code == 6 and "Traceback" not in told.err, (words, told)
        assert everywhere(locked.parent) == before

    def test_g135_nothing_is_chmodded_through_a_planted_link(self, locked: Path, victim: Path, call: Call) -> None:
        loosen(locked)
        shutil.rmtree(locked / "sub")
        (locked / "sub").symlink_to(victim)
        before = picture(victim)
        for verb in ("verify", "unlock"):
            call(verb, locked)
        assert picture(victim) == before


class TestRecord:
    def test_g137_a_consistent_swap_is_beyond_a_plain_verify(self, locked: Path, ask: Ask) -> None:
        """Nothing inside tells; the commit, noted elsewhere, does (docs: not promised without a signature)."""
        first = ask("verify", locked)["commit"]
        forge(locked, lambda data: data.replace(b"# f 600 6 ", b"# f 640 6 "))
        (locked / "sub" / "secret").chmod(0o440)
        told = ask("verify", locked)
        assert told["ok"] and told["commit"] != first

    def test_g138_rolled_back_to_an_older_lock(self, locked: Path, ask: Ask) -> None:
        old = (locked / ".gitrun.lock").read_bytes()
        gitrun.unlock(locked)
        (locked / "config.yaml").write_text("lr: 0.2\n")
        gitrun.lock(locked)
        git(repository_of(locked), "update-ref", "refs/tags/locked", "refs/gitrun/locks/1")
        assert ask("verify", locked)["exit"] == 4  # what lies in the run is the newer one
        overwrite(locked / ".gitrun.lock", old)
        overwrite(locked / "config.yaml", b"lr: 0.1\n")
        told = ask("fsck", locked)
        assert told["exit"] == 6
        assert [(one["kind"], one["object"]) for one in told["findings"]] == [("mismatch", "refs/heads/main")]

    @pytest.mark.parametrize("planted", ["replace", "grafts", "alternates", "shallow", "commondir"])
    def test_g139_other_objects_and_histories_are_ignored(self, locked: Path, ask: Ask, planted: str) -> None:
        repository = repository_of(locked)
        good = ask("verify", locked)["commit"]
        if planted == "replace":
            blobs = [git(repository, "rev-parse", f"locked:{name}") for name in (".gitrun.lock", "config.yaml")]
            empty = git(repository, "hash-object", "-w", "-t", "tree", "/dev/null")
            other = git(repository, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", "-m", "evil", empty)
            git(repository, "replace", "-f", good, other)
            git(repository, "replace", "-f", *blobs)
        else:
            path = {"grafts": "info/grafts", "alternates": "objects/info/alternates"}.get(planted, planted)
            (repository / path).parent.mkdir(exist_ok=True)
            (repository / path).write_text({"alternates": "/nonexistent\n", "commondir": "../other.git\n"}.get(
                planted, f"{good} {good}\n"))  # fmt: skip
        verdict = ask("verify", locked)
        assert (verdict["exit"], verdict["commit"]) == (0, good)
        overwrite(locked / "config.yaml", b"x")
        assert ask("verify", locked)["exit"] == 4
        assert ask("restore", locked)["exit"] == 0
        assert (locked / "config.yaml").read_bytes() == b"lr: 0.1\n"
        assert ask("fsck", locked)["exit"] == 6

    @pytest.mark.parametrize("which", ["pack", "idx"])
    @pytest.mark.parametrize("how", ["flipped", "cut", "empty", "gone", "directory"])
    def test_g140_damaged_objects(self, locked: Path, call: Call, which: str, how: str) -> None:
        (path,) = (repository_of(locked) / "objects" / "pack").glob(f"*.{which}")
        data = bytearray(path.read_bytes())
        for at in range(20, len(data), 7):
            data[at] ^= 0x55
        if how in ("flipped", "cut", "empty"):
            overwrite(path, {"flipped": bytes(data), "cut": path.read_bytes()[:-30], "empty": b""}[how])
        else:
            path.unlink()
            if how == "directory":
                path.mkdir()
        for words in (["verify"], ["verify", "--store"], ["restore"], ["fsck"]):
            told = call(*words, locked)
            # Cutting the end takes the checksum, which only a full check needs.
            assert told.code == 6 or (how == "cut" and told.code == 0 and words[-1] not in ("--store", "fsck")), (
                words,
                told,
            )
            assert "Traceback" not in told.err and "a bug" not in told.err
        assert call("status", locked).code in (0, 6)

    def test_g140_an_index_that_claims_billions_of_objects(self, locked: Path, call: Call) -> None:
        (path,) = (repository_of(locked) / "objects" / "pack").glob("*.idx")
        data = bytearray(path.read_bytes())
        first = int(git(repository_of(locked), "rev-parse", "locked")[:2], 16)
        for byte in range(first, 256):
            data[8 + byte * 4 : 12 + byte * 4] = b"\xff" * 4
        overwrite(path, bytes(data))
        for verb in ("verify", "restore", "lock"):
            told = call(verb, locked)
            assert told.code == 6 and "a bug" not in told.err, (verb, told)

    def test_g140_a_tag_that_vouches_for_another_lock_file(self, locked: Path, ask: Ask) -> None:
        repository = repository_of(locked)
        lines = git(repository, "cat-file", "tag", "locked").splitlines()
        forged = "\n".join(line if "Sha256" not in line else f"Lock-File-Sha256: {'0' * 64}" for line in lines) + "\n"
        (locked.parent / "tag").write_text(forged)
        oid = git(repository, "hash-object", "-w", "-t", "tag", str(locked.parent / "tag"))
        git(repository, "update-ref", "refs/tags/locked", oid)
        for verb in ("verify", "lock", "restore"):
            told = ask(verb, locked)
            assert (told["exit"], told["error"]["code"]) == (6, "TagMismatch")
            assert "0" * 64 in told["error"]["message"]

    @pytest.mark.parametrize(
        "how", ["empty", "garbage", "missing object", "blob", "commit", "other run", "directory", "symbolic"]
    )
    def test_g140_damaged_tags(self, locked: Path, call: Call, how: str) -> None:
        repository = repository_of(locked)
        ref = repository / "refs" / "tags" / "locked"
        other = locked.with_name("other")
        shutil.copytree(locked, other, symlinks=True)
        gitrun.unlock(other)
        gitrun.lock(other)
        oids = {
            "missing object": "1" * 40,
            "blob": git(repository, "rev-parse", "locked:config.yaml"),
            "commit": git(repository, "rev-parse", "locked^{commit}"),
            "other run": git(repository_of(other), "rev-parse", "locked"),
        }
        ref.unlink()
        if how == "other run":
            for pack in (repository_of(other) / "objects" / "pack").iterdir():
                shutil.copy(pack, repository / "objects" / "pack")
        if how == "directory":
            ref.mkdir()
        else:
            text = {"empty": "", "garbage": "\0\xff nonsense\n", "symbolic": "ref: refs/heads/main\n"}
            ref.write_text(text.get(how) if how in text else oids[how] + "\n")
        for verb in ("verify", "lock", "fsck"):
            told = call(verb, locked)
            assert told.code == 6, (verb, told)
            assert "Traceback" not in told.err and "a bug" not in told.err
        assert call("status", locked).code in (0, 6)

    @pytest.mark.parametrize(
        "how", ["flipped", "cut", "longer", "gone", "symlink", "hardlink", "directory", "fifo", "unreadable"]
    )
    def test_g141_damaged_large_objects(self, users_run: Path, tmp_path: Path, how: str) -> None:
        def call(*words: str) -> Told:
            return program(*words, users_run, user=True)

        assert call("lock").code == 0
        stored = large_object(repository_of(users_run))
        outside = users_run.parent / "outside"
        outside.write_bytes(bytes(len(MODEL)))
        if how in ("flipped", "cut", "longer"):
            overwrite(stored, {"flipped": b"\1" + MODEL[1:], "cut": MODEL[:-1], "longer": MODEL + b"x"}[how])
        elif how == "unreadable":
            stored.chmod(0)
        else:
            stored.unlink()
            {
                "gone": lambda: None, "symlink": lambda: stored.symlink_to(outside), "hardlink": lambda: os.link(outside, stored),
                "directory": stored.mkdir, "fifo": lambda: os.mkfifo(stored),
            }[how]()  # fmt: skip
        assert call("verify").code == 0
        if os.geteuid() == 0 and how == "unreadable":
            assert stored.stat().st_uid != 0
        told = call("verify", "--store")
        assert told.code in (6, 8) and "model.bin" in told.out + told.err, told
        overwrite(users_run / "model.bin", b"mine")
        subprocess.run(["chown", "--reference", users_run, users_run / "model.bin"], check=True)
        told = call("restore")
        assert told.code in (6, 8) and "model.bin" in told.err and "a bug" not in told.err, told
        assert (users_run / "model.bin").read_bytes() == b"mine"
        assert outside.read_bytes() == bytes(len(MODEL))

    @pytest.mark.parametrize(
        "planted",
        [
            "[core]\n\tworktree = /\n\tbare = false\n",
            "[core]\n\thooksPath = TRAP\n\tsshCommand = TRAP/canary\n\tfsmonitor = TRAP/canary\n\tpager = TRAP/canary\n",
            '[filter "lfs"]\n\tsmudge = TRAP/canary\n\tclean = TRAP/canary\n\trequired = true\n',
            "[include]\n\tpath = TRAP/included\n",
            "[extensions]\n\tpartialClone = origin\n[core]\n\trepositoryformatversion = 1\n",
            '[remote "origin"]\n\turl = ext::TRAP/canary\n\tpromisor = true\n',
            "[user]\n\tname = Mallory\n[gpg]\n\tprogram = TRAP/canary\n[commit]\n\tgpgSign = true\n",
            "[gitrun]\n\tstore = TRAP/store\n\tlargeThreshold = 1\n",
        ],
    )
    def test_g143_the_repositorys_configuration_is_not_obeyed(self, locked: Path, call: Call, planted: str) -> None:
        trap = locked.parent.parent / "trap"
        trap.mkdir()
        (trap / "canary").write_text(f"#!/bin/sh\ntouch {trap}/started\n")
        (trap / "canary").chmod(0o755)
        (trap / "included").write_text(f"[core]\n\thooksPath = {trap}\n")
        for hook in ("post-commit", "reference-transaction", "post-checkout"):
            shutil.copy(trap / "canary", trap / hook)
            (repository_of(locked) / "hooks").mkdir(exist_ok=True)
            shutil.copy(trap / "canary", repository_of(locked) / "hooks" / hook)
        before = picture(trap)
        with open(repository_of(locked) / "config", "a") as config:
            config.write(planted.replace("TRAP", str(trap)))
        overwrite(locked / "config.yaml", b"x")
        for words, code in (
            (["verify"], 4),
            (["restore"], 0),
            (["verify", "--strict"], 0),
            (["status"], 0),
            (["unlock"], 0),
        ):
            assert call(*words, locked).code == code, words
        (locked / "config.yaml").write_text("second")
        assert call("lock", locked).code == 0
        assert call("fsck", locked).code == 6  # it tells
        assert b"Mallory" not in subprocess.run(
            ["git", f"--git-dir={repository_of(locked)}", "log", "-1"], capture_output=True, cwd="/").stdout  # fmt: skip
        assert picture(trap) == before

    @pytest.mark.parametrize("data", [b"", b"{}\n", b"\xff\n\0", b'{"verb": "explode", "objects": []}\n'])
    def test_a_planted_journal_is_no_crash(self, locked: Path, call: Call, data: bytes) -> None:
        before = picture(locked)
        (repository_of(locked) / "gitrun" / "journal").write_bytes(data)
        assert call("status", locked).code == 0 and "interrupted" in call("status", locked).out
        for verb in ("verify", "lock", "unlock", "restore"):
            told = call(verb, locked)
            assert told.code in (3, 6) and "Traceback" not in told.err and "a bug" not in told.err, (verb, told)
        assert picture(locked) == before

    def test_a_planted_journal_leads_nobody_out_of_the_run(self, locked: Path, victim: Path, call: Call) -> None:
        """A journal names packs and objects: they are data, never paths."""
        record = (locked / ".gitrun.lock").read_bytes()
        secret = repository_of(locked).parent / "secret.pack"
        secret.write_text("theirs")
        head = (
            b'{"commit": "", "git_link": false, "objects": ["../../../../../victim/secret"], "pack": "../../../secret"'
        )
        head += b', "packs": ["../../../secret"], "parent": "", "tag": "", "verb": "lock"}\n'
        before = picture(victim)
        (repository_of(locked) / "gitrun" / "journal").write_bytes(head + record)
        call("lock", locked)
        call("unlock", locked)
        assert picture(victim) == before
        assert secret.read_text() == "theirs"
