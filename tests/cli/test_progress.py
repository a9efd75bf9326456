from __future__ import annotations

import io
import sys
import threading

import pytest

from gitrun.cli._progress import TerminalProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # Not a fixture: pytest puts its own stderr back before the test begins.
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with TerminalProgress() as progress:
        progress.stage("hashing", 10, "B")
        progress.advance(10)
    assert not screen.getvalue()


def test_long_work_shows_a_bar_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with TerminalProgress(_patience=0) as progress:
        progress.stage("hashing", 4 << 20, "B")
        progress.advance(1 << 20)
        progress.advance(1 << 20)
    shown = screen.getvalue()
    assert "hashing" in shown
    assert "4.00M" in shown
    assert not shown.rpartition("\r")[0].rpartition("\r")[2].strip()


def test_stages_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with TerminalProgress(_patience=0) as progress:
        progress.stage("walking", 0, "entries")
        progress.advance(5)
        progress.stage("hashing", 10, "entries")
        progress.advance(1)
    assert "walking: 5 entries" in screen.getvalue()
    assert "hashing:  10%" in screen.getvalue()


def test_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch)
    with TerminalProgress(_patience=0) as progress:
        progress.stage("hashing", 10, "B")
        progress.advance(1)
        assert threading.active_count() == 1
