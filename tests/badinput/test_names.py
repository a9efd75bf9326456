"""Bad input, section A: names that break tools.  Each comes back byte for byte, and stock tools read what is stored."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gitrun
from gitrun.walk import MAX_DEPTH
from tests.support.snapshots import snapshot
from tests.support.tools import CHECKOUT
from tests.support.trial import (
    assert_clone_has_all_bytes,
    assert_refused,
    assert_untouched,
    entry_of,
    error_lines,
    program,
    put,
    record,
    remove,
    round_trip,
    stock,
    write,
)

ZWNJ = "\u200c"


def named(run: Path, *names: bytes) -> None:
    """A file of each name, at the top and in a directory, each with its own content, and a large one."""
    for number, name in enumerate(names):
        put(run, name, b"content %d\n" % number)
        put(run, b"sub/" + name, b"content %d, below\n" % number)
    put(run, b"large/" + names[0], b"large\n" * 200_000)


def assert_names_come_back(run: Path, tmp_path: Path, *names: bytes) -> None:
    """The round trip of files of these names; verify sees each changed; a stock clone has their bytes."""
    named(run, *names)
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    for name in names:
        path = os.path.join(os.fsencode(run), b"sub", name)
        os.chmod(path, 0o644)
        with open(path, "ab") as file:
            file.write(b"!")
    found = {one.path for one in gitrun.verify(run).differences if one.kind == "modified"}
    assert found == {b"sub/" + name for name in names}


# -- 1 to 7: what terminals, shells and encodings make of names --

NEWLINES = (b"a\nb", b"\n", b"a\n\nb\n", b"0" * 64 + b"  x\n" + b"0" * 64 + b"  y")
CONTROL = (b"a\rb", b"\r", b"a\tb", b"\x1b[31mred", b"\x1b]0;owned\x07", b"\x07", b"\x7f", b"\x01")
DASHES = (b"-rf", b"--help", b"-", b"--", b"-c", b"--strict")
BLANKS = (b" ", b"   ", b" x", b"x ", b" x ", b"a  b", b"#", b"# x", b"\\", b"\\\\n")
BYTES = (b"\xff\xfe", b"\xc3\x28", b"caf\xe9", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", "é".encode(), "é".encode())
INKLESS = tuple(name.encode() for name in ("a\u202eb", "\u2066x\u2069", "a\u200bb", f"a{ZWNJ}b", "\ufeffa", "\u2028"))


def test_a01_newline(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *NEWLINES)


def test_a01_newline_in_the_output(run: Path) -> None:
    put(run, b"a\nb")
    gitrun.lock(run)
    os.unlink(os.path.join(run, "a\nb"))
    assert "  deleted  a\\nb" in program("verify", run).out.splitlines()
    (found,) = program("verify", "--json", run).object["differences"]
    assert (found["kind"], found["path"]) == ("deleted", "a\nb")


def test_a02_control_characters(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *CONTROL)


def test_a02_nothing_raw_reaches_the_terminal(tmp_path: Path) -> None:
    names = [*CONTROL, *INKLESS, *BYTES]
    run = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"run " + b" ".join(names))))
    run.mkdir()
    named(run, *names)
    message = os.fsdecode(b"".join(names))
    outcomes = [program("lock", "-v", "-m", message, run)]
    shutil.rmtree(run / "sub")
    outcomes += [program(verb, "-v", run) for verb in ("lock", "verify", "status", "restore", "unlock", "verify")]
    assert [outcome.code for outcome in outcomes] == [0, 5, 4, 0, 0, 0, 3]
    for outcome in outcomes:
        for line in [*outcome.out.splitlines(), *error_lines(outcome)]:
            assert line.isprintable(), line


def test_a03_leading_dash(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *DASHES)


def test_a03_run_with_a_leading_dash(tmp_path: Path) -> None:
    write(tmp_path / "--help" / "-rf")
    assert program("lock", "--", "--help", cwd=tmp_path).code == 0
    assert program("verify", "./--help", cwd=tmp_path).code == 0
    assert program("restore", "--", "--help", "-rf", cwd=tmp_path).code == 0
    assert program("unlock", "--", "--help", cwd=tmp_path).code == 0


def test_a04_blanks(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *BLANKS)


def test_a05_not_utf8_bytes(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *BYTES)


def test_a05_the_locale_does_not_matter(run: Path) -> None:
    named(run, *BYTES)
    before, listed = snapshot(run), set()
    for locale in ("C", "C.UTF-8", "tr_TR.UTF-8"):
        env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        assert program("lock", run, env=env).code == 0
        listed.add((run / ".gitrun.lock").read_bytes())
        remove(run)
        assert program("restore", run, env=env).code == 0
        assert program("unlock", run, env=env).code == 0
        assert snapshot(run) == before
    assert len(listed) == 1


def test_a05_the_run_itself(tmp_path: Path) -> None:
    run = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"r\xff\xfen")))
    write(run / "file")
    assert program("lock", run).code == 0
    told = program("verify", "--json", run).object
    assert told["ok"] and told["path_b64"]
    round_trip_locked(run)


def test_a07_direction_and_zero_width(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *INKLESS)


def round_trip_locked(run: Path) -> None:
    """As `round_trip`, of a run that is locked."""
    remove(run)
    gitrun.restore(run)
    assert_untouched(run)
    gitrun.unlock(run)


# -- 8 to 14: names that git obeys, refuses or drops --

DOT_GIT = (b".GIT", b".Git", b".gIt")
NTFS = (b"git~1", b"GIT~1", b"git~2", b"GITMOD~1", b"gi7eba~1", b"LFSCON~1")
DISGUISES = (b".git ", b".git.", b".git...", b".git. .", b".git::$INDEX_ALLOCATION", b".git:x", b".git\\x", b"a\\.git")
HFS = tuple(
    name.encode()
    for name in (f".g{ZWNJ}it", f".{ZWNJ}git", f".git{ZWNJ}", "\u200d.git", ".g\ufeffit", ".\u206agitmodules")
)
OBEYED = (b".gitmodules", b".gitattributes", b".gitignore", b".mailmap", b".lfsconfig", b".gitkeep", b".gitconfig")


def test_a08_dot_git_file(run: Path, tmp_path: Path) -> None:
    """At the top it is the run's own, so that gitrun writes none."""
    assert_names_come_back(run, tmp_path, b".git")
    assert (run / ".git").read_bytes() == b"content 0\n"


