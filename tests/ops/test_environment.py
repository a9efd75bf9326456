"""What surrounds the process (cases F117 to F130): settings, variables, programs and owners that must not matter."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gitrun
from tests.ops.runs import fill, overwrite, remove, repository_of
from tests.support.mounts import needs_root
from tests.support.picture import picture
from tests.support.program import Told, git
from tests.support.program import gitrun as program
from tests.support.tools import CHECKOUT
from tests.support.users import give, user_python

Call = Callable[..., Told]
Ask = Callable[..., dict[str, Any]]
PATH = "/usr/local/bin:/usr/bin:/bin"


def every_verb(run: Path, env: dict[str, str], **options: Any) -> str:
    """Locks, looks, damages, restores and unlocks under `env`; returns the tree of the lock."""

    def call(*words: str | Path) -> Told:
        told = program(*words, env=env, **options)
        assert told.code == 0, (words, told.err)
        assert "Traceback" not in told.err
        return told

    call("lock", "--json", run)
    config = run / "config.yaml"
    owner = config.stat()
    overwrite(config, b"damaged")
    os.chown(config, owner.st_uid, owner.st_gid)
    call("restore", run)
    call("verify", "--strict", run)
    tree = git(repository_of(run), "-c", "safe.directory=*", "rev-parse", "main^{tree}")
    call("unlock", run)
    return tree


@pytest.fixture
def clean(run: Path, hermetic: Path) -> str:
    """The tree that the run has without anything special around."""
    gitrun.lock(run)
    tree = git(repository_of(run), "rev-parse", "main^{tree}")
    gitrun.unlock(run)
    return tree


class TestHome:
    @pytest.mark.parametrize("home", [None, "/nonexistent", "relative"])
    def test_f117_no_usable_home(self, run: Path, clean: str, home: str | None) -> None:
        environment = {"PATH": PATH} | ({} if home is None else {"HOME": home})
        assert every_verb(run, environment) == clean

    def test_f117_a_home_that_cannot_be_written(self, users_run: Path, shared_tmp: Path) -> None:
        home = shared_tmp / "home"
        home.mkdir(mode=0o555)
        every_verb(users_run, {"PATH": PATH, "HOME": str(home)}, user=True)
        assert list(home.iterdir()) == []

    def test_f117_an_empty_environment(self, run: Path, clean: str) -> None:
        assert every_verb(run, {}) == clean

    def test_f117_a_user_without_a_passwd_entry(self, users_run: Path) -> None:
        needs_root()
        subprocess.run(["chown", "-R", "54321:54321", users_run.parent], check=True)
        become = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "env", "--"]
        words = [*become, user_python(), "-m", "gitrun", "lock", users_run]
        environment = {"PATH": PATH, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        author = git(repository_of(users_run), "-c", "safe.directory=*", "log", "-1", "--format=%an <%ae>")
        assert author.startswith("uid54321 <uid54321@")

    def test_f125_nothing_is_written_into_the_home_of_whoever_called_sudo(self, run: Path, hermetic: Path) -> None:
        every_verb(run, {"PATH": PATH, "HOME": str(hermetic), "SUDO_USER": "somebody", "SUDO_UID": "1000"})
        assert list(hermetic.iterdir()) == []


def canary(directory: Path, name: str) -> Path:
    """A program that betrays that it was started."""
    directory.mkdir(exist_ok=True, parents=True)
    program = directory / name
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {directory}/started\nexec cat\n')
    program.chmod(0o755)
    return program


def hostile_configuration(trap: Path) -> str:
    """Global configuration that changes what git does, or starts a program, wherever git would let it."""
    it = canary(trap, "canary")
    (trap / "hooks").mkdir()
    for hook in ("pre-commit", "post-commit", "reference-transaction", "post-checkout", "update", "post-update"):
        shutil.copy(it, trap / "hooks" / hook)
    (trap / "template" / "hooks").mkdir(parents=True)
    shutil.copy(it, trap / "template" / "hooks" / "post-commit")
    (trap / "ignore").write_text("*\n")
    (trap / "attributes").write_text("* text eol=crlf filter=evil ident working-tree-encoding=UTF-16\n")
    (trap / "included").write_text("[core]\n\tautocrlf = true\n")
    return f"""
