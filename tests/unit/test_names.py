"""Names: what git would refuse or obey lies elsewhere in the tree, nothing else does, and nothing collides."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gitrun.entry import FILE, SYMLINK
from gitrun.names import display, display_text, tree_path
from tests.support.judge import Judge

MODES = {FILE: b"100644", SYMLINK: b"120000"}

SAFE_NAMES = {
    b".git": b"%2Egit",
    b".GiT": b"%2EGiT",
    b"GIT~1": b"GIT%7E1",
    b".git ": b"%2Egit%20",
    b".git...": b"%2Egit%2E%2E%2E",
    b".git::$INDEX_ALLOCATION": b"%2Egit%3A%3A%24INDEX%5FALLOCATION",
    b".git\\x": b"%2Egit%5Cx",
    b"a\\.git\\b": b"a%5C%2Egit%5Cb",
    b".g\xe2\x80\x8cit": b"%2Eg%E2%80%8Cit",
    b"\xef\xbb\xbf.git": b"%EF%BB%BF%2Egit",
    b".git\xff": b"%2Egit%FF",
    b".gitmodules": b"%2Egitmodules",
    b"gitmod~1": b"gitmod%7E1",
    b"gi7eba~1": b"gi7eba%7E1",
    b"GI7E~100": b"GI7E%7E100",
    b"~1000000": b"%7E1000000",
    b".gitattributes": b"%2Egitattributes",
    b"GITATT~4 .": b"GITATT%7E4%20%2E",
    b".LFSConfig": b"%2ELFSConfig",
    b"lfscon~1": b"lfscon%7E1",
    b".mailmap.": b"%2Emailmap%2E",
    b"%2Egit": b"%252Egit",
    b"%252Egit": b"%25252Egit",
    b"%2Egitignore": b"%252Egitignore",
}

KEPT = [b".gitignore", b".gitkeep", b".github", b".git.old", b".git-credentials", b".gitmodules.txt", b"x.git", b"git"]
KEPT += [b"%", b"%41", b"%2egit", b"%2Eguild", b"100%25", b"..\\..\\evil", b"CON", b"a:b", b" ", b"\n", b"-rf", b"\xff"]
KEPT += [b"a.txt~1~", b"notes.txt~", b"backup~1", b".lfs", b".gitrun.lock", b"caf\xc3\xa9", b"\xe2\x80\x8b.git"]


@pytest.mark.parametrize(("name", "safe"), SAFE_NAMES.items())
def test_an_unsafe_component_gets_its_safe_name_at_any_depth(name: bytes, safe: bytes) -> None:
    assert tree_path(name) == safe
    assert tree_path(b"a/" + name + b"/b") == b"a/" + safe + b"/b"


@pytest.mark.parametrize("name", KEPT)
def test_harmless_names_are_kept(name: bytes) -> None:
    assert tree_path(b"a/" + name) == b"a/" + name


def test_an_ignore_file_is_unsafe_only_as_a_symlink() -> None:
    assert tree_path(b"a/.gitignore", FILE) == b"a/.gitignore"
    assert tree_path(b"a/.gitignore", SYMLINK) == b"a/%2Egitignore"
    assert tree_path(b".gitignore/a", SYMLINK) == b".gitignore/a"


DOT_FILES = [b".git", b".gitmodules", b".gitattributes", b".gitignore", b".mailmap", b".lfsconfig"]
SHORT_NAMES = [b"git~1", b"gitmod~2", b"gi7eba~1", b"gi7d2~10", b"gi2~1000", b"maba30~9", b"~1234567", b"m~100000"]
NOISE = [b" ", b".", b":", b":x", b"\\", b"\xe2\x80\x8d", b"\xef\xbb\xbf", b"\xff", b"\xc3\xa9", b"\xe2\x80", b"1"]
NOISE += [b""] * 20


def disguised(count: int) -> list[bytes]:
    """Dot files with noise before, behind and within, and some letters in the other case; always the same ones."""
    chance = random.Random(7)
    names: set[bytes] = set()
    while len(names) < count:
        name = chance.choice(DOT_FILES + SHORT_NAMES)
        cut = chance.randrange(len(name) + 1)
        noise = [chance.choice(NOISE) for _ in range(4)]
        name = noise[0] + name[:cut] + chance.choice([b"", noise[1]]) + name[cut:] + noise[2] + noise[3]
        names.add(bytes(chance.choice([byte, byte, ord(chr(byte).upper())]) if byte < 128 else byte for byte in name))
    return sorted(names - {b".", b".."})


def write_tree(judge: Judge, name: bytes, kind: str, blob: bytes) -> bytes:
    return judge.write("tree", MODES[kind] + b" " + name + b"\0" + bytes.fromhex(blob.decode()))


def complaints(judge: Judge) -> set[bytes]:
    """The ids of the objects that `git fsck --strict` says anything about."""
    printed = judge.run("fsck", "--strict", "--no-dangling", codes=tuple(range(8)))
    return set(re.findall(rb"^(?:error|warning) in \w+ ([0-9a-f]{40}):", printed, re.MULTILINE))


def test_git_fsck_accepts_every_safe_name_and_refuses_no_kept_one(tmp_path: Path) -> None:
    raw, safe = Judge(tmp_path / "raw.git"), Judge(tmp_path / "safe.git")
    # Content that git fsck refuses in whatever it takes for `.gitmodules`.
    blob = raw.write("blob", b'[submodule "../x"]\n\tpath = x\n')
    assert safe.write("blob", b'[submodule "../x"]\n\tpath = x\n') == blob
    cases = [(name, kind) for name in disguised(1500) + KEPT for kind in MODES]
    trees = {write_tree(raw, name, kind, blob): (name, kind) for name, kind in cases}
    refused = [trees[oid] for oid in complaints(raw) - {blob}]
    assert len(refused) > 300
    assert [case for case in refused if tree_path(*case) == case[0]] == []
    for name, kind in cases:
        write_tree(safe, tree_path(name, kind), kind, blob)
    assert complaints(safe) == set()


ALPHABET = st.sampled_from([*DOT_FILES, *SHORT_NAMES, *SAFE_NAMES.values(), b"%", b"%25", b"%2E", b"/", b"\\"])
NAMES = st.lists(ALPHABET | st.binary(min_size=1, max_size=2), min_size=1, max_size=4).map(b"".join)
CASES = st.tuples(NAMES, st.sampled_from([FILE, SYMLINK]))


@settings(max_examples=200, derandomize=True, database=None)
@given(st.lists(CASES, max_size=40))
@example([(b".gitignore", SYMLINK), (b"%2Egitignore", FILE), (b"%252Egitignore", SYMLINK)])
@example([(b"%25252Egit", FILE), (b"%252Egit", FILE), (b"%2Egit", FILE), (b".git", FILE)])
def test_distinct_paths_have_distinct_tree_paths(cases: list[tuple[bytes, str]]) -> None:
    # What has been encoded once is a path too, and the likeliest to collide.
    cases += [(tree_path(*case), FILE) for case in cases] + [(tree_path(*case), SYMLINK) for case in cases]
    origin: dict[bytes, bytes] = {}
    for path, kind in cases:
        assert origin.setdefault(tree_path(path, kind), path) == path


DISPLAYED = {
    "plain": (b"a b/c-1.txt", "a b/c-1.txt"),
    "printable Unicode": ("été/日本.txt".encode(), "été/日本.txt"),
    "newline": (b"a\nb", r"a\nb"),
    "backslash": (b"a\\nb", r"a\\nb"),
    "terminal escape": (b"\x1b[31m", r"\x1b[31m"),
    "delete": (b"\x7f", r"\x7f"),
    "not UTF-8": (b"\xff\x9b", r"\xff\x9b"),
    "C1 control": ("\x9b".encode(), r"\u009b"),
    "right to left": ("\u202egpj.exe".encode(), r"\u202egpj.exe"),
    "zero width": ("a\u200bb\ufeff".encode(), r"a\u200bb\ufeff"),
    "line separator": ("a\u2028b".encode(), r"a\u2028b"),
    "wide space": ("\u3000".encode(), r"\u3000"),
    "filler": ("\u3164".encode(), r"\u3164"),
    "tag character": ("\U000e0041".encode(), r"\U000e0041"),
    "encoded surrogate": (b"\xed\xb3\xbf", r"\xed\xb3\xbf"),
}


@pytest.mark.parametrize(("path", "shown"), DISPLAYED.values(), ids=DISPLAYED)
def test_display_shows_what_would_not_be_seen(path: bytes, shown: str) -> None:
    assert display(path) == shown


def test_display_text_keeps_backslashes_and_escapes_the_rest() -> None:
    assert display_text("C:\\x\n\udcff\ud800") == "C:\\x\\n\\xff\\ud800"


@settings(max_examples=200, derandomize=True, database=None)
@given(st.binary(max_size=8) | st.text(st.characters(codec="utf-8"), max_size=4).map(str.encode), st.binary(max_size=8))
def test_displayed_paths_are_printable_and_distinct(one: bytes, other: bytes) -> None:
    assert display(one).isprintable()
    assert display_text(display(one)) == display(one)
    assert one == other or display(one) != display(other)
