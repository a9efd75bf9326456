"""The program `gitrun`: finds the verb, runs it, and turns whatever happens into an exit code.

Nothing here imports the code of a verb before it is asked for: `gitrun --help` and shell completion are instant.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from gitrun import __version__
from gitrun.cli import _signals
from gitrun.cli._console import Common, Console, prepare_streams
from gitrun.cli._failures import Failure, failure_of
from gitrun.errors import SystemFailed, UsageError

_COMPLETION = "_GITRUN_COMPLETE"
_BROKEN_PIPE = 141

VERBS = {
    "lock": ("cmd_lock", "Seal runs: store, hash, commit, tag, make read-only."),
    "verify": ("cmd_verify", "Prove that nothing in a run has changed since it was locked."),
    "unlock": ("cmd_unlock", "Make runs writable again, exactly as they were."),
    "status": ("cmd_status", "Show where runs stand, a line each."),
    "log": ("cmd_log", "Show the locks of runs, newest first."),
    "diff": ("cmd_diff", "Show what changed in a run, between locks, or between runs."),
    "fork": ("cmd_fork", "Make a new, writable run out of a locked one, which stays."),
    "export": ("cmd_export", "Write a lock out: as a bag, a tar archive, a sum list, JSON."),
    "import": ("cmd_import", "Make a locked run out of a bag or a tar archive."),
    "restore": ("cmd_restore", "Put back what differs from the lock, or a whole run that is gone."),
    "push": ("cmd_push", "Send the locks of runs to a remote."),
    "fetch": ("cmd_fetch", "Fetch what a remote has of a run, and leave the run as it is."),
    "pull": ("cmd_pull", "Bring a run to the newest lock that a remote has of it."),
    "clone": ("cmd_clone", "Bring a run from a remote, locked and verified."),
    "remote": ("cmd_remote", "List the runs that a remote has."),
    "fsck": ("cmd_fsck", "Check, and repair, the stored copies of runs."),
    "gc": ("cmd_gc", "Drop what nothing uses from stores."),
    "doctor": ("cmd_doctor", "Tell what can be done here, what is wrong, and how to mend it."),
    "guild": ("cmd_guild", "Make locked runs Guild's own: commands, auto-lock, safe restarts."),
    "path": ("cmd_path", "Print where the repositories of runs are."),
    "git": ("cmd_git", "Run git on the repository of a run."),
}
"""Each verb, with its module in this package and what `gitrun --help` says of it."""

_HELP = """Seal finished runs, prove that they did not change, and get any lost byte back.

A RUN is a directory that a tool or script wrote. Its path names it; a run of Guild AI also goes by its id or the
beginning of it. Without RUN, it is the current directory.

\b
Examples:
  gitrun lock runs/train-7       seal a run
  gitrun verify runs/train-7     did anything change?
  gitrun restore runs/train-7    put back what did
  gitrun unlock runs/train-7     make it writable again
  gitrun status --all runs       where do all runs stand?

\b
Shell completion, for bash (zsh and fish likewise):
  eval "$(_GITRUN_COMPLETE=bash_source gitrun)"
"""


class Verbs(click.Group):
    """The group of all verbs, which imports a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of their use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"gitrun.cli.{VERBS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of verbs."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, told) for verb, (_, told) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begins with; an unknown one gets the nearest verb as a hint."""
        if args[0] in VERBS or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        near = get_close_matches(args[0], VERBS, n=1, cutoff=0.5)
        raise _UnknownVerb(f"there is no command {args[0]!r}", near[0] if near else "")


class _UnknownVerb(click.UsageError):
    def __init__(self, message: str, near: str) -> None:
        super().__init__(message)
        self.hint = f"did you mean `gitrun {near}`?" if near else "`gitrun --help` lists the commands"


@click.group(
    cls=Verbs,
    name="gitrun",
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, message="gitrun %(version)s")
def gitrun() -> None:
    """Nothing is done before a verb is."""


def main() -> NoReturn:
    """Runs the command line of this process, and exits."""
    gc.disable()  # a command is over before garbage matters; over 10,000 entries the collector takes a fifth of the time
    prepare_streams()
    _signals.install()
    _exit(run(sys.argv[1:]))


def _exit(code: int) -> NoReturn:
    """Ends the process at once: taking apart what was read of 10,000 files would take longer than hashing them."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        code = code or SystemFailed.exit_code
    os._exit(code)


def run(args: Sequence[str]) -> int:
    """The exit code of a command line; whatever is to be said of a failure has been said."""
    try:
        code = _complete() if _COMPLETION in os.environ else _invoke(list(args))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _leave_quietly()
    except BaseException as error:
        return _close(_tell(_failure(error, debug="--debug" in args), json="--json" in args))


def _close(code: int) -> int:
    """Flushes what can be flushed; where stdout is a full disk, Python shall not complain of it once more at the exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _invoke(args: list[str]) -> int:
    if not args:
        click.echo(gitrun.get_help(click.Context(gitrun, info_name="gitrun", max_content_width=80)), err=True)
        return UsageError.exit_code
    try:
        with gitrun.make_context("gitrun", args) as context:
            return int(gitrun.invoke(context) or 0)
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code


def _complete() -> int:
    from click.shell_completion import shell_complete

    return shell_complete(gitrun, {}, "gitrun", _COMPLETION, os.environ[_COMPLETION])


def _failure(error: BaseException, *, debug: bool) -> Failure:
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = getattr(error, "hint", "") or f"`{context.command_path if context else 'gitrun'} --help` tells how"
        message = error.format_message().rstrip(".")
        return Failure(UsageError.exit_code, UsageError.__name__, message[:1].lower() + message[1:], None, hint)
    return failure_of(KeyboardInterrupt() if isinstance(error, click.Abort) else error, "do that", debug=debug)


def _tell(failure: Failure, *, json: bool) -> int:
    try:
        console = Console(Common(json=json))
        if json:
            from gitrun.cli._runner import failure_json

            console.json(failure_json(failure, b""))
        else:
            console.failure(failure)
    except BrokenPipeError:
        return _leave_quietly()
    except OSError:
        pass  # nowhere to tell it: the code must do
    return failure.exit


def _leave_quietly() -> int:
    """Whoever read our output has enough: no more of it is written, not even what the exit would flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    return _BROKEN_PIPE
