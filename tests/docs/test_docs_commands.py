"""docs/commands.md has what `--help` has, and nothing else."""

from __future__ import annotations

import re
from importlib import import_module

import click
import pytest

from gitrun.cli.main import VERBS, gitrun
from tests.docs.pages import page

PAGE = page("commands.md")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMON = "Options of every command"


def command(verb: str) -> click.Command:
    found: click.Command = import_module(f"gitrun.cli.{VERBS[verb][0]}").command
    return found


def documented(section: str) -> dict[str, str]:
    """Each option in a section's definition lists, and the whole line that defines it."""
    lines = re.findall(r"^(`-.*)\n: ", SECTIONS[section], re.MULTILINE)
    return {option: line for line in lines for option in re.findall(r"`(-{1,2}[\w-]+)", line)}


def options(verb: str) -> dict[str, str]:
    """Each option of a command, and the word for its value."""
    context = click.Context(command(verb), info_name=verb)
    found = {}
    for parameter in command(verb).get_params(context):
        if isinstance(parameter, click.Option):
            value = "" if parameter.is_flag else parameter.make_metavar(context)
            found |= dict.fromkeys(parameter.opts, value)
    return found | {"-h": "", "--help": ""}


def test_every_command_has_its_section_in_the_order_of_help() -> None:
    assert [title for title in SECTIONS if title.startswith("gitrun ")] == [f"gitrun {verb}" for verb in VERBS]


@pytest.mark.parametrize("verb", VERBS)
def test_the_options_are_those_of_help(verb: str) -> None:
    assert {*documented(f"gitrun {verb}"), *documented(COMMON)} == set(options(verb))
    assert not documented(f"gitrun {verb}").keys() & documented(COMMON).keys()


@pytest.mark.parametrize("verb", VERBS)
def test_the_values_of_options_are_those_of_help(verb: str) -> None:
    told = documented(COMMON) | documented(f"gitrun {verb}")
    for option, value in options(verb).items():
        assert f"`{option} {value}`" in told[option] if value else f"`{option}`" in told[option]


@pytest.mark.parametrize("verb", VERBS)
def test_the_usage_line_is_that_of_help(verb: str) -> None:
    usage = click.Context(command(verb), info_name=f"gitrun {verb}").get_usage().removeprefix("Usage: ")
    assert f"`{' '.join(usage.split())}`" in SECTIONS[f"gitrun {verb}"]


@pytest.mark.parametrize("verb", VERBS)
def test_options_that_the_examples_use_exist(verb: str) -> None:
    for used, line in re.findall(r"^(?:[^`\n]*\$\()?gitrun (\w+)(.*)$", PAGE, re.MULTILINE):
        if used == verb:
            ours = re.split(r"\||\)| -- ", line)[0]
            assert set(re.findall(r"(?<=\s)--?[a-z][\w-]*", ours)) <= set(options(verb)), line


def test_help_of_the_group_lists_every_command() -> None:
    told = gitrun.get_help(click.Context(gitrun, info_name="gitrun"))
    assert all(re.search(rf"^  {verb} ", told, re.MULTILINE) for verb in VERBS)
