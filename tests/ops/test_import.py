"""import: what export wrote comes back, what others wrote becomes a run, and what somebody forged stays out."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import MODEL, overwrite, remove, repository_of
from tests.support.mounts import mounted, needs_root
from tests.support.picture import picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program
from tests.support.trial import assert_stock_tools_agree
from tests.support.users import give

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def rich(run: Path) -> Path:
    """A run with what archives lose."""
    os.link(run / "config.yaml", run / "sub" / "same")
    os.setxattr(run / "config.yaml", "user.note", b"kept")
    os.mkfifo(run / "fifo")
    (run / "a%b\nc\rd").write_bytes(b"odd name")
    (run / "a%25").write_bytes(b"no escape")
    (run / "ünï").write_bytes(b"")
    (run / "up").symlink_to("../../elsewhere")
    (run / "sub" / ".git").mkdir()
    (run / "sub" / ".git" / "HEAD").write_bytes(b"ref: refs/heads/main\n")
    (run / "hollow").chmod(0o500)
    return run


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with another store, where nothing of the run is known."""
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def without_store(lock_file: Path) -> list[bytes]:
    """A lock file but for what says where it lies."""
    places = (b"# store:", b"# git-link:")
    return [line for line in lock_file.read_bytes().splitlines() if not line.startswith(places)]


class TestRoundTrip:
    @pytest.mark.parametrize("form", ["tar", "bagit"])
    def test_what_was_exported_comes_back(self, rich: Path, elsewhere: Path, form: Any) -> None:
        if form == "tar":
            (rich / os.fsdecode(b"\xfe\xff")).write_bytes(b"no utf-8")
        before = picture(rich)
        locked = gitrun.lock(rich)
        gitrun.export(rich, elsewhere / "archive", form=form)
        told = gitrun.import_run(elsewhere / "archive", elsewhere / "back")
        assert (told.run, told.state, told.files, told.bytes) == (locked.run, "locked", locked.files, locked.bytes)
        assert not told.notes
        back = elsewhere / "back"
        assert gitrun.verify(back, strict=True)
        assert without_store(back / ".gitrun.lock") == without_store(rich / ".gitrun.lock")
        assert_stock_tools_agree(back)
        gitrun.unlock(back)
        assert picture(back) == before
        assert os.getxattr(back / "config.yaml", "user.note") == b"kept"
        assert (back / "config.yaml").stat().st_ino == (back / "sub" / "same").stat().st_ino

    def test_without_a_directory_the_archive_names_it(self, run: Path, elsewhere: Path) -> None:
        gitrun.lock(run)
        gitrun.export(run, elsewhere / "a.tar", form="tar")
        told = program("import", "a.tar", cwd=elsewhere)
        assert told.code == 0 and "imported and locked train" in told.out
        assert gitrun.verify(elsewhere / "train")

    def test_from_stdin_and_compressed(self, run: Path, elsewhere: Path) -> None:
        gitrun.lock(run)
        gitrun.export(run, elsewhere / "a.tar", form="tar")
        for name, data in {"gz": gzip.compress((elsewhere / "a.tar").read_bytes())}.items():
            done = subprocess.run(
                [sys.executable, "-m", "gitrun", "import", "-", elsewhere / name],
                input=data,
                cwd=Path(gitrun.__file__).parents[1],
            )
            assert done.returncode == 0 and gitrun.verify(elsewhere / name)

    @pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
    def test_compressed(self, run: Path, elsewhere: Path, compression: str) -> None:
        gitrun.lock(run)
        gitrun.export(run, elsewhere / "a.tar", form="tar")
        with tarfile.open(elsewhere / "b", f"w:{compression}") as out, tarfile.open(elsewhere / "a.tar") as old:  # type: ignore[call-overload]
            for member in old:
                out.addfile(member, old.extractfile(member) if member.isreg() else None)
        assert gitrun.import_run(elsewhere / "b", elsewhere / "back").run == gitrun.status(run).run

    def test_plain_tar_of_a_locked_run(self, rich: Path, elsewhere: Path) -> None:
        """With the modes of a locked run, and with the `.git` that gitrun wrote."""
        before = picture(rich)
        gitrun.lock(rich)
        subprocess.run(
            ["tar", "--xattrs", "--format=pax", "-cf", elsewhere / "a.tar", "-C", rich.parent, rich.name], check=True
        )
        gitrun.import_run(elsewhere / "a.tar", elsewhere / "back")
        gitrun.unlock(elsewhere / "back")
        assert picture(elsewhere / "back") == before

    def test_mutable_files_may_have_changed_since(self, elsewhere: Path, run: Path) -> None:
        attrs = run / ".guild" / "attrs"
        attrs.mkdir(parents=True)
        (run / ".guild" / "opref").write_bytes(b"guildfile:/x h '' train\n")
        (attrs / "label").write_bytes(b"before\n")
        gitrun.lock(run)
        overwrite(attrs / "label", b"after, and longer\n")
        subprocess.run(["tar", "-cf", elsewhere / "a.tar", "-C", run.parent, run.name], check=True)
        gitrun.import_run(elsewhere / "a.tar", elsewhere / "back")
        assert (elsewhere / "back" / ".guild" / "attrs" / "label").read_bytes() == b"after, and longer\n"
        assert gitrun.verify(elsewhere / "back")

    def test_the_threshold_is_that_of_the_lock(self, run: Path, elsewhere: Path) -> None:
        gitrun.lock(run, large_threshold=5)
        gitrun.export(run, elsewhere / "a.tar", form="tar")
        gitrun.import_run(elsewhere / "a.tar", elsewhere / "back")
        trees = [git(repository_of(it), "rev-parse", "main:sub") for it in (run, elsewhere / "back")]
        assert trees[0] == trees[1]

    def test_as_an_unprivileged_user(self, shared_tmp: Path, run: Path) -> None:
        (run / "hollow").chmod(0o500)
        gitrun.lock(run)
        gitrun.export(run, shared_tmp / "a.tar", form="tar")
        give(shared_tmp / "a.tar")
        told = program("import", "a.tar", cwd=shared_tmp, user=True)
        assert told.code == 0, told.err
        assert program("verify", "--strict", "train", cwd=shared_tmp, user=True).code == 0
        assert not list(shared_tmp.glob(".tmp*"))


