"""The pages say what is there: links lead somewhere, and every `mio` command on them is one that parses."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from mio_jax.cli.main import COMMANDS, EXAMPLES, Parser
from mio_jax.cli.quickstart import closing
from mio_jax.config_loading import parse_args
from tests.web.made_run import make_run

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "mio_jax").rglob("README.md")])


def commands(text: str) -> list[str]:
    """Shell lines that call `mio`, without comments; usage patterns with [brackets] or dots are none."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    found = []
    for line in lines:
        match = re.match(r"^(?:\s{2,}|\s*\$ |)(?:\.venv/bin/)?(mio [a-z].*)$", line.rstrip())
        if match and not re.search(r"[\[\]|{]|\.\.\.|<", match[1]):
            words = " ".join(map(shlex.quote, shlex.split(re.split(r"\s{2,}(?!-)", match[1])[0], comments=True)))
            found.extend(part.strip() for part in words.split("'&&'"))
    return [c for c in found if c.split()[1] in COMMANDS or "--" in c]


def check(command: str) -> None:
    name, *rest = shlex.split(command)[1:]
    assert name in COMMANDS, f"`{command}`: mio has no command {name}"
    parser = Parser(prog=f"mio {name}", allow_abbrev=False)
    importlib.import_module(COMMANDS[name].module).add_arguments(parser)
    parse_args(parser, rest)


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_commands_of_a_page_parse(page: Path) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        check(command)


def test_commands_that_the_program_prints_parse(tmp_path: Path) -> None:
    from mio_jax.cli.quickstart import PhaseTimes
    from mio_jax.web.report import commands as last_section
    from mio_jax.web.results import read_run

    run = make_run(tmp_path / "run", steps=2, examples=1)
    shown = {
        "mio --help": EXAMPLES,
        "quickstart": closing(run, PhaseTimes(run / "phases.json", "k")),
        "report": re.sub(r"<[^>]+>", "", last_section(read_run(run))),
    }
    for where, text in shown.items():
        found = commands(text)
        assert len(found) >= 3, where
        for command in found:
            check(command)


def test_the_reader_of_pages_finds_commands() -> None:
    text = "    mio eval --run runs/x && mio report --run runs/x   # both\n.venv/bin/mio data list\nmio is a tool\n"
    assert commands(text) == ["mio eval --run runs/x", "mio report --run runs/x", "mio data list"]
    with pytest.raises(AssertionError, match="no command"):
        check("mio trian --run x")


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_config_files_named_on_pages_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"\bconfigs/[\w/]+\.py\b", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file() or "mine" in name, f"{page.relative_to(ROOT)} names {name}"