@pytest.mark.parametrize("top", [b"", b"sub/"])
def test_a08_dot_git_directory(run: Path, tmp_path: Path, top: bytes) -> None:
    for name in (b"HEAD", b"config", b"hooks/post-checkout", b"objects/aa/bb", b"refs/heads/main"):
        put(run, top + b".git/" + name, name)
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    assert entry_of(run, top + b".git/HEAD").tree_path == top + b"%2Egit/HEAD"


def test_a08_dot_git_that_is_a_symlink(run: Path) -> None:
    (run / ".git").symlink_to("/nonexistent")
    (run / "sub").mkdir()
    (run / "sub" / ".git").symlink_to("../.git")
    round_trip(run)


def test_a09_dot_git_in_other_cases(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *DOT_GIT)


def test_a10_short_names_of_ntfs(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *NTFS)


def test_a11_trailing_dots_and_streams(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *DISGUISES)


def test_a12_characters_that_hfs_skips(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *HFS)


def test_a12_a_strict_remote_takes_the_commit(run: Path, tmp_path: Path) -> None:
    named(run, b".git", *DOT_GIT, *NTFS, *DISGUISES, *HFS, *OBEYED)
    gitrun.lock(run)
    stock("git", "init", "--bare", "--quiet", tmp_path / "remote")
    stock("git", "-C", tmp_path / "remote", "config", "receive.fsckObjects", "true")
    stock("git", "--git-dir", gitrun.path(run), "push", "--no-verify", "--quiet", tmp_path / "remote", "main", "locked")


def test_a13_names_that_git_obeys(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, *OBEYED)


