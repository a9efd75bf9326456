"""docs/lock-file.md says what the code does: its example decodes, and its tables hold what the code knows."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import gitrun
from gitrun import lockfile
from gitrun.entry import KIND_NAMES, LOCK_FILE
from gitrun.errors import LockFileInvalid, NewerFormat
from gitrun.lockfile import LockFile
from tests.docs.pages import block, first_words, page, table

PAGE = page("lock-file.md")
EXAMPLE = block(PAGE, "example: lock file").encode()


def test_the_example_is_a_lock_file_in_its_one_encoding() -> None:
    record = LockFile.decode(EXAMPLE)
    assert record.encode() == EXAMPLE
    assert record.run_id == "train-80b2cc58"
    assert (record.files, record.bytes, len(record.entries)) == (10, 2097228, 15)


def test_the_example_shows_all_that_the_text_below_it_names() -> None:
    entries = {entry.path: entry for entry in LockFile.decode(EXAMPLE).entries}
    assert entries[b".gitattributes"].tree_path == b"%2Egitattributes"
    assert entries[b".guild/attrs/label"].mutable and not entries[b".guild/attrs/label"].created
    assert sum(entry.created for entry in entries.values()) == 3
    assert entries[b"best"].target == b"metrics.json"
    assert entries[b"metrics.json"].hardlink == entries[b"checkpoints/final.json"].hardlink == 1
    assert entries[b"model.bin"].storage == "lfs" and entries[b"model.bin"].xattrs == ((b"user.note", b"by hand"),)
    assert entries[b"odd\nname"].size == 3


def test_every_other_version_of_the_example_is_refused_or_kept() -> None:
    newer_minor = EXAMPLE.replace(b"lock 1.0", b"lock 1.1").replace(b"# layout", b"# kept: x\n# layout")
    assert LockFile.decode(newer_minor).encode() == newer_minor
    with pytest.raises(NewerFormat):
        LockFile.decode(EXAMPLE.replace(b"lock 1.0", b"lock 2.0"))
    with pytest.raises(LockFileInvalid):
        LockFile.decode(EXAMPLE[:-1])


def test_the_version_is_the_one_that_is_written() -> None:
    assert PAGE.startswith(f"# The lock file, format {lockfile.MAJOR}.{lockfile.MINOR}\n")


def test_the_attributes_in_the_table_are_those_that_the_code_reads() -> None:
    told = {re.split("[:=]", word)[0] for word in first_words(table(PAGE, "table: attributes"))}
    assert told == {*lockfile._DECODERS, "xattr"}


def test_the_header_keys_in_the_table_are_those_that_a_lock_writes(tmp_path: Path) -> None:
    told = set(first_words(table(PAGE, "table: header keys")))
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    gitrun.lock(other)
    (run / "large").write_bytes(bytes(2 << 20))
    (run / "link").symlink_to(other)
    gitrun.lock(run)
    written = {key for key, _ in LockFile.decode((run / LOCK_FILE.decode()).read_bytes()).headers}
    gitrun.unlock(run)
    assert told == {*written, "link", "immutable"}  # these two only with the options of these names


def test_the_kinds_in_the_grammar_are_those_of_the_code() -> None:
    rule = re.search(r"^kind +=(.*)$", PAGE, re.MULTILINE)
    assert rule and re.findall(r'%s"(.)"', rule[1]) == list(KIND_NAMES)


def test_the_limits_are_those_of_the_code() -> None:
    assert lockfile.MAX_BYTES == 1 << 30 and "more than 1 GiB" in PAGE


def test_what_is_to_be_done_by_hand_works(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "a\nb").write_text("x")
    gitrun.lock(run)
    said = []
    for line in re.findall(r"^(?:sha256sum|grep|sed) .*$", PAGE, re.MULTILINE):
        done = subprocess.run(["sh", "-c", line], cwd=run, capture_output=True, text=True)
        assert done.returncode == 0, (shlex.quote(line), done.stderr)
        said.append(done.stdout.strip())
    assert said == ["", "1", gitrun.status(run).run]
    gitrun.unlock(run)