[core]
  autocrlf = true
  safecrlf = true
  eol = crlf
  hooksPath = {trap}/hooks
  fsmonitor = {it}
  excludesFile = {trap}/ignore
  attributesFile = {trap}/attributes
  ignoreCase = true
  fileMode = false
  symlinks = false
  precomposeUnicode = true
  bigFileThreshold = 1
  compression = 9
  sshCommand = {it}
  pager = {it}
  editor = {it}
  askPass = {it}
  quotePath = true
  worktree = /
  gitProxy = {it}
[commit]
  gpgSign = true
[tag]
  gpgSign = true
  forceSignAnnotated = true
[gpg]
  program = {it}
[init]
  templateDir = {trap}/template
  defaultBranch = trunk
  defaultObjectFormat = sha256
[filter "evil"]
  clean = {it}
  smudge = {it}
  process = {it}
  required = true
[filter "lfs"]
  clean = {it}
  smudge = {it}
  process = {it}
  required = true
[url "ext::{it}"]
  insteadOf = /
  pushInsteadOf = /
[credential]
  helper = {it}
[include]
  path = {trap}/included
[safe]
  bareRepository = explicit
[extensions]
  worktreeConfig = true
  objectFormat = sha256
[alias]
  config = !{it}
[diff]
  external = {it}
[diff "lfs"]
  textconv = {it}
[gc]
  auto = 1
[maintenance]
  auto = true
[i18n]
  commitEncoding = UTF-16
[user]
  useConfigOnly = true
[lfs]
  storage = {trap}/storage
  customtransfer = {it}
