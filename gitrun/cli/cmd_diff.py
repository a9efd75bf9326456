"""`gitrun diff`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from tempfile import TemporaryDirectory

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import common_options, complete_directories
from gitrun.cli._units import counted, human_size
from gitrun.errors import DifferencesFound
from gitrun.names import display
from gitrun.results.diff import Change, DiffResult

_LETTERS = {"added": "A", "deleted": "D", "modified": "M", "type": "T", "renamed": "R"}
"""As git has them; whatever else changed counts as modified."""
_PATHS = "gitrun.paths"
_SUFFIX = re.compile(r"(.*?)((?:~[0-9]*|\^+)?)", re.DOTALL)
_ID = re.compile(r"[0-9a-f]{4,32}")
"""The beginning of a Guild run's id."""
_SAME = 100
_COLOURS = {b"+": "green", b"-": "red", b"@": "dim"}


class _Diff(click.Command):
    """Keeps apart what stands behind `--`, which click would not tell from the rest."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words before `--`; those behind it are kept in the context."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_PATHS] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])


@click.command("diff", cls=_Diff)
@click.argument("words", metavar="[RUN [OLD [NEW]]] [-- PATH...]", nargs=-1, shell_complete=complete_directories)
@click.option("--stat", is_flag=True, help="How many lines of each file changed.")
@click.option("--name-status", is_flag=True, help="The paths alone, with git's letters.")
@click.option("--origin", is_flag=True, help="From the lock that RUN was forked from.")
@click.option("--exit-code", is_flag=True, help="Exit code 4 where there are differences.")
@click.option("--tool", is_flag=True, help="Show it in the tool that `git difftool` is configured for.")
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    words: tuple[str, ...],
    stat: bool,
    name_status: bool,
    origin: bool,
    exit_code: bool,
    tool: bool,
    common: Common,
) -> int:
    """Show what changed in a run, between locks, or between runs.

    RUN alone: from its last lock to what it is now, locked or unlocked since. With OLD: from there to what it is now.
    With OLD and NEW: from one to the other. Each is a lock of the run (~1, locked, a commit, refs/gitrun/locks/N, or
    RUN~1), another run as it is now, or OTHER~1 for its last lock but one. Mutable files are shown apart.

    \b
    Examples:
      gitrun diff runs/7                 what changed since it was locked?
      gitrun diff runs/7 runs/7~1        ...since the lock before, as by a restart
      gitrun diff runs/7 ~2 ~1           between two locks
      gitrun diff --stat runs/7 runs/8   from another run to this one
      gitrun diff runs/7 -- metrics.json
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.diff import diff
    from gitrun.settings import load

    if len(words) > 3:
        raise click.UsageError("too many words: RUN OLD NEW at most; PATHs stand behind `--`")
    if origin and len(words) > 1:
        raise click.UsageError("--origin says what OLD is")
    if tool and (stat or name_status or common.json):
        raise click.UsageError("--tool shows it in a window of its own: no --stat, --name-status or --json with it")
    run, old, new = (*words, *(".", "", "")[len(words) :])
    old, new = _side(old, run), _side(new, run)
    old = "origin" if origin else old
    paths = ctx.meta[_PATHS]
    settings = load()

    def work(task: Task, into: str | None = None) -> DiffResult:
        result = diff(
            task.path,
            old,
            new,
            paths=paths,
            patch=not (name_status or tool),
            into=into,
            jobs=task.jobs,
            settings=settings,
            progress=task.progress,
        )
        return replace(result, exit=DifferencesFound.exit_code) if exit_code and result else result

    def tell(result: DiffResult, console: Console) -> None:
        show(result, console, stat=stat, name_status=name_status)

    targets = resolve((run,), (), settings)
    if tool:
        with TemporaryDirectory(prefix="gitrun-diff-") as top:
            verb = Verb("diff", lambda task: work(task, top), lambda result, console: _in_tool(result, console, top))
            return run_each(verb, targets, common)
    return run_each(Verb("diff", work, tell, paged=True), targets, common)


def _in_tool(result: DiffResult, console: Console, top: str) -> None:
    from gitrun.cli._difftool import show_in_tool

    if result.changes or result.mutable:
        show_in_tool(top)
    else:
        console.note("no differences")


def _side(word: str, run: str) -> str:
    """`RUN~1` means a lock of RUN, however RUN was named, as `~1` does; a Guild run goes by the beginning of its id, too."""
    name, suffix = _SUFFIX.fullmatch(word).groups()  # type: ignore[union-attr]  # it matches any text
    if name == run and suffix:
        return suffix
    if not _ID.fullmatch(name) or os.path.isdir(name):
        return word
    from gitrun.cli._targets import guild_run

    found = guild_run(name)
    return os.fsdecode(found) + suffix if found else word


