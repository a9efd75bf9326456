"""Run directories made by hand, one maker for each layout."""

from __future__ import annotations

from pathlib import Path

GUILD_ID = "0123456789abcdef0123456789abcdef"


def make_plain(parent: Path, name: str = "run") -> Path:
    """A directory that no tool marked."""
    run = parent / name
    run.mkdir(parents=True)
    (run / "result.txt").write_text("42\n")
    return run


def make_guild(parent: Path, name: str = GUILD_ID) -> Path:
    """A finished Guild run, with the files that tell about it."""
    run = make_plain(parent, name)
    (run / ".guild" / "attrs").mkdir(parents=True)
    (run / ".guild" / "opref").write_text("guildfile:/project/guild.yml 00ff '' train")
    attribute(run, "id", GUILD_ID + "\n")
    attribute(run, "label", "lr=0.1\n")
    attribute(run, "exit_status", "0\n")
    return run


def attribute(run: Path, name: str, content: str | bytes) -> None:
    """Writes an attribute of a Guild run, as the bytes or the text that stand in its file."""
    data = content if isinstance(content, bytes) else content.encode()
    (run / ".guild" / "attrs" / name).write_bytes(data)


MAKERS = {"guild": make_guild, "plain": make_plain}
"""By the name of the layout: the conformance tests ask for one of each."""
