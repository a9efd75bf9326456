"""fsck finds every kind of damage to a stored copy, and mends what other copies allow; stock tools are the judges."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import gitrun
from gitrun.errors import NotLocked, RunBusy
from gitrun.guard import guarded
from gitrun.ops._context import context
from gitrun.results.fsck import Finding, FsckResult
from tests.support.trial import assert_stock_tools_agree, stock
from tests.support.users import remove_tree

MIB = 1 << 20
BIG = os.urandom(MIB + 7)
SMALL = b"lr: 0.1\n" * 100


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locked run with a small, an executable and a large file, a link, and an earlier lock."""
    run = tmp_path_factory.mktemp("fsck") / "work" / "train"
    (run / "sub" / "deep").mkdir(parents=True)
    (run / "config.yml").write_bytes(SMALL)
    (run / "sub" / "deep" / "run.sh").write_text("#!/bin/sh\n" * 40)
    (run / "sub" / "deep" / "run.sh").chmod(0o755)
    (run / "sub" / "first").write_text("before")
    (run / "link").symlink_to("config.yml")
    (run / "model.bin").write_bytes(BIG)
    gitrun.lock(run)
    gitrun.unlock(run)
    (run / "sub" / "second").write_text("after " * 100)
    gitrun.lock(run)
    return run


@pytest.fixture
def locked(made: Path, tmp_path: Path) -> Path:
    """A copy of that run and its store, which keeps hard links."""
    subprocess.run(["cp", "-a", "--", made.parent, tmp_path / "work"], check=True)
    return tmp_path / "work" / "train"


def repository(run: Path) -> Path:
    return gitrun.path(run)


def large(run: Path, top: Path | None = None) -> Path:
    """The one large file of a repository (or, with `top`, of a pool)."""
    (found,) = [path for path in ((top or repository(run)) / "lfs" / "objects").rglob("*") if path.is_file()]
    return found


def packs(run: Path) -> list[Path]:
    """The packs, the largest first."""
    return sorted((repository(run) / "objects" / "pack").glob("*.pack"), key=lambda pack: -pack.stat().st_size)


def git(run: Path, *arguments: str) -> str:
    return stock("git", "--git-dir", repository(run), *arguments).decode().strip()


def change(path: Path, data: bytes) -> None:
    """Overwrites a read-only file in place: all its names change."""
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    change(path, bytes(data))


def as_loose(run: Path) -> None:
    """Unpacks all objects, so that each is a file of its own."""
    for pack in packs(run):
        away = repository(run).parent / pack.name
        shutil.move(pack, away)
        pack.with_suffix(".idx").unlink()
        with away.open("rb") as data:
            subprocess.run(["git", f"--git-dir={repository(run)}", "unpack-objects", "-q"], stdin=data, check=True)
        away.unlink()


def loose(run: Path, oid: str) -> Path:
    return repository(run) / "objects" / oid[:2] / oid[2:]


def found(run: Path) -> dict[tuple[str, str], Finding]:
    """What fsck finds, by kind and object; verify --store must agree that there is something, and plain verify not."""
    result = gitrun.fsck(run)
    assert result.findings and not result.ok and result.exit == 6
    assert list(result.findings) == sorted(result.findings, key=lambda one: (one.object, one.kind, one.message))
    return {(one.kind, one.object): one for one in result.findings}


def repaired(run: Path) -> FsckResult:
    """Repairs, and has everybody judge that all is well."""
    result = gitrun.fsck(run, repair=True)
    assert result.ok and result.exit == 0, result.findings
    assert result.findings and all(one.repaired for one in result.findings)
    assert_healthy(run)
    return result


def assert_healthy(run: Path) -> None:
    assert_stock_tools_agree(run)
    assert gitrun.fsck(run).findings == ()
    assert gitrun.verify(run, store=True).ok


def test_a_healthy_copy(locked: Path) -> None:
    result = gitrun.fsck(locked)
    assert result.ok and result.exit == 0 and result.findings == () and result.notes == ()
    assert result.checked_objects == len(git(locked, "rev-list", "--objects", "--all").split("\n")) + 1
    assert result.checked_bytes > len(BIG)
    assert result.state == "locked"


def test_repair_leaves_a_healthy_copy_alone(locked: Path) -> None:
    before = {path: path.stat().st_ino for path in repository(locked).rglob("*")}
    assert gitrun.fsck(locked, repair=True).ok
    assert {path: path.stat().st_ino for path in repository(locked).rglob("*")} == before


