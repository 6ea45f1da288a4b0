"""Adafactor and T5's schedule against T5X: five steps in all, the last with a NaN and without global clipping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

from mio_jax.config import AdafactorConfig, OptimConfig
from mio_jax.train.adafactor import keep_where_nan
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.schedule import learning_rate

pytestmark = pytest.mark.golden_row("unified-io-2", "adafactor", files=["adafactor.npz"])
OPTIM = OptimConfig(
    optimizer="adafactor",
    clip_norm=1.0,
    adafactor=AdafactorConfig(beta1=0.9, decay_rate=0.8, min_dim_size_to_factor=8, clipping_threshold=1.0),
)
NAMES = ("big", "wide", "thin", "vec", "tiny", "zero")
STEPS = 5


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> dict[str, np.ndarray]:
    return dict(np.load(golden("unified-io-2") / "adafactor.npz"))


def test_every_array_is_answered_for(fixture: dict[str, np.ndarray]) -> None:
    arrays = {f"param_{i}.{n}" for i in range(STEPS + 1) for n in NAMES}
    arrays |= {f"grad_{i}.{n}" for i in range(STEPS) for n in NAMES}
    schedules = {"lr_steps", "lr_pretrain_base1_warm5000", "lr_finetune_base0.5_warm2000"}
    assert set(fixture) == arrays | schedules | {"lrs"}


def test_steps(fixture: dict[str, np.ndarray]) -> None:
    def at(prefix: str) -> dict[str, Any]:
        return {name: fixture[f"{prefix}.{name}"] for name in NAMES}

    params = at("param_0")
    axes = {name: ("embed", "mlp")[: x.ndim] for name, x in params.items()}
    clipped, free = (
        keep_where_nan(make_optimizer(dataclasses.replace(OPTIM, clip_norm=norm), axes).transformation)
        for norm in (1.0, 0.0)
    )
    state = clipped.init(params)
    factored = optax.tree_utils.tree_get(state, "v_row")
    assert set(factored) == {"big", "wide", "tiny", "zero"}, "the fixture factors what has 8 x 8 or more"
    for i in range(STEPS):
        if i == STEPS - 1:  # clipping has no state of its own: the rest of the chain is the same
            state = ((state[0][1:]), *state[1:])
        optimizer = free if i == STEPS - 1 else clipped
        updates, state = optimizer.update(at(f"grad_{i}"), state, params, rate=fixture["lrs"][i])
        params = optax.tree_utils.tree_sub(params, updates)
        for name, wanted in at(f"param_{i + 1}").items():
            np.testing.assert_allclose(params[name], wanted, rtol=1e-6, atol=1e-7, err_msg=f"step {i} {name}")
    np.testing.assert_array_equal(params["vec"], fixture["param_4.vec"])  # one NaN in it


@pytest.mark.parametrize(("name", "base", "warmup"), [("pretrain_base1", 1.0, 5000), ("finetune_base0.5", 0.5, 2000)])
def test_schedule(fixture: dict[str, np.ndarray], name: str, base: float, warmup: int) -> None:
    optim = OptimConfig(learning_rate=base, schedule="inverse_sqrt", warmup_steps=warmup)
    steps = fixture["lr_steps"].tolist()
    # T5X's step 0 has its least rate, 1e-8. Our steps begin at 1.
    ours = [max(learning_rate(optim, 3_000_000, step), 1e-8) for step in steps]
    np.testing.assert_allclose(ours, fixture[f"lr_{name}_warm{warmup}"], rtol=1e-6)
