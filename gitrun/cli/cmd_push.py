"""`gitrun push`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gitrun.cli._console import Common, Console, Painted
from gitrun.cli._options import all_option, common_options, remote_words, runs_and_remote
from gitrun.cli._report import title
from gitrun.cli._units import counted, human_size
from gitrun.results.push import PushResult

if TYPE_CHECKING:
    from gitrun.settings import Settings


@click.command("push")
@remote_words
@all_option
@click.option("--force", is_flag=True, help="Let the remote's refs of the run go backwards or sideways.")
@click.option("--verify", is_flag=True, help="Read the remote copy back, and keep a receipt.")
@click.option(
    "--sample", metavar="PERCENT", default="100%", help="With --verify: so many of the large files (default: all)."
)
@click.option("--upstream", is_flag=True, help="First push the runs that this one links to, and theirs.")
@common_options
def command(
    words: tuple[str, ...],
    below: tuple[str, ...],
    force: bool,
    verify: bool,
    sample: str,
    upstream: bool,
    common: Common,
) -> int:
    """Send the locks of runs to a remote.

    REMOTE is a bare repository on a disk, https://..., ssh://... or host:path, by default `gitrun.remote`. It can hold any
    number of runs; with {run} in it, it means a repository for each. Large files go first, by git-lfs, then the history,
    then the tag: a push that stopped half-way is finished by the next one. Of two or more words the last one is REMOTE; with
    --all DIR, the only one is.

    \b
    Examples:
      gitrun push runs/7 /backup/runs.git
      gitrun push --verify --sample 5% runs/7
      gitrun push --all runs https://git.example/team/runs.git
    """
    from gitrun.cli._runner import Task, Verb, run_each
    from gitrun.cli._targets import resolve
    from gitrun.ops.push import push
    from gitrun.settings import load

    runs, remote = runs_and_remote(words, below)
    settings = load()
    if (below or len(runs) > 1) and not (verify or upstream):
        return _all_at_once(runs, below, remote, force, settings, common)
    share = _share(sample)

    def work(task: Task) -> PushResult:
        return push(
            task.path,
            remote,
            force=force,
            verify=verify,
            sample=share,
            upstream=upstream,
            settings=settings,
            progress=task.progress,
        )

    return run_each(Verb("push", work, show), resolve(runs, below, settings), common._replace(jobs=1))


def _all_at_once(
    runs: tuple[str, ...], below: tuple[str, ...], remote: str, force: bool, settings: Settings, common: Common
) -> int:
    """All runs over one connection, where the remote is one for all."""
    from gitrun.cli._runner import Task, Verb, run_each, shown_progress
    from gitrun.cli._targets import resolve
    from gitrun.errors import GitrunError
    from gitrun.ops.push import push, push_all
    from gitrun.progress import SILENT
    from gitrun.remotes.address import RUN

    targets = resolve(runs, below, settings)
    paths = [target.path for target in targets if target.failure is None]
    own = RUN in (remote or settings.remote)
    told: dict[bytes, PushResult | GitrunError] = {}
    if not own:
        with shown_progress(Console(common)) as bar:
            results = push_all(paths, remote, force=force, settings=settings, progress=bar or SILENT)
        told = dict(zip(paths, results, strict=True))

    def work(task: Task) -> PushResult:
        result = told.get(task.path)
        if isinstance(result, GitrunError):
            raise result
        return result or push(task.path, remote, force=force, settings=settings, progress=task.progress)

    return run_each(Verb("push", work, show), targets, common._replace(jobs=1))


def _share(told: str) -> float:
    try:
        return float(told.removesuffix("%"))
    except ValueError:
        raise click.UsageError(f"not a share: {told!r}; write it like 5%") from None


def show(result: PushResult, console: Console) -> None:
    """What is on the remote now."""
    name = title(result.path, result.run)
    if result.already:
        console.good("already there", f" {name}: {result.remote}")
    else:
        large = f"{counted(result.sent_objects, 'large file')}, {human_size(result.sent_bytes)} sent"
        told = large if result.sent_objects else "no large files"
        console.good(Painted("pushed", "green"), f" {name}: {told}, to {result.remote}")
    if result.verified_objects:
        console.good(f"  read back: {counted(result.verified_objects, 'large file')}")
    console.notes(result.notes)
