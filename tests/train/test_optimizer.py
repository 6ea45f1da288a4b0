"""Schedules at their corners, which parameters decay, and AdamW beside optax's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mio_jax.config import DataConfig, GuardConfig, OptimConfig, RunConfig, StageConfig
from mio_jax.errors import MioError
from mio_jax.train.optimizer import clip_to, decay_mask, learning_rate, make_optimizer

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


def test_warmup_in_steps_takes_the_place_of_the_ratio() -> None:
    optim = OptimConfig(learning_rate=1.0, schedule="constant", warmup_ratio=0.5, warmup_steps=4)
    assert [learning_rate(optim, 10, step) for step in range(1, 6)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_inverse_square_root_is_t5s() -> None:
    optim = OptimConfig(learning_rate=2.0, schedule="inverse_sqrt", warmup_steps=16, final_ratio=0.5)
    rates = {step: learning_rate(optim, 1000, step) for step in (1, 8, 16, 64, 1000)}
    assert rates == pytest.approx({1: 0.5 / 16, 8: 0.25, 16: 0.5, 64: 0.25, 1000: 2 / 1000**0.5})
    for step in (1, 64):  # no warmup, and no matter how long the stage is
        rate = learning_rate(OptimConfig(learning_rate=1.0, schedule="inverse_sqrt", warmup_ratio=0.0), 77, step)
        assert rate == pytest.approx(step**-0.5)


def test_wsd_stays_and_then_falls() -> None:
    optim = OptimConfig(learning_rate=1.0, schedule="wsd", warmup_steps=10, decay_ratio=0.2, final_ratio=0.1)
    rates = [learning_rate(optim, 100, step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert set(rates[9:80]) == {1.0}
    assert rates[80:] == pytest.approx(1 - 0.9 * np.arange(1, 21) / 20)
    whole = OptimConfig(learning_rate=1.0, schedule="wsd", warmup_steps=10, decay_ratio=1.0)
    line = OptimConfig(learning_rate=1.0, schedule="linear", warmup_steps=10)
    for step in (5, 10, 11, 50, 100):
        assert learning_rate(whole, 100, step) == pytest.approx(learning_rate(line, 100, step))


def test_a_budget_of_tokens_becomes_steps() -> None:
    stage = StageConfig("a", 0, "m", 8, tokens=10_001)
    assert stage.with_steps(100).steps == 13  # of 800 places each
    run = RunConfig(data=DataConfig(length=100), stages=(stage, StageConfig("b", 7, "m", 8)))
    resolved = run.with_steps()
    assert [s.steps for s in resolved.stages] == [13, 7]
    assert resolved.with_steps() == resolved
    with pytest.raises(MioError, match="tokens=10001 are 26 steps of 4 rows of 100, and steps is 13"):
        StageConfig("a", 13, "m", 4, tokens=10_001).with_steps(100)
    with pytest.raises(MioError, match="steps is 0"):
        StageConfig("a", 0, "m", 8)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"optimizer": "adam"}, "optim.optimizer is 'adam'; it must be one of adamw, adafactor, muon"),
        ({"schedule": "rsqrt"}, "it must be one of constant, linear, cosine, inverse_sqrt, wsd"),
        ({"optimizer": "adafactor", "b2": 0.99}, "optim.b2 is 0.99, which belongs to adamw and muon"),
        ({"ema_decay": 1.0}, "optim.ema_decay is 1.0"),
        ({"decay_ratio": 0.0}, "optim.decay_ratio is 0.0"),
    ],
)
def test_what_makes_no_sense_is_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(MioError, match=said):
        OptimConfig(**fields)


def test_spikes_are_above_the_mean() -> None:
    with pytest.raises(MioError, match=r"spike_factor is 0\.5"):
        GuardConfig(spike_factor=0.5)
    with pytest.raises(MioError, match="6 rows do not divide into 4 micro_batches"):
        StageConfig("a", 1, "m", 6, micro_batches=4)


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
        update, my_state = ours.update(gradient, my_state, mine, 0.01)
        mine = jax.tree.map(lambda p, u: p - u, mine, update)
        update, their_state = theirs.update(gradient, their_state, params)
        return mine, my_state, optax.apply_updates(params, update), their_state

    for _ in range(3):
        mine, my_state, params, their_state = step(draw(), mine, my_state, params, their_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), mine, params)


def test_no_clipping_at_zero() -> None:
    axes = {"w": ("embed", "mlp")}
    big = {"w": jnp.full((2, 2), 100.0)}
    optimizer = make_optimizer(OptimConfig(clip_norm=0.0, weight_decay=0.0), axes)
    _, state = optimizer.update(big, optimizer.init(big), big, 1.0)
    np.testing.assert_allclose(state[0].mu["w"], 10.0, rtol=1e-5)  # (1 - b1) * gradient, whole


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("known", [True, False])
def test_clipping_equals_that_of_optax(scale: float, known: bool) -> None:
    updates = {"a": jnp.asarray([[3.0, -4.0]]) * scale, "b": jnp.asarray([12.0]) * scale}
    norm = jnp.float32(13.0 * scale) if known else None
    mine, theirs = clip_to(1.5), optax.clip_by_global_norm(1.5)
    clipped, state = mine.update(updates, mine.init(updates), norm=norm)
    wanted, their_state = theirs.update(updates, theirs.init(updates))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), clipped, wanted)
    assert state == their_state  # checkpoints of the one are restored into the other


def test_clipping_keeps_the_dtype() -> None:
    clipped, _ = clip_to(1.0).update({"w": jnp.full(4, 8.0, jnp.bfloat16)}, optax.EmptyState())
    assert clipped["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(clipped["w"].astype(jnp.float32), 0.5, rtol=1e-2)
