"""Golden fixtures for the parity tests: where they lie, and which recipe's tests to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parity.rows import ROWS

SMALL_COPIES = Path(__file__).parents[1] / "golden"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --recipe NAME, keeps only the rows of that recipe. A row that rows.py does not list is a usage error."""
    wanted = config.getoption("--recipe")
    dropped = []
    for item in list(items):
        mark = item.get_closest_marker("golden_row")
        if mark is None:
            continue
        recipe, name = mark.args
        if name not in [row.name for row in ROWS.get(recipe, ())]:
            raise pytest.UsageError(f"{item.nodeid}: tests/parity/rows.py has no row {name!r} for recipe {recipe!r}")
        if wanted and recipe != wanted:
            items.remove(item)
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """`golden("mio")` -> the folder with that recipe's fixtures; its absence fails the test."""

    def folder(recipe: str) -> Path:
        path = Path(request.config.getoption("--golden") or SMALL_COPIES) / recipe
        if not path.is_dir():
            pytest.fail(f"no fixtures at {path}", pytrace=False)
        return path

    return folder
