"""VS Code's setting for files without write permission, put into settings as people write them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gitrun.errors import Refused, UsageError
from gitrun.vscode import SETTING, settings_file, turn_on

KEPT = {
    "nothing": "",
    "blank": "\n\n",
    "empty object": "{}",
    "empty object over lines": "{\n}\n",
    "one setting": '{"editor.fontSize": 12}',
    "as VS Code writes it": '{\n    "editor.fontSize": 12,\n    "files.autoSave": "off"\n}\n',
    "nested": '{\n  "a": {"b": [1, 2]}\n}',
}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "User" / "settings.json"


@pytest.mark.parametrize("name", KEPT)
def test_the_setting_is_added_and_all_else_stays(settings: Path, name: str) -> None:
    text = KEPT[name]
    settings.parent.mkdir()
    settings.write_text(text)
    assert turn_on(os.fsencode(settings))
    before = json.loads(text) if text.strip() else {}
    assert json.loads(settings.read_text()) == {**before, SETTING: True}
    assert not turn_on(os.fsencode(settings))


def test_comments_stay_where_they_are(settings: Path) -> None:
    settings.parent.mkdir()
    settings.write_text('// mine\n{ // here {\n    /* a } comment */\n    "a": 1, // trailing\n}\n')
    assert turn_on(os.fsencode(settings))
    text = settings.read_text()
    for part in ("// mine\n{", "// here {", "/* a } comment */", '"a": 1, // trailing'):
        assert part in text
    without = "\n".join(line.split(" //")[0] for line in text.splitlines() if not line.startswith("//"))
    assert SETTING in without and without.count("{") == 1


def test_no_file_yet(settings: Path) -> None:
    assert turn_on(os.fsencode(settings))
    assert json.loads(settings.read_text()) == {SETTING: True}


def test_a_link_stays_one(settings: Path, tmp_path: Path) -> None:
    settings.parent.mkdir()
    (tmp_path / "dotfiles.json").write_text("{}")
    settings.symlink_to(tmp_path / "dotfiles.json")
    with pytest.raises(Refused):
        turn_on(os.fsencode(settings))
    assert settings.is_symlink() and (tmp_path / "dotfiles.json").read_text() == "{}"


@pytest.mark.parametrize("text", ["[]", "no json", f'{{"{SETTING}": false}}', '"x"'])
def test_what_is_refused_is_not_changed(settings: Path, text: str) -> None:
    settings.parent.mkdir()
    settings.write_text(text)
    with pytest.raises(Refused):
        turn_on(os.fsencode(settings))
    assert settings.read_text() == text


def test_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project" / ".vscode").mkdir(parents=True)
    deep = tmp_path / "project" / "runs"
    deep.mkdir()
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert settings_file("user", "/home/me", "/").endswith(b"/home/me/.config/Code/User/settings.json")
    assert settings_file("workspace", "", str(deep)) == os.fsencode(tmp_path / "project/.vscode/settings.json")
    assert settings_file("workspace", "", str(tmp_path)) == os.fsencode(tmp_path / ".vscode/settings.json")
    with pytest.raises(UsageError):
        settings_file("elsewhere", "", "/")