class TestOthers:
    def test_a_bag_that_bagit_made(self, tmp_path: Path, elsewhere: Path) -> None:
        bag = tmp_path / "bag"
        (bag / "sub").mkdir(parents=True)
        (bag / "a").write_bytes(b"a\n")
        (bag / "sub" / "two\nlines").write_bytes(MODEL)
        subprocess.run([sys.executable, "-m", "bagit", "--quiet", "--sha256", "--sha512", bag], check=True)
        told = gitrun.import_run(bag, elsewhere / "run")
        assert told.files == 2 and told.run.startswith("run-")
        assert (elsewhere / "run" / "sub" / "two\nlines").read_bytes() == MODEL

    def test_a_tar_that_tar_made(self, run: Path, elsewhere: Path) -> None:
        before = picture(run)
        subprocess.run(["tar", "--format=pax", "-cf", elsewhere / "a.tar", "-C", run, "."], check=True)
        gitrun.import_run(elsewhere / "a.tar", elsewhere / "run", message="from afar")
        assert gitrun.log(elsewhere / "run").locks[0].subject == "from afar"
        gitrun.unlock(elsewhere / "run")
        assert picture(elsewhere / "run") == before

    def test_a_tar_without_directories(self, elsewhere: Path) -> None:
        archive = tar(elsewhere / "a.tar", [("x/deep/er/file", b"content")])
        gitrun.import_run(archive, elsewhere / "run")
        assert (elsewhere / "run" / "deep" / "er" / "file").read_bytes() == b"content"

    def test_git_and_lock_file_lookalikes_are_data(self, elsewhere: Path) -> None:
        archive = tar(
            elsewhere / "a.tar",
            [("x/.git/config", b"[core]\n\tfsmonitor = touch /tmp/pwned\n"), ("x/sub/.gitrun.lock", b"not ours"),
             ("x/.gitattributes", b"* filter=evil\n"), ("x/.lfsconfig", b"[lfs]\n\turl = http://evil\n")],
        )  # fmt: skip
        gitrun.import_run(archive, elsewhere / "run")
        assert_stock_tools_agree(elsewhere / "run")
        assert (elsewhere / "run" / ".git" / "config").exists()