def test_a_run_without_a_stored_copy(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(NotLocked):
        gitrun.fsck(tmp_path / "run")


def test_an_orphaned_run(locked: Path) -> None:
    remove_tree(locked)
    assert gitrun.fsck(locked).ok
    assert gitrun.fsck(locked).state == "orphaned"


def test_an_unlocked_run(locked: Path) -> None:
    gitrun.unlock(locked)
    assert gitrun.fsck(locked).ok


def test_files_that_were_never_stored_are_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "big").write_bytes(BIG)
    gitrun.lock(tmp_path / "run", link="none")
    result = gitrun.fsck(tmp_path / "run")
    assert result.ok and "1 large files were never stored" in result.notes[0]


def test_repair_needs_the_run_for_itself(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitrun.guard.PATIENCE", 0.0)
    with guarded(context(locked).place, shared=True, patience=0):
        assert gitrun.fsck(locked).ok
        with pytest.raises(RunBusy):
            gitrun.fsck(locked, repair=True)


# -- 140: git objects --


def test_140_a_flipped_bit_in_a_blob(locked: Path) -> None:
    oid = git(locked, "rev-parse", "locked:config.yml")
    as_loose(locked)
    flip(loose(locked, oid), 12)
    assert found(locked)["corrupt", oid].paths == (b"config.yml",)
    repaired(locked)
    assert git(locked, "cat-file", "-p", "locked:config.yml") == SMALL.decode().strip()


def test_140_a_blob_that_is_gone(locked: Path) -> None:
    oid = git(locked, "rev-parse", "locked:sub/deep/run.sh")
    as_loose(locked)
    loose(locked, oid).unlink()
    assert found(locked)["missing", oid].paths == (b"sub/deep/run.sh",)
    repaired(locked)


def test_140_an_object_of_length_zero(locked: Path) -> None:
    oid = git(locked, "rev-parse", "locked:link")
    as_loose(locked)
    change(loose(locked, oid), b"")
    assert found(locked)["corrupt", oid].paths == (b"link",)
    repaired(locked)


def test_140_a_blob_of_other_content_under_its_name(locked: Path) -> None:
    oid = git(locked, "rev-parse", "locked:config.yml")
    as_loose(locked)
    change(loose(locked, oid), zlib.compress(b"blob 3\0xyz"))
    assert ("corrupt", oid) in found(locked)
    repaired(locked)


@pytest.mark.parametrize("path", ["", "sub", "sub/deep"])
def test_140_a_tree_that_is_gone(locked: Path, path: str) -> None:
    oid = git(locked, "rev-parse", f"locked:{path}")
    as_loose(locked)
    loose(locked, oid).unlink()
    assert b"sub/deep/run.sh" in found(locked)["missing", oid].paths
    repaired(locked)


def test_140_the_stored_lock_file_is_gone(locked: Path) -> None:
    oid = git(locked, "rev-parse", "locked:.gitrun.lock")
    as_loose(locked)
    loose(locked, oid).unlink()
    assert found(locked)["missing", oid].paths == (b".gitrun.lock",)
    repaired(locked)


def test_140_everything_but_the_commits_is_gone(locked: Path) -> None:
    """Tag, trees, blobs: all follow from the lock file and the run; the earlier lock's own file alone is lost."""
    wanted = set(git(locked, "rev-list", "--all").split())
    tree, blob = git(locked, "rev-parse", "main~1^{tree}"), git(locked, "rev-parse", "main~1:sub/first")
    as_loose(locked)
    for path in (repository(locked) / "objects").glob("??/*"):
        if path.parent.name + path.name not in wanted:
            path.unlink()
    result = gitrun.fsck(locked, repair=True)
    left = {one.object for one in result.findings if not one.repaired}
    assert not result.ok and tree in left and blob not in left
    assert git(locked, "cat-file", "-t", "locked") == "tag"
    stock("git", "--git-dir", repository(locked), "archive", "-o", os.devnull, "locked")


def test_140_a_commit_that_is_gone_cannot_be_rebuilt(locked: Path) -> None:
    oid = git(locked, "rev-parse", "main")
    as_loose(locked)
    loose(locked, oid).unlink()
    result = gitrun.fsck(locked, repair=True)
    assert result.exit == 6
    assert [one.object for one in result.findings if not one.repaired] == [oid]
    assert "a copy of the repository may have it" in result.notes[-1]


def test_140_a_blob_that_changed_in_the_run_comes_from_another_run(locked: Path) -> None:
    twin = locked.parent / "twin"
    shutil.copytree(locked, twin, symlinks=True)
    gitrun.unlock(twin)
    gitrun.lock(twin)
    as_loose(locked)
    loose(locked, git(locked, "rev-parse", "locked:config.yml")).unlink()
    change(locked / "config.yml", b"other")
    result = gitrun.fsck(locked, repair=True)
    assert result.ok, result.findings
    assert_stock_tools_agree_on_repository(locked)


def assert_stock_tools_agree_on_repository(run: Path) -> None:
    assert git(run, "fsck", "--strict", "--no-progress") == ""
    git(run, "lfs", "fsck")


def test_140_lost_everywhere(locked: Path) -> None:
    oid = git(locked, "rev-parse", "locked:config.yml")
    as_loose(locked)
    loose(locked, oid).unlink()
    change(locked / "config.yml", b"other")
    result = gitrun.fsck(locked, repair=True)
    assert result.exit == 6
    assert [(one.object, one.paths) for one in result.findings] == [(oid, (b"config.yml",))]


PACK_DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped in the middle": lambda pack: flip(pack, pack.stat().st_size // 2),
    "flipped at the end": lambda pack: flip(pack, pack.stat().st_size - 1),
    "flipped in the head": lambda pack: flip(pack, 1),
    "cut in half": lambda pack: change(pack, pack.read_bytes()[: pack.stat().st_size // 2]),
    "of length zero": lambda pack: change(pack, b""),
    "extended": lambda pack: change(pack, pack.read_bytes() + b"more"),
    "index gone": lambda pack: pack.with_suffix(".idx").unlink(),
    "index of length zero": lambda pack: change(pack.with_suffix(".idx"), b""),
    "index flipped": lambda pack: flip(pack.with_suffix(".idx"), 1040),
    "index of many objects": lambda pack: flip(pack.with_suffix(".idx"), 8 + 255 * 4),
}


@pytest.mark.parametrize("damage", PACK_DAMAGES)
def test_140_a_damaged_pack(locked: Path, damage: str) -> None:
    """The run has what the pack had; commits and tags are kept apart, since nothing else has them."""
    pack = keep_history_apart(locked)
    PACK_DAMAGES[damage](pack)
    assert ("corrupt", f"objects/pack/{pack.name}") in found(locked)
    repaired(locked)
    assert list((repository(locked) / "gitrun" / "bad").iterdir())


def keep_history_apart(run: Path) -> Path:
    """Repacks: what the run has itself goes into a pack of its own, whose path is returned."""
    ids = set(git(run, "rev-list", "--objects", "--no-object-names", "--all").split())
    newest = set(git(run, "rev-list", "--objects", "--no-object-names", "main^{tree}").split())
    old = packs(run)
    written = [_pack(run, some) for some in (newest, ids - newest)]
    for pack in old:
        pack.unlink()
        pack.with_suffix(".idx").unlink()
    return written[0]


def _pack(run: Path, ids: set[str]) -> Path:
    directory = repository(run) / "objects" / "pack"
    command = ["git", f"--git-dir={repository(run)}", "pack-objects", "-q", directory / "pack"]
    done = subprocess.run(command, input="\n".join(ids), stdout=subprocess.PIPE, check=True, text=True)
    return directory / f"pack-{done.stdout.strip()}.pack"


def test_140_a_pack_with_deltas_is_read_and_saved(locked: Path) -> None:
    """As `git gc` makes them."""
    git(locked, "repack", "-adfq", "--depth=50", "--window=50")
    assert gitrun.fsck(locked).ok
    packs(locked)[0].with_suffix(".idx").unlink()
    repaired(locked)


def test_140_one_good_copy_of_two_is_enough(locked: Path) -> None:
    oid = git(locked, "rev-parse", "main")
    data = subprocess.run(["git", f"--git-dir={repository(locked)}", "cat-file", "commit", oid], stdout=-1, check=True)
    loose(locked, oid).parent.mkdir(exist_ok=True)
    loose(locked, oid).write_bytes(zlib.compress(b"commit %d\0" % len(data.stdout) + data.stdout)[:-9])
    assert "another copy is good" in found(locked)["corrupt", oid].message
    repaired(locked)


# -- refs --


@pytest.mark.parametrize("name", ["refs/tags/locked", "refs/heads/main", "refs/gitrun/locks/1", "HEAD"])
@pytest.mark.parametrize("data", [b"", b"\0" * 41, b"nonsense\n"])
def test_140_a_ref_of_length_zero_or_nonsense(locked: Path, name: str, data: bytes) -> None:
    path = repository(locked) / name
    before = path.read_bytes()
    path.write_bytes(data)
    assert set(found(locked)) >= {("corrupt", name)}
    repaired(locked)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["refs/tags/locked", "refs/heads/main"])
def test_140_a_ref_that_is_gone(locked: Path, name: str) -> None:
    before = (repository(locked) / name).read_bytes()
    (repository(locked) / name).unlink()
    assert ("missing", name) in found(locked)
    repaired(locked)
    assert (repository(locked) / name).read_bytes() == before


def test_packed_refs(locked: Path) -> None:
    git(locked, "pack-refs", "--all", "--prune")
    assert gitrun.fsck(locked).ok
    with (repository(locked) / "packed-refs").open("a") as file:
        file.write("nonsense\n")
    assert ("corrupt", "packed-refs") in found(locked)
    repaired(locked)


def test_a_damaged_journal(locked: Path) -> None:
    (repository(locked) / "gitrun" / "journal").write_bytes(b"")
    assert ("corrupt", "gitrun/journal") in found(locked)
    repaired(locked)


@pytest.mark.parametrize("data", [None, b""])
def test_the_record_of_whose_repository_it_is(locked: Path, data: bytes | None) -> None:
    path = repository(locked) / "gitrun" / "run"
    before = path.read_bytes()
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    assert set(found(locked)) == {("corrupt", "gitrun/run")}
    repaired(locked)
    assert path.read_bytes() == before


# -- 139: what leads git astray --


@pytest.mark.parametrize(
    "name", ["objects/info/alternates", "objects/info/http-alternates", "info/grafts", "shallow", "commondir"]
)
def test_139_other_objects_and_other_history(locked: Path, tmp_path: Path, name: str) -> None:
    content = (
        f"{tmp_path}/elsewhere\n" if "alternates" in name or name == "commondir" else git(locked, "rev-parse", "main")
    )
    (repository(locked) / name).write_text(content)
    assert ("config", name) in found(locked)
    repaired(locked)
    assert not (repository(locked) / name).exists()


def test_139_objects_of_an_alternate_do_not_count(locked: Path, tmp_path: Path) -> None:
    """Lost here, and there in a place that somebody else may take away."""
    oid = git(locked, "rev-parse", "main")
    as_loose(locked)
    shutil.copytree(repository(locked) / "objects", tmp_path / "elsewhere")
    (repository(locked) / "objects" / "info" / "alternates").write_text(f"{tmp_path}/elsewhere\n")
    loose(locked, oid).unlink()
    assert ("missing", oid) in found(locked)


def test_139_a_replaced_object(locked: Path) -> None:
    oid, other = git(locked, "rev-parse", "locked:config.yml"), git(locked, "rev-parse", "locked:link")
    git(locked, "replace", oid, other)
    assert ("config", f"refs/replace/{oid}") in found(locked)
    repaired(locked)


def test_139_a_commit_with_another_parent(locked: Path) -> None:
    """The branch leads past the earlier lock: a history that was rewritten."""
    tree, old = git(locked, "rev-parse", "main^{tree}"), git(locked, "rev-parse", "main")
    env = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a"}
    new = stock("git", "--git-dir", repository(locked), "commit-tree", "-m", "x", tree, env=env).decode().strip()
    git(locked, "update-ref", "refs/heads/main", new)
    faults = found(locked)
    assert ("mismatch", "refs/gitrun/locks/1") in faults
    assert old in faults["mismatch", "refs/heads/main"].message


def test_the_tree_is_compared_with_the_lock_file(locked: Path) -> None:
    """Somebody with git makes a lock whose tree is another one."""
    work = locked.parent / "clone"
    stock("git", "-c", "filter.lfs.smudge=cat", "clone", "-q", f"file://{repository(locked)}", work)
    (work / "config.yml").write_text("forged")
    (work / "sub" / "deep" / "run.sh").chmod(0o644)
    (work / "more").write_text("x")
    (work / "link").unlink()
    (work / "model.bin").write_bytes((work / "model.bin").read_bytes().replace(b"sha256:", b"sha256:0")[:-1])
    me = ["-c", "user.name=a", "-c", "user.email=a", "-c", "filter.lfs.clean=cat", "-c", "filter.lfs.process="]
    stock("git", *me, "add", "-A", cwd=work)
    stock("git", *me, "commit", "-qm", "forged", cwd=work)
    stock("git", "push", "-q", "origin", "HEAD:main", cwd=work)
    told = {(one.message.split(":")[0], one.paths) for one in gitrun.fsck(locked).findings if one.kind == "mismatch"}
    assert told >= {
        ("the stored content is not what was locked", (b"config.yml",)),
        ("its mode in the tree is not that of the lock file", (b"sub/deep/run.sh",)),
        ("the tree holds a file that the lock file does not list", (b"more",)),
        ("the lock file lists a file that is not in the tree", (b"link",)),
        ("the pointer is not the one to its content", (b"model.bin",)),
    }


def test_the_tag_is_compared_with_the_lock_file(locked: Path) -> None:
    text = git(locked, "cat-file", "-p", "locked")
    digest = text.rpartition(" ")[2].strip()
    forged = subprocess.run(
        ["git", f"--git-dir={repository(locked)}", "mktag"],
        input=text.replace(digest, "0" * 64) + "\n",
        text=True,
        stdout=-1,
    )
    git(locked, "update-ref", "refs/tags/locked", forged.stdout.strip())
    assert "names another lock file" in found(locked)["mismatch", "refs/tags/locked"].message


# -- 141: large files --


def write_through(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


LARGE_DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "flipped": ("corrupt", lambda path: write_through(path, BIG[:-1] + bytes([BIG[-1] ^ 1]))),
    "truncated": ("corrupt", lambda path: write_through(path, BIG[:100])),
    "extended": ("corrupt", lambda path: write_through(path, BIG + b"x")),
    "of length zero": ("corrupt", lambda path: write_through(path, b"")),
    "missing": ("missing", lambda path: path.unlink()),
    "a symlink": ("corrupt", lambda path: (path.rename(path.parent / "x"), path.symlink_to(path.parent / "x"))),
    "a directory": ("corrupt", lambda path: (path.unlink(), path.mkdir(), (path / "x").write_text("x"))),
    "a FIFO": ("corrupt", lambda path: (path.unlink(), os.mkfifo(path))),
}


@pytest.mark.parametrize("source", ["run", "pool", "other run"])
@pytest.mark.parametrize("damage", LARGE_DAMAGES)
def test_141_a_large_file(locked: Path, damage: str, source: str) -> None:
    oid = large(locked).name
    if source == "other run":
        twin = locked.parent / "twin"
        shutil.copytree(locked, twin, symlinks=True)
        gitrun.unlock(twin)
        gitrun.lock(twin)
    if source != "pool":
        large(locked, repository(locked).parent).unlink()
    kind, hurt = LARGE_DAMAGES[damage]
    hurt(large(locked))
    fault = found(locked)[kind, oid]
    assert fault.paths == (b"model.bin",)
    assert damage.removeprefix("a ") in fault.message or not damage.startswith("a ")
    if source != "run":
        change(locked / "model.bin", b"no help")
    result = gitrun.fsck(locked, repair=True)
    assert result.ok, result.findings
    assert_stock_tools_agree_on_repository(locked)
    mended = repository(locked) / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    pooled = repository(locked).parent / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    assert mended.read_bytes() == BIG and not mended.is_symlink()
    assert mended.stat().st_ino == pooled.stat().st_ino != (locked / "model.bin").stat().st_ino
    assert mended.stat().st_mode & 0o777 == 0o444


def test_141_a_flipped_byte_in_the_inode_that_all_share(locked: Path) -> None:
    """One fault, three names: all are mended at once, since all are damaged."""
    twin = locked.parent / "twin"
    shutil.copytree(locked, twin, symlinks=True)
    gitrun.unlock(twin)
    gitrun.lock(twin)
    flip(large(locked), 5)
    oid = large(locked).name
    assert ("corrupt", oid) in found(twin) and ("corrupt", oid) in found(locked)
    result = repaired(locked)
    assert any("1 other run repositories" in note for note in result.notes)
    assert_healthy(twin)
    assert (
        large(locked).stat().st_ino == large(twin).stat().st_ino == large(twin, repository(twin).parent).stat().st_ino
    )
    kept = repository(locked) / "lfs" / "bad" / oid
    assert len(kept.read_bytes()) == len(BIG) and kept.read_bytes() != BIG


def test_141_a_hard_link_to_another_file_is_not_written_through(locked: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"v" * len(BIG))
    path = large(locked)
    path.unlink()
    os.link(victim, path)
    assert ("corrupt", path.name) in found(locked)
    repaired(locked)
    assert victim.read_bytes() == b"v" * len(BIG)


def test_141_only_the_pool_is_damaged(locked: Path) -> None:
    """The next run that has this file would be given the damaged bytes."""
    pooled = large(locked, repository(locked).parent)
    pooled.unlink()
    pooled.write_bytes(bytes(len(BIG)))
    assert "in the store's pool" in found(locked)["corrupt", pooled.name].message
    repaired(locked)
    assert pooled.read_bytes() == BIG


def test_141_lost_everywhere(locked: Path) -> None:
    flip(large(locked), 5)
    oid = large(locked).name
    change(locked / "model.bin", BIG[::-1])
    result = gitrun.fsck(locked, repair=True)
    assert result.exit == 6 and [one.object for one in result.findings if not one.repaired] == [oid]
    assert BIG[6:] in large(locked).read_bytes()  # what is left of it is not taken away


def test_141_a_link_in_the_run_is_not_followed(locked: Path, tmp_path: Path) -> None:
    """Bytes are taken from the run itself, not from wherever somebody has its names lead."""
    (tmp_path / "outside").write_bytes(BIG)
    (locked / "model.bin").unlink()
    (locked / "model.bin").symlink_to(tmp_path / "outside")
    large(locked, repository(locked).parent).unlink()
    large(locked).unlink()
    assert gitrun.fsck(locked, repair=True).exit == 6


# -- 143: configuration --


def canary(tmp_path: Path) -> Path:
    """A program that leaves a mark when it is run."""
    script = tmp_path / "canary"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    script.chmod(0o755)
    return script


HOSTILE = """\
[core]
\tworktree = {top}
\thooksPath = {top}
\tfsmonitor = {canary}
\tsshCommand = {canary}
\tbare = false
[filter "lfs"]
\tclean = {canary}
\tsmudge = {canary}
\tprocess = {canary}
[include]
\tpath = {top}/more
[fsck]
\tskipList = {top}/skip
[remote "origin"]
\turl = ext::{canary}
\tfetch = +refs/heads/*:refs/remotes/origin/*
[extensions]
\tobjectFormat = sha256
[gitrun]
\tremote = "a \\"b\\" \\\\ c"
"""


def test_143_a_hostile_configuration_is_told_and_never_obeyed(locked: Path, tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    config = HOSTILE.format(top=tmp_path, canary=canary(tmp_path))
    (repository(locked) / "config").write_text(config)
    shutil.copy(canary(tmp_path), tmp_path / "post-index-change")
    (tmp_path / "more").write_text(f"[core]\n\tpager = {canary(tmp_path)}\n")
    messages = " ".join(one.message for one in gitrun.fsck(locked).findings if one.object == "config")
    for key in (
        "core.worktree",
        "core.hookspath",
        "core.fsmonitor",
        "core.sshcommand",
        "filter.lfs.clean",
        "include.path",
    ):
        assert f"it has {key}," in messages
    assert "it does not say that the repository is bare" in messages
    assert not flag.exists()
    repaired(locked)
    assert not flag.exists()
    assert stock("git", "config", "--file", repository(locked) / "config", "gitrun.remote") == b'a "b" \\ c\n'
    assert b"ext::" in stock("git", "config", "--file", repository(locked) / "config", "remote.origin.url")
    assert (repository(locked) / "gitrun" / "bad" / "config").read_text() == config


@pytest.mark.parametrize("content", [b"", b"[core\n", b"\0" * 50])
def test_143_a_damaged_configuration(locked: Path, content: bytes) -> None:
    (repository(locked) / "config").write_bytes(content)
    assert {thing for _, thing in found(locked)} == {"config"}
    repaired(locked)


def test_143_a_hook(locked: Path, tmp_path: Path) -> None:
    (repository(locked) / "hooks").mkdir()
    shutil.copy(canary(tmp_path), repository(locked) / "hooks" / "reference-transaction")
    assert ("config", "hooks/reference-transaction") in found(locked)
    repaired(locked)
    assert not (tmp_path / "ran").exists()


# -- without git, and through the program --


def test_without_git(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = gitrun.fsck(locked)
    assert result.ok
    assert [note.partition(":")[0] for note in result.notes] == [
        "the repository's configuration was not looked at",
        "stock git fsck was left out",
    ]


def test_verify_store_names_the_files(locked: Path) -> None:
    flip(large(locked), 5)
    verdict = gitrun.verify(locked, store=True)
    assert not verdict.ok and verdict.exit == 6
    assert [(one.path, one.kind) for one in verdict.differences] == [(b"model.bin", "stored")]
    assert gitrun.verify(locked).ok
