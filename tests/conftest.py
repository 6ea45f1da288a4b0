"""Every test runs on the CPU, on eight virtual devices, whatever the machine has."""

from __future__ import annotations

import pytest
from hypothesis import settings

import tests.environment  # noqa: F401 (first of all that could import jax)

# Deterministic: the same examples on every machine; no deadline, because the machines that run this are shared.
settings.register_profile("mio", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("mio")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("golden fixtures")
    group.addoption(
        "--golden", metavar="DIR", help="folder with one folder of fixtures per recipe (default: tests/golden)"
    )
    group.addoption("--recipe", metavar="NAME", help="run only this recipe's rows: unified-io-2, mio, 4m or mico")


# Begun first, so that no worker waits for them at the end.
LONG = ("tests/train/", "tests/recipes/", "tests/tokenizers/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
