"""`mio ckpt`: what it says of checkpoints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from mio_jax.cli.main import main
from mio_jax.config import CheckpointConfig, RunConfig, StageConfig
from mio_jax.config_loading import save_json, to_dict
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.run_dir import checkpoint_dir, config_path
from mio_jax.train.versions import versions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two stages: `one` with steps 2 and 4, `two` with step 2, which has another seed, shape and value."""
    folder = tmp_path_factory.mktemp("runs") / "r"
    stages = tuple(StageConfig(name, 4, "mio_pairs", 2) for name in ("one", "two"))
    config = RunConfig(run_dir=str(folder), stages=stages)
    folder.mkdir()
    save_json(config, config_path(folder))
    for index, steps in enumerate(((2, 4), (2,))):
        with Checkpoints(checkpoint_dir(config, index), CheckpointConfig(keep_last=5)) as checkpoints:
            for step in steps:
                weight = jnp.arange(6.0).reshape(2, 3).at[1, 2].add(step * 0.5)
                extra = {"bias": jnp.ones(3, jnp.bfloat16)} if index else {}
                state = {"params": {"layer": {"w": weight} | extra}, "opt_state": {"count": jnp.int32(7)}}
                note = {
                    "versions": versions(),
                    "stage": stages[index].name,
                    "seed": index,
                    "processes": 2,
                    "config": to_dict(config.replace(seed=index)),
                }
                checkpoints.save(step, state, {"batches": step, "rows": {}}, note, {"loss": 1.25 * step})
    return str(folder)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["ckpt", *words])
    out, error = capsys.readouterr()
    return status, out + error


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_ls(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "ls", run)
    assert status == 0
    head, *rest = lines(text)
    assert head == ["stage", "step", "of", "saved", "size", "ranked", "by"]
    assert [(r[0], r[1], r[2], r[-1]) for r in rest] == [
        ("one", "2", "4", "loss=2.5"),
        ("one", "4", "4", "loss=5"),
        ("two", "2", "4", "loss=2.5"),
    ]


def test_show(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "show", run)
    found = lines(text)
    assert status == 0
    assert text.startswith(f"{run}:two:2\n")
    for row in (["step", "2"], ["seed", "1"], ["processes", "2"], ["batches", "read", "2"], ["metric", "loss", "2.5"]):
        assert row in found
    for name in ("jax", "flax", "orbax-checkpoint", "numpy"):
        assert [name, versions()[name]] in found
    assert ["mio_jax", "source", versions()["mio_jax source"]] in found
    assert "params: 2 arrays, 9 numbers, 30 B" in text
    assert ["layer/bias", "3", "bfloat16"] in found
    assert ["layer/w", "2x3", "float32"] in found
    assert ["count", "scalar", "int32"] in found
    assert said(capsys, "show", f"{run}:one")[1].startswith(f"{run}:one:4\n")
    assert json.loads(said(capsys, "show", f"{run}:one:2", "--config")[1])["run_dir"] == run


def test_diff(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "diff", f"{run}:one:2", f"{run}:one:2")
    assert (status, "arrays: equal, bit for bit" in text, "config: equal" in text) == (0, True, True)
    status, text = said(capsys, "diff", f"{run}:one:2", f"{run}:one:4", "--params")
    assert status == 1
    assert "arrays: 1 differ" in text
    row = next(r for r in lines(text) if r and r[0] == "params/layer/w")
    assert row[1:] == ["2x3", "float32", "2x3", "float32", "1", "0.123"]  # 1 / |(0, 1, 2, 3, 4, 6)|
    status, text = said(capsys, "diff", f"{run}:one:2", f"{run}:two")
    assert status == 1
    assert ["seed", "0", "1"] in lines(text)
    assert ["params/layer/bias", "-", "3", "bfloat16"] in lines(text)
    assert "arrays: 1 differ" in text


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["show", "{run}:three"], "has no stage 'three'; its stages: one, two"),
        (["show", "{run}:one:3"], "there is no checkpoint of step '3'; there are 2, 4"),
        (["ls", "{run}x"], "there is no run directory"),
        (["diff", "{run}", "{run}:one:x"], "there is no checkpoint of step 'x'"),
    ],
)
def test_what_is_not_there(run: str, capsys: pytest.CaptureFixture[str], words: list[Any], answer: str) -> None:
    status, text = said(capsys, *(word.format(run=run) for word in words))
    assert status == 2
    assert answer in text


def test_a_run_without_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_json(RunConfig(run_dir=str(tmp_path)), config_path(tmp_path))
    status, text = said(capsys, "ls", str(tmp_path))
    assert (status, "has no checkpoint yet; train it first" in text) == (2, True)
