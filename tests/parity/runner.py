"""`make golden`: runs the parity tests against a folder of fixtures and prints one line for each row.

    python -m tests.parity.runner [--golden DIR] [--recipe NAME]

passed: every test of the row passed; FAILED: one did not; missing: nothing here can run the row yet, or the folder
lacks its files. Exit status: 0 nothing failed, 1 something failed, 2 the request makes no sense.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.parity.rows import ROWS, files_of, unlisted

ROOT = Path(__file__).parents[2]


class Outcomes:
    """A pytest plugin that counts results by (recipe, row)."""

    def __init__(self) -> None:
        self.passed: dict[tuple[str, str], int] = defaultdict(int)
        self.failed: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.rows: dict[str, tuple[str, str]] = {}
        self.broken: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            mark = item.get_closest_marker("golden_row")
            if mark is not None:
                self.rows[item.nodeid] = (mark.args[0], mark.args[1])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = self.rows.get(report.nodeid)
        if row is None:
            return
        if report.failed or report.skipped:  # a parity test never skips: that would be silence
            self.failed[row].append(f"{report.nodeid.split('::', 1)[-1]} ({report.when}: {report.outcome})")
        elif report.when == "call":
            self.passed[row] += 1


def default_folder() -> Path:
    """Fixtures beside the checkout if there are any, else the small copies in it."""
    beside = ROOT.parent / "shared" / "golden"
    return beside if beside.is_dir() else ROOT / "tests" / "golden"


def choose(golden: Path, recipe: str | None) -> list[str] | str:
    """The recipes to run, or one line that says why there are none."""
    if not golden.is_dir():
        return f"no fixture folder {golden}: pass GOLDEN=DIR, a folder with one folder for each recipe"
    if recipe and recipe not in ROWS:
        return f"unknown recipe {recipe!r}: RECIPE is one of {', '.join(ROWS)}"
    if recipe and not (golden / recipe).is_dir():
        return f"{golden} has no folder {recipe!r}; it has: {', '.join(sorted(p.name for p in golden.iterdir()))}"
    there = [name for name in ROWS if (golden / name).is_dir()]
    if not there:
        return f"{golden} has none of the recipe folders {', '.join(ROWS)}"
    return [recipe] if recipe else there


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", default="", metavar="DIR")
    parser.add_argument("--recipe", default="", metavar="NAME")
    args = parser.parse_args(argv)
    golden = Path(args.golden).resolve() if args.golden else default_folder()
    recipes = choose(golden, args.recipe or None)
    if isinstance(recipes, str):
        print(f"error: {recipes}", file=sys.stderr)
        return 2

    outcomes = Outcomes()
    # With `=`: pytest looks for its settings near every word that could be a path.
    flags = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), f"--golden={golden}"]
    flags += [f"--recipe={args.recipe}"] if args.recipe else []
    status = pytest.main(["-q", str(Path(__file__).parent), "-m", "golden_row", *flags], plugins=[outcomes])
    table, failed = report(golden, recipes, outcomes)
    print(table)
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        print(f"error: pytest stopped with {pytest.ExitCode(status).name}", file=sys.stderr)
        return 1
    return 1 if failed or outcomes.broken else 0


def report(golden: Path, recipes: Sequence[str], outcomes: Outcomes) -> tuple[str, bool]:
    """The table of rows, and whether any of them failed."""
    lines, counts = [f"golden fixtures: {golden}"], {"passed": 0, "FAILED": 0, "missing": 0}
    width = max(len(f"{r}/{row.name}") for r in recipes for row in ROWS[r])
    for recipe in recipes:
        for row in ROWS[recipe]:
            key, absent = (recipe, row.name), files_of(golden / recipe, row)[1]
            if outcomes.failed[key]:
                state, note = "FAILED", "; ".join(outcomes.failed[key][:3])
            elif not outcomes.passed[key]:
                state, note = "missing", "no test module runs it yet" if not absent else f"no {', '.join(absent)}"
            else:
                state, note = "passed", f"{outcomes.passed[key]} tests"
            counts[state] += 1
            lines.append(f"  {state:<8} {f'{recipe}/{row.name}':<{width}}  {row.about}: {note}")
        for name in unlisted(golden / recipe, recipe):
            counts["missing"] += 1
            lines.append(f"  {'missing':<8} {f'{recipe}/{name}':<{width}}  a fixture that no row names")
    lines.extend(f"  FAILED   could not collect {name}" for name in outcomes.broken)
    lines.append(f"{counts['passed']} rows passed, {counts['FAILED']} failed, {counts['missing']} missing")
    return "\n".join(lines), bool(counts["FAILED"])


if __name__ == "__main__":
    os.environ["MIO_TEST_OPTIMISED"] = "1"  # see tests/conftest.py: parity is that of the programs that users run
    sys.exit(main())