def tar(path: Path, members: Sequence[tuple[str, bytes] | tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar archive with exactly these members, however odd."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info, data = member
            info = info if isinstance(info, tarfile.TarInfo) else tarfile.TarInfo(info)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def special(name: str, kind: bytes, target: str = "", **more: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for key, value in more.items():
        setattr(info, key, value)
    return info


def cut(path: Path, size: int) -> Path:
    os.truncate(path, size)
    return path


SYMLINK, HARD, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
HOSTILE: dict[str, tuple[list[Any], int]] = {
    "absolute": ([("/tmp/gitrun-pwned", b"x")], 6),
    "parent": ([("x/a", b"x"), ("x/../../gitrun-pwned", b"x")], 6),
    "parent-at-the-top": ([("../gitrun-pwned", b"x")], 6),
    "dot-in-the-middle": ([("x/./a", b"x")], 6),
    "empty-component": ([("x//a", b"x")], 6),
    "through-a-symlink": ([special("x/out", SYMLINK, ".."), ("x/out/gitrun-pwned", b"x")], 6),
    "through-a-symlink-before-it": ([("x/out/gitrun-pwned", b"x"), special("x/out", SYMLINK, "..")], 6),
    "through-a-file": ([("x/a", b"x"), ("x/a/b", b"x")], 6),
    "twice": ([("x/a", b"one"), ("x/a", b"two")], 6),
    "file-then-symlink": ([("x/a", b"one"), special("x/a", SYMLINK, "/etc/passwd")], 6),
    "hard-link-outside": ([("x/a", b"x"), special("x/b", HARD, "/etc/passwd")], 6),
    "hard-link-up": ([("x/a", b"x"), special("x/b", HARD, "x/../../victim")], 6),
    "hard-link-to-a-symlink": ([special("x/s", SYMLINK, "../victim"), special("x/b", HARD, "x/s")], 6),
    "hard-link-to-nothing": ([special("x/b", HARD, "x/none")], 6),
    "device": ([("x/a", b"x"), special("x/null", DEVICE, devmajor=1, devminor=3)], 5),
    "unknown-type": ([("x/a", b"x"), special("x/v", b"V")], 5),
    "symlink-to-nothing": ([special("x/s", SYMLINK, "")], 6),
    "a-lock-file-that-is-none": ([("x/.gitrun.lock", b"hello")], 6),
    "a-lock-file-that-is-a-symlink": ([("x/a", b"x"), special("x/.gitrun.lock", SYMLINK, "/etc/passwd")], 6),
    "a-newer-lock-file": ([("x/.gitrun.lock", b"# gitrun lock 99.0\n")], 6),
    "long-name": ([("x/" + "n" * 256, b"x")], 6),
    "name-of-our-own": ([(".tmp-gitrun-import-0123456789abcdef/a", b"x")], 2),
    "nothing": ([], 2),
    "name-that-git-obeys": ([(".git/hooks/post-checkout", b"#!/bin/sh\n")], 2),
    "name-that-ssh-obeys": ([(".ssh/authorized_keys", b"ssh-ed25519 AAAA\n")], 2),
    "name-that-is-an-option": ([("-rf/a", b"x")], 2),
}


@pytest.fixture
def nothing_else(elsewhere: Path, tmp_path: Path) -> Iterator[None]:
    """Whatever is imported, nothing is left behind, and nothing else is touched."""
    (tmp_path / "victim").write_bytes(b"the victim")
    before = picture(tmp_path)
    yield
    after = picture(tmp_path)
    ours = (b"elsewhere", b"work", b".")
    assert {path: seen for path, seen in after.items() if not path.startswith(ours)} == {b"victim": before[b"victim"]}
    assert {path.name for path in elsewhere.iterdir()} <= {"a.tar", "bag"}
    assert not os.path.lexists("/tmp/gitrun-pwned")


@pytest.mark.usefixtures("nothing_else")
class TestHostile:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_members(self, elsewhere: Path, name: str) -> None:
        members, code = HOSTILE[name]
        tar(elsewhere / "a.tar", members)
        told = program("import", "--json", "a.tar", cwd=elsewhere)
        assert told.code == code, told
        assert told.object["error"]["message"] and "Traceback" not in told.err

    def test_control_characters_of_a_name_stay_off_the_screen(self, elsewhere: Path) -> None:
        tar(elsewhere / "a.tar", [("x/../\x1b[31mred", b"x")])
        told = program("import", "a.tar", cwd=elsewhere)
        assert told.code == 6 and "\x1b" not in told.err

    @pytest.mark.parametrize("size", [100, 700, 1500, 2048])
    def test_an_archive_that_ends_too_early(self, elsewhere: Path, size: int) -> None:
        cut(tar(elsewhere / "a.tar", [("x/a", os.urandom(2000))]), size)
        assert program("import", "a.tar", cwd=elsewhere).code == 6

    def test_a_compressed_archive_that_ends_too_early(self, elsewhere: Path) -> None:
        tar(elsewhere / "a.tar", [("x/a", os.urandom(200_000))])
        data = gzip.compress((elsewhere / "a.tar").read_bytes())
        (elsewhere / "a.tar").write_bytes(data[: len(data) // 2])
        assert program("import", "a.tar", cwd=elsewhere).code == 6

    @pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 5000, b"\x1f\x8b\x08 not gzip", b"BZh9 nor bzip"])
    def test_what_is_no_archive(self, elsewhere: Path, data: bytes) -> None:
        (elsewhere / "a.tar").write_bytes(data)
        told = program("import", "a.tar", "run", cwd=elsewhere)
        assert told.code == (0 if data == b"\0" * 5000 else 6), told.err
        if told.code == 0:  # an archive of nothing is a run without files
            remove(elsewhere / "run")
            shutil.rmtree(elsewhere / ".gitrun")

    def test_a_size_beyond_the_disk_is_refused_before_a_byte_is_written(self, elsewhere: Path) -> None:
        info = tarfile.TarInfo("x/a")
        info.size = 1 << 55
        (elsewhere / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10240)
        told = program("import", "--json", "a.tar", cwd=elsewhere).object
        assert told["exit"] == 8 and "not enough space" in told["error"]["message"]

    def test_a_header_beyond_memory_is_refused(self, elsewhere: Path) -> None:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 1 << 40
        (elsewhere / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10240)
        told = program("import", "--json", "a.tar", cwd=elsewhere).object
        assert told["exit"] == 6 and "header" in told["error"]["message"]

    def test_a_bomb_ends_where_the_disk_does(self, elsewhere: Path) -> None:
        with gzip.open(elsewhere / "a.tar", "wb", compresslevel=1) as bomb:
            for number in range(40):
                info = tarfile.TarInfo(f"x/{number}")
                info.size = 1 << 20
                bomb.write(info.tobuf() + bytes(1 << 20))
        with mounted("tmpfs", elsewhere) as disk:
            told = program("import", "--json", elsewhere / "a.tar", disk / "run").object
            assert told["exit"] == 8 and not list(disk.iterdir())
        disk.rmdir()

    @pytest.mark.parametrize("what", ["changed", "missing", "added", "type", "target", "lock-file"])
    def test_what_the_lock_file_does_not_say(self, run: Path, elsewhere: Path, what: str, tmp_path: Path) -> None:
        with tampered(run, tmp_path, elsewhere / "a.tar") as members:
            changes: dict[str, Callable[[], object]] = {
                "changed": lambda: members.update({"train/config.yaml": ("f", b"lr: 0.2\n")}),
                "missing": lambda: members.pop("train/config.yaml"),
                "added": lambda: members.update({"train/extra": ("f", b"x")}),
                "type": lambda: members.update({"train/config.yaml": ("l", b"go.sh")}),
                "target": lambda: members.update({"train/link": ("l", b"/etc/passwd")}),
                "lock-file": lambda: members.update(
                    {"train/.gitrun.lock": ("f", members["train/.gitrun.lock"][1].replace(b"config", b"confug"))}
                ),
            }
            changes[what]()
        told = program("import", "--json", "a.tar", "run", cwd=elsewhere)
        assert told.code == 6, told
        assert not (elsewhere / "run").exists()

    @pytest.mark.parametrize("run_id", ["../../x-00000000", ".git", "a/b", "x" * 200, "-x"])
    def test_a_run_id_that_nobody_could_have(self, run: Path, elsewhere: Path, run_id: str, tmp_path: Path) -> None:
        with tampered(run, tmp_path, elsewhere / "a.tar") as members:
            kind, data = members["train/.gitrun.lock"]
            members["train/.gitrun.lock"] = kind, re.sub(rb"# run-id: .*", f"# run-id: {run_id}".encode(), data)
        assert program("import", "a.tar", "run", cwd=elsewhere).code == 6

    @pytest.mark.parametrize(
        "what", ["changed", "missing", "added", "symlink", "fetch", "tag", "no-manifest", "utf-16", "outside"]
    )
    def test_a_bag_that_is_not_what_it_says(self, run: Path, elsewhere: Path, what: str, tmp_path: Path) -> None:
        gitrun.lock(run)
        bag = elsewhere / "bag"
        gitrun.export(run, bag)
        gitrun.unlock(run)
        remove_repository(run, tmp_path)
        manifest = bag / "manifest-sha256.txt"
        outside = hashlib.sha256(b"the victim").hexdigest() + "  data/../../../victim\n"
        {
            "changed": lambda: (bag / "data" / "config.yaml").write_bytes(b"lr: 0.2\n"),
            "missing": (bag / "data" / "config.yaml").unlink,
            "added": lambda: (bag / "data" / "extra").write_bytes(b"x"),
            "symlink": lambda: (bag / "data" / "extra").symlink_to("/etc/passwd"),
            "fetch": lambda: (bag / "fetch.txt").write_text("http://evil/x 3 data/x\n"),
            "tag": lambda: (bag / "bag-info.txt").write_text("Contact-Name: Eve\n"),
            "no-manifest": manifest.unlink,
            "utf-16": lambda: (bag / "bagit.txt").write_text(
                "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-16\n"
            ),
            "outside": lambda: manifest.write_text(manifest.read_text() + outside),
        }[what]()
        assert program("import", "bag", "run", cwd=elsewhere).code == (5 if what == "fetch" else 6)


class tampered:
    """The members of a locked run's tar archive, to be changed in the block and written after it."""

    def __init__(self, run: Path, scratch: Path, target: Path) -> None:
        gitrun.lock(run)
        self._target = target
        gitrun.export(run, scratch / "whole.tar", form="tar")
        with tarfile.open(scratch / "whole.tar") as archive:
            self._old = {member.name: member for member in archive}
            self._data = {
                name: (
                    ("f", archive.extractfile(member).read())  # type: ignore[union-attr]
                    if member.isreg()
                    else ("l", os.fsencode(member.linkname))
                    if member.issym()
                    else ("d", b"")
                )
                for name, member in self._old.items()
            }
        (scratch / "whole.tar").unlink()
        gitrun.unlock(run)
        remove_repository(run, scratch)

    def __enter__(self) -> dict[str, tuple[str, bytes]]:
        return self._data

    def __exit__(self, *error: object) -> None:
        kinds = {"f": tarfile.REGTYPE, "l": tarfile.SYMTYPE, "d": tarfile.DIRTYPE}
        members: list[Any] = []
        for name, (kind, data) in self._data.items():
            info = special(name, kinds[kind], os.fsdecode(data) if kind == "l" else "", mode=0o755)
            members.append((info, data) if kind == "f" else info)
        tar(self._target, members)


def remove_repository(run: Path, scratch: Path) -> None:
    """As if the run had never been locked, so that a picture of it stays the same."""
    shutil.rmtree(run.parent / ".gitrun")


class TestRefusals:
    def test_something_is_there(self, run: Path, elsewhere: Path, ask: Ask) -> None:
        tar(elsewhere / "a.tar", [("x/a", b"x")])
        (elsewhere / "run").mkdir()
        assert ask("import", elsewhere / "a.tar", elsewhere / "run")["exit"] == 5
        assert not list((elsewhere / "run").iterdir())

    def test_no_such_parent(self, elsewhere: Path, ask: Ask) -> None:
        tar(elsewhere / "a.tar", [("x/a", b"x")])
        assert ask("import", elsewhere / "a.tar", elsewhere / "no" / "run")["exit"] == 5

    def test_no_such_archive(self, elsewhere: Path, ask: Ask) -> None:
        assert ask("import", elsewhere / "none.tar", elsewhere / "run")["exit"] == 3

    def test_the_run_is_known_here(self, run: Path, tmp_path: Path, ask: Ask) -> None:
        gitrun.lock(run)
        gitrun.export(run, tmp_path / "a.tar", form="tar")
        told = ask("import", tmp_path / "a.tar", run.with_name("twin"))
        assert told["exit"] == 5 and "known here already" in told["error"]["message"]
        remove(run)
        assert ask("import", tmp_path / "a.tar", run)["exit"] == 5  # its repository waits for it: restore
        assert gitrun.restore(run).state == "locked"

    def test_a_name_that_is_no_run_needs_a_directory(self, elsewhere: Path) -> None:
        tar(elsewhere / "a.tar", [("./a", b"x"), ("./b", b"x")])
        told = program("import", "a.tar", cwd=elsewhere)
        assert told.code == 2 and "hint: gitrun import FILE DIR" in told.err

    def test_privileges_stay_out(self, elsewhere: Path) -> None:
        needs_root()
        info = special("x/su", tarfile.REGTYPE, mode=0o6755)
        info.pax_headers = {"SCHILY.xattr.security.capability": "\x01\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[:20]}
        tar(elsewhere / "a.tar", [(info, b"#!/bin/sh\n")])
        told = gitrun.import_run(elsewhere / "a.tar", elsewhere / "run")
        assert any("setuid" in note for note in told.notes)
        found = (elsewhere / "run" / "su").stat()
        assert found.st_mode & 0o6000 == 0 and "security.capability" not in os.listxattr(elsewhere / "run" / "su")

    def test_what_a_killed_import_left_the_next_one_removes(self, elsewhere: Path, shared_tmp: Path) -> None:
        tar(elsewhere / "a.tar", [("x/a", b"x" * 5_000_000)])
        script = (
            "import os, gitrun.ops.import_run as it\n"
            "it.build = lambda *_: os.kill(os.getpid(), 9)\n"
            f"it.import_run({str(elsewhere / 'a.tar')!r}, {str(elsewhere / 'run')!r})\n"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=Path(gitrun.__file__).parents[1])
        assert done.returncode == -9 and list(elsewhere.glob(".tmp-gitrun-import-*"))
        gitrun.import_run(elsewhere / "a.tar", elsewhere / "run")
        assert not list(elsewhere.glob(".tmp*"))

    def test_a_link_in_the_place_of_what_it_would_remove_is_not_followed(self, elsewhere: Path, tmp_path: Path) -> None:
        tar(elsewhere / "a.tar", [("x/a", b"x")])
        victim = tmp_path / "victim"
        (victim / "deep").mkdir(parents=True)
        (victim / "deep").chmod(0o500)
        before = picture(victim)
        digest = hashlib.sha256(os.fsencode(elsewhere / "run")).hexdigest()[:16]
        (elsewhere / f".tmp-gitrun-import-{digest}").symlink_to(victim)
        gitrun.import_run(elsewhere / "a.tar", elsewhere / "run")
        assert picture(victim) == before and not list(elsewhere.glob(".tmp*"))

    def test_an_interrupted_import_leaves_nothing(self, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from gitrun.ops import import_run as module

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "lock_new", interrupted)
        tar(elsewhere / "a.tar", [("x/sub/a", b"x")])
        with pytest.raises(KeyboardInterrupt):
            gitrun.import_run(elsewhere / "a.tar", elsewhere / "run")
        assert [path.name for path in elsewhere.iterdir()] == ["a.tar"]