"""


class TestConfiguration:
    def test_f118_no_identity(self, run: Path, clean: str, hermetic: Path) -> None:
        (hermetic / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
        assert every_verb(run, dict(os.environ)) == clean

    def test_f119_a_hostile_global_configuration(self, run: Path, clean: str, hermetic: Path) -> None:
        trap = run.parent.parent / "trap"
        trap.mkdir()
        (hermetic / ".gitconfig").write_text(hostile_configuration(trap))
        (hermetic / ".config" / "git").mkdir(parents=True)
        (hermetic / ".config" / "git" / "attributes").write_text("* text eol=crlf\n")
        (hermetic / ".config" / "git" / "ignore").write_text("*\n")
        assert every_verb(run, dict(os.environ)) == clean
        gitrun.lock(run)
        for verb in ("fsck", "path", "gc"):
            assert program(verb, run.parent if verb == "gc" else run).code == 0
        remove(run)
        assert program("restore", run).code == 0
        assert not (trap / "started").exists(), (trap / "started").read_text()
        assert not (trap / "storage").exists()

    @pytest.mark.parametrize("broken", ["[core\n", "[gitrun]\n\tlargeThreshold = x\n", "\0\xff"])
    def test_f119_a_broken_global_configuration(self, run: Path, hermetic: Path, broken: str) -> None:
        (hermetic / ".gitconfig").write_text(broken, encoding="latin-1")
        told = program("lock", run)
        assert told.code in (0, 2) and "Traceback" not in told.err

    def test_f119_configuration_in_the_run_and_around_it_counts_nothing(
        self, run: Path, clean: str, hermetic: Path
    ) -> None:
        trap = run.parent.parent / "trap"
        trap.mkdir()
        subprocess.run(["git", "init", "-q", run.parent], check=True)
        (run.parent / ".gitignore").write_text("*\n")
        (run.parent / ".gitattributes").write_text("* text eol=crlf filter=evil\n")
        with open(run.parent / ".git" / "config", "a") as config:
            config.write(hostile_configuration(trap).replace("objectFormat = sha256", "").replace("worktree = /", ""))
            config.write("[gitrun]\n\tlargeThreshold = 1\n\tstore = /nonexistent\n")
        assert every_verb(run, dict(os.environ), cwd=run.parent) == clean
        assert not (trap / "started").exists(), (trap / "started").read_text()


class TestVariables:
    @pytest.mark.parametrize(
        "variables",
        [
            {"GIT_DIR": "TRAP/other.git"},
            {
                "GIT_DIR": "TRAP/other.git",
                "GIT_WORK_TREE": "TRAP",
                "GIT_INDEX_FILE": "TRAP/index",
                "GIT_OBJECT_DIRECTORY": "TRAP/objects",
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": "TRAP/other.git/objects",
                "GIT_NAMESPACE": "other",
                "GIT_CEILING_DIRECTORIES": "/",
                "GIT_QUARANTINE_PATH": "TRAP",
                "GIT_PREFIX": "sub/",
            },
            {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "gitrun.largeThreshold",
                "GIT_CONFIG_VALUE_0": "1",
                "GIT_CONFIG_PARAMETERS": "'core.autocrlf=true' 'gitrun.largethreshold=1'",
            },
            {"GIT_TRACE": "TRAP/trace", "GIT_TRACE2": "TRAP/trace", "GIT_TRACE_SETUP": "TRAP/trace"},
            {
                "GIT_EXTERNAL_DIFF": "CANARY",
                "GIT_SSH_COMMAND": "CANARY",
                "GIT_ASKPASS": "CANARY",
                "GIT_PAGER": "CANARY",
            },
            {"GIT_EXEC_PATH": "TRAP/exec", "GIT_TEMPLATE_DIR": "TRAP"},
            {
                "GIT_NO_REPLACE_OBJECTS": "0",
                "GIT_REPLACE_REF_BASE": "refs/heads",
                "GIT_GRAFT_FILE": "TRAP/grafts",
                "GIT_AUTHOR_DATE": "1970-01-01T00:00:00Z",
                "GIT_COMMITTER_DATE": "nonsense",
                "GIT_DEFAULT_HASH": "sha256",
                "GIT_LITERAL_PATHSPECS": "1",
            },
            {"TMPDIR": "/nonexistent", "TEMP": "/nonexistent", "TMP": "/nonexistent", "TZ": "Pacific/Kiritimati"},
            {"LC_ALL": "C"},
            {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR"},
            {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2"},
            {"COLUMNS": "20", "NO_COLOR": "1", "TERM": "vt100"},
            {"COLUMNS": "x", "LINES": "-1", "TERM": ""},
        ],
        ids=lambda variables: ",".join(f"{k}={v}"[:24] for k, v in list(variables.items())[:1]),
    )
    def test_f120_variables_change_nothing(self, run: Path, clean: str, variables: dict[str, str]) -> None:
        trap = run.parent.parent / "trap"
        it = canary(trap, "canary")
        subprocess.run(["git", "init", "-q", "--bare", trap / "other.git"], check=True)
        before = picture(trap)
        replaced = {k: v.replace("TRAP", str(trap)).replace("CANARY", str(it)) for k, v in variables.items()}
        assert every_verb(run, {**os.environ, **replaced}) == clean
        assert picture(trap) == before

    def test_f120_called_from_a_git_hook(self, run: Path, clean: str) -> None:
        project = run.parent.parent / "project"
        subprocess.run(["git", "init", "-q", project], check=True)
        hook = project / ".git" / "hooks" / "pre-commit"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\nexec {sys.executable} -m gitrun lock {run}\n")
        hook.chmod(0o755)
        (project / "file").write_text("x")
        subprocess.run(["git", "add", "file"], cwd=project, check=True)
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "EMAIL": "a@b"}
        command = ["git", "-c", "user.name=x", "commit", "-q", "-m", "x"]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert git(repository_of(run), "rev-parse", "main^{tree}") == clean
        assert git(project / ".git", "ls-tree", "--name-only", "HEAD") == "file"

    def test_f120_names_of_any_bytes_in_an_ascii_locale(self, run: Path) -> None:
        (run / os.fsdecode(b"\xff\xc3\xa9")).write_text("x")
        strange = run.rename(run.with_name(os.fsdecode(b"r\xff\xc3\xa9")))
        for locale in ("C", "C.UTF-8"):
            every_verb(strange, {"PATH": PATH, "LC_ALL": locale})


class TestPrograms:
    def test_f121_git_is_missing(self, run: Path, clean: str) -> None:
        assert every_verb(run, {"PATH": "/nonexistent", "HOME": "/nonexistent"}) == clean

    def test_f121_a_git_in_the_run_or_the_current_directory_is_never_started(self, run: Path) -> None:
        for directory in (run, run.parent):
            canary(directory, "git")
            canary(directory, "git-lfs")
        before = picture(run)
        environment = {"PATH": f".::{PATH}", "HOME": "/nonexistent"}
        every_verb(run, environment, cwd=run)
        assert program("lock", run, env=environment, cwd=run.parent).code == 0
        gitrun.unlock(run)
        assert picture(run) == before
        assert not (run.parent / "started").exists()

    @pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "kill -9 $$", "printf 'gitrun.store\\n'"])
    def test_f121_a_git_that_is_none(self, run: Path, clean: str, script: str) -> None:
        fake = run.parent.parent / "bin" / "git"
        fake.parent.mkdir()
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        assert every_verb(run, {"PATH": str(fake.parent), "HOME": "/nonexistent"}) == clean


class TestOwners:
    def test_f126_a_store_of_somebody_else_is_refused(self, users_run: Path) -> None:
        needs_root()
        assert program("lock", users_run, user=True).code == 0
        assert program("unlock", users_run, user=True).code == 0
        subprocess.run(["chown", "-R", "12345:12345", users_run.parent / ".gitrun"], check=True)
        subprocess.run(["chmod", "-R", "a+rwX", users_run.parent / ".gitrun"], check=True)
        before = picture(users_run)
        told = program("lock", "--json", users_run, user=True).object
        assert told["exit"] == 5 and "12345" in told["error"]["message"]
        assert told["error"]["path"].endswith("train.git")
        assert picture(users_run) == before

    def test_f126_a_store_that_root_made_for_a_user_is_not(self, users_run: Path, call: Call) -> None:
        needs_root()
        assert call("lock", users_run).code == 0
        assert program("unlock", users_run, user=True).code == 0

    def test_f127_a_parent_that_everybody_can_write_to(self, users_run: Path) -> None:
        users_run.parent.chmod(0o1777)
        every_verb(users_run, {"PATH": PATH}, user=True)
        store = users_run.parent / ".gitrun"
        assert not [p for p in [store, *store.rglob("*")] if p.lstat().st_mode & 0o002]

    @pytest.mark.parametrize("umask", ["0000", "0077", "0777"])
    def test_f127_the_umask_is_kept_to_but_never_breaks_anything(self, users_run: Path, umask: str) -> None:
        words = ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
        told = program("lock", users_run, before=words)
        assert told.code == 0, told.err
        assert program("verify", "--strict", users_run).code == 0
        assert not (users_run / ".gitrun.lock").stat().st_mode & 0o222

    def test_f128_files_of_somebody_unknown_are_told_by_number(self, users_run: Path) -> None:
        needs_root()
        os.chown(users_run / "sub" / "secret", 4294967294 >> 1, 0)
        told = program("lock", users_run, user=True)
        assert told.code == 5 and "sub/secret" in told.err

    def test_a_parent_that_cannot_be_written(self, users_run: Path) -> None:
        users_run.parent.chmod(0o555)
        before = picture(users_run)
        told = program("lock", users_run, user=True)
        assert told.code == 8 and ".gitrun" in told.err and told.err.count("\n") == 2
        assert picture(users_run) == before
        users_run.parent.chmod(0o755)


class TestSystem:
    def test_f130_without_leases(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = fcntl.fcntl

        def no_leases(fd: int, command: int, *arguments: Any) -> Any:
            if command in (fcntl.F_SETLEASE, fcntl.F_GETLEASE):
                raise OSError(22, "Invalid argument")
            return real(fd, command, *arguments)

        monkeypatch.setattr(fcntl, "fcntl", no_leases)
        assert gitrun.lock(run).exit == 0
        assert gitrun.verify(run, strict=True)

    @pytest.mark.parametrize("name", ["getxattr,lgetxattr,fgetxattr,listxattr,llistxattr,flistxattr"])
    def test_f130_without_extended_attributes(self, run: Path, name: str) -> None:
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", f"trace={name}"]
        told = program("lock", run, before=[*strace, "-e", f"inject={name}:error=EOPNOTSUPP"])
        assert told.code == 0, told.err
        assert gitrun.verify(run, strict=True)

    def test_f130_without_proc(self, run: Path) -> None:
        needs_root()
        told = program("lock", run, before=["unshare", "-m", "sh", "-c", 'umount -l /proc; exec "$@"', "sh"])
        assert told.code == 0, told.err
        told = program("unlock", run, before=["unshare", "-m", "sh", "-c", 'umount -l /proc; exec "$@"', "sh"])
        assert told.code == 0, told.err


class TestArguments:
    @pytest.mark.parametrize(
        "word", ["train", "train/", "train//", "./train", "../work/train", "train/sub/..", "link", "link/"]
    )
    def test_a_run_by_any_road(self, run: Path, ask: Ask, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (run.parent / "link").symlink_to("train")
        locked = gitrun.lock(run)
        monkeypatch.chdir(run.parent)
        for verb in ("status", "verify", "lock", "restore", "unlock"):
            told = ask(verb, word)
            assert (told["exit"], told["run"], told["path"]) == (0, locked.run, str(run))
        assert [p.name for p in (run.parent / ".gitrun").glob("*.git")] == ["train.git"]

    def test_the_current_directory_is_the_default(self, run: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(run)
        for verb in ("lock", "verify", "status", "unlock"):
            assert ask(verb)["path"] == str(run)

    def test_all_are_processed_and_the_highest_code_is_returned(self, run: Path, call: Call) -> None:
        runs = [fill(run.with_name(f"run-{n}")) for n in range(4)]
        for one in runs[1:]:
            gitrun.lock(one)
        overwrite(runs[1] / "config.yaml", b"x")
        gitrun.unlock(runs[2])
        os.mkfifo(run.with_name("pipe"))
        (repository_of(runs[3]) / "refs" / "tags" / "locked").unlink()
        told = call("verify", "--json", runs[1], runs[2], runs[3], run.with_name("nothing"), run.with_name("pipe"))
        assert [one["exit"] for one in told.objects] == [4, 3, 6, 3, 3]
        assert told.code == 6
        told = call("verify", "--json", runs[1], runs[2])
        assert told.code == 4
        told = call("lock", "--json", runs[0], runs[1], runs[2])
        assert [one["exit"] for one in told.objects] == [0, 5, 0]
        assert told.code == 5

    def test_a_run_named_twice_is_locked_once(self, run: Path, call: Call) -> None:
        told = call("lock", "--json", run, f"{run}/", run / "sub" / "..")
        assert len(told.objects) == 1 and told.code == 0


def test_a_users_place_is_left_to_the_user_whatever_root_does(users_run: Path, call: Call) -> None:
    needs_root()
    give(users_run.parent)
    for words in (["lock"], ["verify"], ["status"], ["fsck"], ["unlock"], ["lock"]):
        assert call(*words, users_run).code == 0
    overwrite(users_run / "config.yaml", b"x")
    assert call("restore", users_run).code == 0
    assert call("gc", users_run.parent).code == 0
    owners = {path: seen.owner for path, seen in picture(users_run.parent).items() if seen.owner[0] == 0}
    assert owners == {}
