"""Every link in the documentation leads somewhere, and every page can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, block, without_code

PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def links(path: Path) -> list[str]:
    return [link for link in _LINK.findall(without_code(path.read_text())) if "://" not in link]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's titles, as the usual renderers make them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_a_page_begins_with_its_title_and_says_what_it_is_for(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line]
    assert (lines[0].startswith("# ") and lines[1][0].isalnum()) or lines[1].startswith("## Context")


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link[0] != "#"]
    assert reached >= set(DOCS.rglob("*.md"))


def test_the_code_names_only_pages_that_exist() -> None:
    sources = [path for folder in ("gitrun", "scripts") for path in (ROOT / folder).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"docs/[\w/.-]*[\w]", path.read_text())}
    missing = [name for name in sorted(named) if not (ROOT / name).exists() and not list(ROOT.glob(f"{name}-*.md"))]
    assert not missing


def test_records_of_decisions_have_their_three_parts() -> None:
    for number, path in enumerate(sorted((DOCS / "adr").iterdir()), 1):
        text = path.read_text()
        assert path.name.startswith(f"{number:04d}-") and text.startswith(f"# {number:04d}: ")
        assert re.findall(r"^## (.*)$", text, re.M) == ["Context", "Decision", "Options not taken"]


def test_the_map_of_the_architecture_has_every_module() -> None:
    told = block((DOCS / "architecture.md").read_text(), "map: modules")
    modules = {path.stem for path in (ROOT / "gitrun").glob("*.py")} - {"__init__", "__main__"}
    assert {name for name in modules if not re.search(rf"\b{name}\b", told)} == set()
