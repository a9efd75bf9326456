"""What every layout promises, tried on every layout."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gitrun.layouts import LAYOUTS, detect
from gitrun.layouts.base import Layout
from tests.layouts.runs import MAKERS
from tests.support.users import as_user, give, user_python

ONE_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*")


def test_every_layout_has_a_maker_and_plain_is_asked_last() -> None:
    assert set(LAYOUTS) == set(MAKERS)
    assert list(LAYOUTS)[-1] == "plain"
    assert all(name == layout.NAME and re.fullmatch(r"[a-z0-9-]+", name) for name, layout in LAYOUTS.items())


@pytest.mark.parametrize("name", LAYOUTS)
class TestEveryLayout:
    @pytest.fixture
    def layout(self, name: str) -> Layout:
        return LAYOUTS[name]

    @pytest.fixture
    def run(self, name: str, tmp_path: Path) -> Path:
        return MAKERS[name](tmp_path)

    def test_its_run_is_recognised(self, layout: Layout, run: Path) -> None:
        assert layout.detect(run) is True
        assert detect(run) is layout

    def test_it_answers_for_a_finished_run(self, layout: Layout, run: Path) -> None:
        assert layout.activity(run) is None
        assert ONE_LINE.fullmatch(layout.label(run))
        assert layout.run_id(run) is None or re.fullmatch(r"[A-Za-z0-9._-]+", layout.run_id(run) or "")

    def test_mutable_paths_lie_inside_the_run(self, layout: Layout, run: Path) -> None:
        for path in layout.mutable(run):
            assert isinstance(path, bytes)
            assert path == os.path.normpath(path)
            assert not path.startswith((b"/", b".."))

    def test_two_runs_never_share_an_id(self, layout: Layout, run: Path, name: str, tmp_path: Path) -> None:
        subprocess.run(["cp", "-a", run, tmp_path / "copy"], check=True)
        ids = [layout.run_id(run), layout.run_id(tmp_path / "copy")]
        assert ids[0] != ids[1] or ids == [None, None]

    def test_no_directory_makes_it_fail(self, layout: Layout, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "dangling").symlink_to("nowhere")
        (tmp_path / "loop").symlink_to("loop")
        os.mkfifo(tmp_path / "fifo")
        for strange in ("missing", "file", "dangling", "loop", "fifo", "x" * 5000):
            run = tmp_path / strange
            assert layout.detect(run) is (layout.NAME == "plain")
            assert layout.activity(run) is None
            assert ONE_LINE.fullmatch(layout.label(run))
            assert detect(run).NAME == "plain"

    def test_it_reads_a_name_that_is_not_utf8(self, layout: Layout, name: str, tmp_path: Path) -> None:
        run = MAKERS[name](tmp_path, os.fsdecode(b"r\xff\xfe"))
        assert detect(run) is layout
        assert layout.run_id(run) is None
        assert layout.activity(run) is None

    def test_it_writes_nothing(self, layout: Layout, name: str, shared_tmp: Path) -> None:
        run = MAKERS[name](shared_tmp)
        give(run)
        subprocess.run(["chmod", "-R", "a-w", run], check=True)
        ask = f"""
import pathlib, sys
from gitrun.layouts import LAYOUTS
layout, run = LAYOUTS[{name!r}], pathlib.Path(sys.argv[1])
print(layout.detect(run), layout.run_id(run), layout.label(run), layout.activity(run), len(layout.mutable(run)))"""
        before = subprocess.run(["find", run, "-printf", "%p %m %s %T@ %C@\n"], check=True, capture_output=True).stdout
        asked = as_user([user_python(), "-c", ask, run], capture_output=True, text=True, cwd="/")
        assert (asked.returncode, asked.stdout.split()[0]) == (0, "True"), asked.stderr
        after = subprocess.run(["find", run, "-printf", "%p %m %s %T@ %C@\n"], check=True, capture_output=True).stdout
        assert after == before
