"""Every launcher command of docs/launching.md parses, and does in a dry run what it says."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from launch import actions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "launching.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    python -m launch\.(\w+) (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("name", "text"), COMMANDS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(COMMANDS)])
def test_a_command_of_the_page(
    name: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(text)
    at = words.index("--") if "--" in words else len(words)
    assert importlib.import_module(f"launch.{name}").main([*words[:at], "--dry-run", *words[at:]]) == 0
    assert "# " in capsys.readouterr().out


def test_the_page_shows_every_launcher() -> None:
    launchers = {path.stem for path in (ROOT / "launch").glob("*.py")} - {"actions"}
    assert {name for name, _ in COMMANDS} == launchers


def test_the_statuses_of_the_page() -> None:
    for status in (actions.STOPPED, actions.PEER_LOST):
        assert f"| {status} |" in PAGE
