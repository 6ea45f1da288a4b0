"""A finished tiny run, and what starts more of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mio_jax.config import RunConfig
from tests.train import tiny
from tests.train.processes import Group, Server, rows, start


@pytest.fixture(scope="package")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    made = Group(tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


@pytest.fixture(scope="package")
def server(group: Group) -> Server:
    return group.server(0)


@pytest.fixture(scope="package")
def records_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    tiny.write_records(folder)
    return folder


@pytest.fixture(scope="package")
def finished(server: Server, records_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The config of a run that was never interrupted."""
    config = tiny.config(tmp_path_factory.mktemp("finished") / "run", records_dir)
    start(server, config)
    assert server.wait() == 0, (Path(config.run_dir) / "log.txt").read_text()[-3000:]
    return config


@pytest.fixture(scope="package")
def unbroken(finished: RunConfig) -> list[dict[str, Any]]:
    """Its rows, all of them different."""
    found = rows(finished)
    assert [row["global_step"] for row in found] == list(range(1, 3 * tiny.STEPS + 1))
    assert len({row["loss"] for row in found}) == 3 * tiny.STEPS
    for kind in ("text", "image", "audio"):
        assert any(row[f"loss/{kind}"] for row in found)
    return found