def show(result: DiffResult, console: Console, *, stat: bool, name_status: bool) -> None:
    """The changes in the wanted form, those of mutable files apart."""
    form = _name_status if name_status else _stat if stat else _patch
    form(result.changes, console)
    if result.mutable:
        console.data(f"{counted(len(result.mutable), 'mutable file')} changed, as they may:")
        form(result.mutable, console)
    if not result.changes and not result.mutable:
        console.note("no differences")
    console.notes(result.notes)


def _name_status(changes: tuple[Change, ...], console: Console) -> None:
    for change in changes:
        console.data(f"{_LETTERS.get(change.kind, 'M')}  {_name(change)}")


def _stat(changes: tuple[Change, ...], console: Console) -> None:
    width = max((len(_name(change)) for change in changes), default=0)
    for change in changes:
        console.data(f"  {_name(change):{width}}  ", *_counts(change))
    added, deleted = sum(it.added_lines or 0 for it in changes), sum(it.deleted_lines or 0 for it in changes)
    if changes:
        console.data(f"  {counted(len(changes), 'path')} changed, {counted(added, 'line')} added, {deleted:,} deleted")


def _name(change: Change) -> str:
    name = display(change.path) or "."
    return f"{display(change.renamed_from)} => {name}" if change.renamed_from else name


def _counts(change: Change) -> list[str | Painted]:
    if change.added_lines is not None:
        return [Painted(f"+{change.added_lines:,}", "green"), " ", Painted(f"-{change.deleted_lines:,}", "red")]
    if change.kind in ("modified", "added", "deleted", "mutable"):
        return [f"{change.kind}, {human_size(change.old_size)} -> {human_size(change.new_size)}"]
    if change.kind == "renamed":
        return ["renamed" if change.similarity == _SAME else f"renamed, {change.similarity} % the same"]
    return [f"{change.kind}, {change.expected} -> {change.actual}"]


def _patch(changes: tuple[Change, ...], console: Console) -> None:
    for change in changes:
        _header(change, console)
        for line in _lines(change.patch):
            _line(line, console)
        if change.note:
            console.note(Painted("note:", "yellow"), f" {display(change.path)}: {change.note}")


def _header(change: Change, console: Console) -> None:
    old, new = _quoted(b"a/" + (change.renamed_from or change.path)), _quoted(b"b/" + change.path)
    if change.kind == "renamed":
        _rename_header(change, f"{old} {new}", console)
    else:
        console.data(Painted(f"diff {old} {new}", "bold"))
    if change.added_lines is not None:
        _file_line(f"--- {old if change.expected else '/dev/null'}", console)
        _file_line(f"+++ {new if change.actual else '/dev/null'}", console)
    elif change.similarity != _SAME:
        for sign, told in (("-", change.expected), ("+", change.actual)):
            if told:
                console.data(Painted(f"{sign}{change.kind}: {told}", _COLOURS[sign.encode()]))


def _rename_header(change: Change, names: str, console: Console) -> None:
    """As git writes it: patch and `git apply` move the file then."""
    console.data(Painted(f"diff --git {names}", "bold"))
    console.data(Painted(f"similarity index {change.similarity}%", "bold"))
    console.data(Painted(f"rename from {_quoted(change.renamed_from)}", "bold"))
    console.data(Painted(f"rename to {_quoted(change.path)}", "bold"))


def _file_line(line: str, console: Console) -> None:
    if console.width:
        console.data(Painted(line, "bold"))
    else:  # a name with spaces ends at a tab, for those who read it
        console.exact(os.fsencode(line) + (b"\t" if " " in line[4:] else b""))


def _quoted(path: bytes) -> str:
    """A name as git and patch read it from a diff: in quotes, with octal escapes, where it is not plain to see."""
    shown = display(path)
    if shown.encode() == path and '"' not in shown:
        return shown
    escaped = (f"\\{byte:03o}" if byte < 0x20 or byte > 0x7E or byte in b'"\\' else chr(byte) for byte in path)
    return f'"{"".join(escaped)}"'


def _lines(patch: bytes) -> list[bytes]:
    """By newlines alone: a carriage return, or a form feed, is part of its line."""
    return patch.removesuffix(b"\n").split(b"\n") if patch else []


def _line(line: bytes, console: Console) -> None:
    """Exact into a pipe; on a terminal with colours, and without raw control characters but tabs."""
    if not console.width:
        console.exact(line)
        return
    colour = _COLOURS.get(line[:1], "")
    console.data(Painted(line.decode("utf-8", "surrogateescape").expandtabs(), colour))