def test_a13_they_have_no_effect(run: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    attributes = b"* text eol=crlf ident working-tree-encoding=UTF-16 filter=evil export-ignore\n"
    for top in (b"", b"sub/"):
        put(run, top + b".gitattributes", attributes)
        put(run, top + b".gitignore", b"*\n")
        put(run, top + b".lfsconfig", b"[lfs]\n\turl = http://127.0.0.1:9/\n\tfetchexclude = *\n")
        put(run, top + b".gitmodules", b'[submodule "x"]\n\tpath = x\n\turl = ext::touch%% %b\n' % os.fsencode(marker))
        put(run, top + b"text", b"$Id$\r\nx\n")
        put(run, top + b"large", b"$Id$\r\n" * 200_000)
    config = tmp_path / "config"
    config.write_text(f'[filter "evil"]\n\tclean = touch {marker}\n\tsmudge = touch {marker}\n\trequired = true\n')
    assert program("lock", run, env={"GIT_CONFIG_GLOBAL": str(config)}).code == 0
    assert_clone_has_all_bytes(run, tmp_path / "clone")
    assert not marker.exists()
    gitrun.unlock(run)
    round_trip(run)


def test_a14_symlinks_of_names_that_git_obeys(run: Path, tmp_path: Path) -> None:
    for number, name in enumerate([*OBEYED, *HFS, *NTFS, *DOT_GIT]):
        os.symlink(b"target %d" % number, os.path.join(os.fsencode(run), name))
    round_trip(run)
    gitrun.lock(run)
    assert_clone_has_all_bytes(run, tmp_path / "clone")


def test_a14_names_that_look_like_safe_ones(run: Path, tmp_path: Path) -> None:
    """`.git` lies in the tree as `%2Egit`; a file that has that name must not collide with it."""
    assert_names_come_back(run, tmp_path, b".git", b"%2Egit", b"%252Egit", b"%2egit", b"%2E", b"%")
    paths = [entry.tree_path or entry.path for entry in record(run).entries]
    assert len(paths) == len(set(paths))


# -- 15 to 19: names of other systems, and very long ones --


def test_a15_backslash(run: Path, tmp_path: Path) -> None:
    """The half about Windows: gitrun does not run there."""
    assert_names_come_back(run, tmp_path, b"..\\..\\evil", b"C:\\x", b"\\", b"a\\", b"\\n")


def test_a16_names_that_windows_cannot_hold(run: Path, tmp_path: Path) -> None:
    """`doctor --portable` is not part of these commands."""
    assert_names_come_back(run, tmp_path, b"CON", b"aux.txt", b"nul", b"trailing.", b"trailing ", b"a:b", b'<>"|?*')


def test_a17_names_that_differ_in_case(run: Path, tmp_path: Path) -> None:
    assert_names_come_back(run, tmp_path, b"A", b"a", "É".encode(), "é".encode())


def test_a17_restore_where_case_does_not_count(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel of a test machine need have such a file system: here every rename ends at the upper-case name.

    It is told after the work, not before: SPEC section 6 asks that all is put back, and a new run is removed again.
    """
    write(run / "A", "upper")
    write(run / "a", "lower")
    gitrun.lock(run)
    remove(run)
    rename = os.rename

    def folding(source: bytes, target: bytes, **options: int) -> None:
        rename(source, target.upper() if target == b"a" else target, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", folding)
        with pytest.raises(gitrun.SystemFailed, match="two of the run's names for one") as caught:
            gitrun.restore(run)
    assert caught.value.path == os.fsencode(run / "a")
    assert not run.exists()
    gitrun.restore(run)
    assert_untouched(run)


@pytest.mark.parametrize("name", [b"x" * 255, "é".encode() * 127, b"\n" * 255, b"." * 255], ids=repr)
def test_a18_longest_name(run: Path, tmp_path: Path, name: bytes) -> None:
    assert_names_come_back(run, tmp_path, name)


def test_a18_longest_names_of_directories_and_links(run: Path) -> None:
    name = b"d" * 255
    put(run, b"/".join([name] * 3) + b"/" + b"f" * 255, b"deep\n")
    os.symlink(b"t" * 4095, os.path.join(os.fsencode(run), b"l" * 255))
    os.mkfifo(os.path.join(os.fsencode(run), b"p" * 255))
    round_trip(run)


def test_a18_longest_name_of_a_run(tmp_path: Path) -> None:
    """`NAME.git` would be too long a name for its repository."""
    run = tmp_path / ("r" * 255)
    write(run / "file")
    round_trip(run)


def deep_file(top: Path, *names: bytes, content: bytes = b"deep\n") -> None:
    """A file below directories of these names, which may lie beyond PATH_MAX."""
    fd = os.open(top, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    with open(os.open(b"file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd), "wb") as file:
        file.write(content)
    os.close(fd)


@pytest.mark.parametrize("size", [5, 1 << 20], ids=["small", "large"])
def test_a19_path_longer_than_path_max(run: Path, size: int) -> None:
    """60 times 200 bytes; sha256sum itself cannot open it, git stores it."""
    deep_file(run, *[b"d" * 200] * 60, content=b"x" * size)
    put(run, b"beside")
    before = snapshot(run)
    gitrun.lock(run)
    stock("git", "--git-dir", gitrun.path(run), "fsck", "--strict", "--no-progress")
    assert_untouched(run)
    remove(run)
    gitrun.restore(run)
    assert_untouched(run)
    gitrun.unlock(run)
    assert snapshot(run) == before


def test_a19_change_of_a_path_longer_than_path_max(run: Path) -> None:
    deep_file(run, *[b"d" * 200] * 60)
    gitrun.lock(run)
    script = (
        "import os\nfor _ in range(60): os.chdir('d' * 200)\nos.chmod('file', 0o644)\nopen('file', 'a').write('!')\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=run, check=True)
    (found,) = gitrun.verify(run).differences
    assert (found.kind, found.path) == ("modified", b"/".join([*[b"d" * 200] * 60, b"file"]))
    gitrun.restore(run)
    assert_untouched(run)


def test_a19_program_on_a_path_longer_than_path_max(run: Path) -> None:
    deep_file(run, *[b"d" * 200] * 60)
    assert program("lock", run).code == 0
    assert program("verify", "--strict", run).code == 0
    assert program("unlock", run).code == 0


# -- 20 to 24: deep, many, strange, none --


def test_a20_deepest_directories(run: Path) -> None:
    deep_file(run, *[b"d"] * MAX_DEPTH)
    round_trip(run)


@pytest.fixture
def bottomless(run: Path) -> Iterator[Path]:
    """A run with 2,000 directories in one another, more than Python can recurse; pytest could not remove it."""
    deep_file(run, *[b"d"] * 2_000)
    yield run
    remove(run)


def test_a20_directories_too_deep(bottomless: Path) -> None:
    """Refused at the documented limit."""
    before = os.stat(bottomless)
    told = program("lock", "--json", bottomless)
    outcome = program("lock", bottomless)
    assert (told.code, outcome.code) == (5, 5)
    assert told.object["error"]["code"] == "Unsupported"
    assert told.object["error"]["path"] == os.path.join(str(bottomless), *["d"] * (MAX_DEPTH + 1))
    assert os.listdir(bottomless.parent) == ["run"] and os.listdir(bottomless) == ["d"]
    assert (os.stat(bottomless).st_mode, os.stat(bottomless).st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    failure, hint = error_lines(outcome)
    assert f"deeper than {MAX_DEPTH} levels" in failure and hint.startswith("hint: ")


def test_a21_many_files_in_one_directory(run: Path) -> None:
    """10,000 here, within 200 MB; 100,000 in scripts/bench.py."""
    for number in range(10_000):
        (run / f"file-{number}").touch()
    script = (
        "import resource, sys\n"
        "from gitrun.cli.main import run\n"
        "codes = [run([verb, sys.argv[1]]) for verb in ('lock', 'verify')]\n"
        "used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "print(max(used) // 1024, *codes, file=sys.stderr)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", script, run], env=env, capture_output=True, text=True, check=True)
    memory, *codes = map(int, done.stderr.split())
    assert codes == [0, 0]
    assert memory < 200
    assert "10,000 files" in done.stdout


@pytest.mark.parametrize("content", [b"", b"not ours\n", b'{"locked": true}\n', b"# gitrun\n", b"# gitrun lock"])
def test_a22_foreign_lock_file(run: Path, content: bytes) -> None:
    write(run / ".gitrun.lock", content)
    write(run / "file")
    assert_refused("lock", run, code="Unsupported", path=run / ".gitrun.lock")


@pytest.mark.parametrize("kind", ["directory", "symlink", "FIFO"])
def test_a22_lock_file_that_is_no_file(run: Path, kind: str) -> None:
    path = run / ".gitrun.lock"
    {"directory": path.mkdir, "symlink": lambda: path.symlink_to("file"), "FIFO": lambda: os.mkfifo(path)}[kind]()
    write(run / "file")
    assert_refused("lock", run, code="Unsupported", path=path)


def test_a22_lock_file_of_a_copied_run(run: Path, tmp_path: Path) -> None:
    """It parses as ours, and says that the run is locked."""
    write(run / "file")
    gitrun.lock(run)
    copy = tmp_path / "elsewhere" / "run"
    shutil.copytree(run, copy, symlinks=True)
    shutil.rmtree(run.parent)
    assert gitrun.verify(copy).ok
    assert_refused("lock", copy, code="RunChanged", path=copy)


def test_a22_lock_file_of_a_newer_format(run: Path) -> None:
    write(run / ".gitrun.lock", "# gitrun lock 2.0\n#\n")
    write(run / "file")
    before = snapshot(run)
    told = program("verify", "--json", run)
    assert told.code == 6 and told.object["error"]["code"] == "NewerFormat"
    assert program("lock", run).code in (5, 6)
    assert snapshot(run) == before


def test_a22_lock_file_below_the_top_is_a_file_like_any_other(run: Path) -> None:
    write(run / "sub" / ".gitrun.lock", "not ours\n")
    write(run / "sub" / ".git", "gitdir: nowhere\n")
    round_trip(run)


def test_a24_empty_run(run: Path) -> None:
    assert "0 files" in program("lock", run).out
    assert "0 files" in program("verify", run).out
    gitrun.unlock(run)
    assert round_trip(run).files == 0


def test_a24_run_of_empty_directories(run: Path) -> None:
    (run / "a" / "b").mkdir(parents=True)
    assert round_trip(run).files == 0
