"""`guild runs lock`, `unlock`, `verify`, `fork` and `history`, and the same without `runs`, in Guild's own style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from guild import cli, click_util
from guild.commands import runs_support

from . import program

_yes = click.option("-y", "--yes", help="Do not prompt before going on.", is_flag=True)


def patch(module: Any) -> None:
    """Adds the commands to the group that the module defines."""
    group = module.main if module.__name__.endswith(".main") else module.runs
    for command in (lock_runs, unlock_runs, verify_runs, fork_run, run_history):
        group.add_command(command)


@click.command("lock")
@runs_support.runs_arg
@runs_support.all_filters
@click.option("-m", "--message", metavar="MSG", help="Use MSG as the lock's message.")
@_yes
@click.pass_context
@click_util.use_args
@click_util.render_doc
def lock_runs(ctx: Any, args: Any) -> None:
    """Lock runs: seal their files against changes.

    A locked run is read-only, and gitrun keeps a copy of all its
    files. Use ``guild runs verify`` to see if anything changed since,
    and ``guild runs unlock`` to make a run writable again. Labels,
    tags and comments of locked runs can be changed.

    {{ runs_support.runs_arg }}

    If a `RUN` argument is not specified, ``1`` is assumed (the most
    recent run).

    {{ runs_support.all_filters }}

    """
    message = ["--message", args.message] if args.message else []
    _change(ctx, args, ["lock", *message], "lock")


@click.command("unlock")
@runs_support.runs_arg
@runs_support.all_filters
@_yes
@click.pass_context
@click_util.use_args
@click_util.render_doc
def unlock_runs(ctx: Any, args: Any) -> None:
    """Unlock runs: make their files writable again.

    The permissions of each file are what they were before the run was
    locked. The lock stays in the run's history.

    {{ runs_support.runs_arg }}

    If a `RUN` argument is not specified, ``1`` is assumed (the most
    recent run).

    {{ runs_support.all_filters }}

    """
    _change(ctx, args, ["unlock"], "unlock")


@click.command("verify")
@runs_support.runs_arg
@runs_support.all_filters
@click.option("--quick", is_flag=True, help="Trust files whose size, times and inode have not changed.")
@click.option("--strict", is_flag=True, help="Take changed permissions and times for changes, too.")
@click.pass_context
@click_util.use_args
@click_util.render_doc
def verify_runs(ctx: Any, args: Any) -> None:
    """Verify that locked runs have not changed.

    Every file of a locked run is read and compared with what was
    locked. The exit code is 0 if nothing changed, 3 if a run is not
    locked, and 4 if something changed.

    {{ runs_support.runs_arg }}

    If a `RUN` argument is not specified, ``1`` is assumed (the most
    recent run).

    {{ runs_support.all_filters }}

    """
    options = [name for name, given in (("--quick", args.quick), ("--strict", args.strict)) if given]
    _call(["verify", *options], _selected(ctx, args))


@click.command("history")
@runs_support.runs_arg
@runs_support.all_filters
@click.option("--stat", is_flag=True, help="List what each lock changed.")
@click.pass_context
@click_util.use_args
@click_util.render_doc
def run_history(ctx: Any, args: Any) -> None:
    """Show the locks of runs, newest first.

    {{ runs_support.runs_arg }}

    If a `RUN` argument is not specified, ``1`` is assumed (the most
    recent run).

    {{ runs_support.all_filters }}

    """
    _call(["log", *(["--stat"] if args.stat else [])], _selected(ctx, args))


@click.command("fork")
@runs_support.run_arg
@runs_support.all_filters
@_yes
@click.pass_context
@click_util.use_args
@click_util.render_doc
def fork_run(ctx: Any, args: Any) -> None:
    """Make a new run out of a locked one.

    The new run has an ID of its own and the files of the locked run,
    which stays as it is. Use ``guild run --restart`` to run it.

    {{ runs_support.run_arg }}

    If a `RUN` argument is not specified, the most recent run is
    selected.

    {{ runs_support.all_filters }}

    """
    args.runs = (args.run,) if args.run else ()
    _change(ctx, args, ["fork"], "fork", most=1)


def _selected(ctx: Any, args: Any) -> list[Any]:
    from guild.commands import runs_impl

    runs = runs_impl.runs_op_selected(args, ctx, runs_impl.LATEST_RUN_ARG)
    if not runs:
        cli.error("no matching runs")
    return list(runs)


def _change(ctx: Any, args: Any, command: Sequence[str], verb: str, most: int = 0) -> None:
    """Shows the runs and asks, as Guild does, then has gitrun do it."""
    from guild.commands import runs_impl

    def do(selected: Sequence[Any]) -> None:
        if most and len(selected) > most:
            cli.error(f"{len(selected)} runs are selected, where one can be; name it by its ID")
        _call(command, selected)

    preview = f"You are about to {verb} the following runs:"
    confirm = verb.capitalize() + " {count} run(s)?"
    runs_impl.runs_op(args, ctx, preview, confirm, f"No runs to {verb}.", do, runs_impl.LATEST_RUN_ARG, True)


def _call(command: Sequence[str], runs: Sequence[Any]) -> None:
    try:
        code = program.call([*command, "--", *(run.dir for run in runs)])
    except program.Missing as error:
        cli.error(str(error))
    if code:
        raise SystemExit(code)
