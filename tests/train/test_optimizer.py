"""The schedule at its corners, and which parameters decay."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mio_jax.config import OptimConfig
from mio_jax.train.optimizer import decay_mask, learning_rate, make_optimizer

AXES = {
    "embed": ("vocab", "embed"),
    "norm": ("norm",),
    "layers": {"wq": ("layers", "embed", "heads", "kv"), "scale": ("layers", "norm")},
}


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warmup_peak_and_last_step(schedule: str) -> None:
    optim = OptimConfig(learning_rate=1e-3, schedule=schedule, warmup_ratio=0.1, final_ratio=0.25)
    rates = [learning_rate(optim, 100, step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(1e-4)  # the first step already learns
    assert rates[9] == max(rates) == 1e-3
    assert np.all(np.diff(rates[:10]) > 0)
    assert rates[-1] == pytest.approx(1e-3 if schedule == "constant" else 0.25e-3)
    assert np.all(np.diff(rates[9:]) <= 0)
    assert min(rates[9:]) == rates[-1]


def test_linear_and_cosine_are_half_way_down_in_the_middle() -> None:
    for schedule in ("linear", "cosine"):
        optim = OptimConfig(learning_rate=1.0, schedule=schedule, warmup_ratio=0.0, final_ratio=0.0)
        assert learning_rate(optim, 101, 51) == pytest.approx(0.5)
    linear = OptimConfig(learning_rate=1.0, schedule="linear", warmup_ratio=0.0)
    assert learning_rate(linear, 101, 26) == pytest.approx(0.75)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_short_stages_have_finite_rates(steps: int, ratio: float) -> None:
    optim = OptimConfig(learning_rate=1.0, warmup_ratio=ratio, final_ratio=0.1)
    rates = [learning_rate(optim, steps, step) for step in range(1, steps + 1)]
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1


def test_only_matrices_decay() -> None:
    assert decay_mask(AXES) == {"embed": True, "norm": False, "layers": {"wq": True, "scale": False}}


def test_equals_optax_adamw_with_the_mask() -> None:
    optim = OptimConfig(weight_decay=0.3, clip_norm=0.5, b2=0.9)
    shapes = {"embed": (6, 4), "norm": (4,), "layers": {"wq": (2, 4, 2, 2), "scale": (2, 4)}}
    rng = np.random.default_rng(0)

    def draw() -> dict[str, Any]:
        return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s)), shapes, is_leaf=lambda s: isinstance(s, tuple))

    ours, theirs = (
        make_optimizer(optim, AXES),
        optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.01, b2=0.9, weight_decay=0.3, mask=decay_mask(AXES))),
    )
    mine = params = draw()
    my_state, their_state = ours.init(mine), theirs.init(params)

    @jax.jit
    def step(gradient: Any, mine: Any, my_state: Any, params: Any, their_state: Any) -> Any:
        update, my_state = ours.update(gradient, my_state, mine)
        mine = jax.tree.map(lambda p, u: p - 0.01 * u, mine, update)
        update, their_state = theirs.update(gradient, their_state, params)
        return mine, my_state, optax.apply_updates(params, update), their_state

    for _ in range(3):
        mine, my_state, params, their_state = step(draw(), mine, my_state, params, their_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), mine, params)


def test_no_clipping_at_zero() -> None:
    axes = {"w": ("embed", "mlp")}
    big = {"w": jnp.full((2, 2), 100.0)}
    optimizer = make_optimizer(OptimConfig(clip_norm=0.0, weight_decay=0.0), axes)
    _, state = optimizer.update(big, optimizer.init(big), big)
    np.testing.assert_allclose(state[0].mu["w"], 10.0, rtol=1e-5)  # (1 - b1) * gradient, whole
