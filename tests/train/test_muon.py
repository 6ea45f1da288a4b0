"""Muon makes every layer of a stack orthogonal by itself, and leaves tables and norms to AdamW."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.config import MuonConfig, OptimConfig
from mio_jax.train.optimizer import Optimizer, make_optimizer

AXES: dict[str, Any] = {
    "embed": ("vocab", "embed"),
    "head": ("vocab", "embed"),
    "norm": ("norm",),
    "layers": {"out": ("layers", "heads", "kv", "embed"), "up": ("layers", "embed", "mlp"), "norm": ("layers", "norm")},
}
SHAPES = {
    "embed": (12, 8),
    "head": (12, 8),
    "norm": (8,),
    "layers": {"out": (3, 2, 4, 8), "up": (3, 8, 16), "norm": (3, 8)},
}
OPTIM = OptimConfig(optimizer="muon", weight_decay=0.0, clip_norm=0.0)


def draw(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    scale = {2: 1.0, 3: np.array([0.01, 1.0, 100.0]).reshape(3, 1, 1)}  # layers of very different sizes

    def of(shape: tuple[int, ...]) -> jax.Array:
        x = rng.normal(size=shape)
        return jnp.asarray(x * scale[3].reshape(3, *[1] * (len(shape) - 1)) if shape[0] == 3 else x, jnp.float32)

    return jax.tree.map(of, SHAPES, is_leaf=lambda s: isinstance(s, tuple))


def updates(optimizer: Optimizer, steps: int = 2) -> Any:
    params = draw(9)
    state = optimizer.init(params)
    for step in range(steps):
        update, state = optimizer.update(draw(step), state, params, 1.0)
    return update, state


@pytest.mark.parametrize("rms", [0.2, 0.0])
def test_every_layer_is_orthogonal_and_of_the_same_size(rms: float) -> None:
    update, _ = updates(make_optimizer(dataclasses.replace(OPTIM, muon=MuonConfig(update_rms=rms)), AXES))
    for name, rows, columns in [("out", 8, 8), ("up", 8, 16)]:
        scale = rms * max(rows, columns) ** 0.5 or max(1.0, columns / rows) ** 0.5
        for layer in np.asarray(update["layers"][name]).reshape(3, rows, columns) / scale:
            values = np.linalg.svd(layer, compute_uv=False)
            assert np.all((values > 0.3) & (values < 1.3)), (name, values)
            if rms:
                assert np.sqrt(np.mean((layer * scale) ** 2)) == pytest.approx(rms, rel=0.35)


def test_a_layer_does_not_hear_of_the_others() -> None:
    axes = {"up": ("embed", "mlp")}
    stacked = {"up": ("layers", "embed", "mlp")}
    whole, one = make_optimizer(OPTIM, stacked), make_optimizer(OPTIM, axes)
    gradient = {"up": draw(0)["layers"]["up"]}
    update, _ = whole.update(gradient, whole.init(gradient), gradient, 1.0)
    for layer in range(3):
        alone = {"up": gradient["up"][layer]}
        wanted, _ = one.update(alone, one.init(alone), alone, 1.0)
        np.testing.assert_allclose(update["up"][layer], wanted["up"], rtol=1e-4, atol=1e-5)


def test_tables_and_norms_take_adamw() -> None:
    ours, state = updates(make_optimizer(OPTIM, AXES))
    theirs, _ = updates(make_optimizer(dataclasses.replace(OPTIM, optimizer="adamw"), AXES))
    for get in (lambda t: t["embed"], lambda t: t["head"], lambda t: t["norm"], lambda t: t["layers"]["norm"]):
        np.testing.assert_array_equal(get(ours), get(theirs))
    assert not np.allclose(ours["layers"]["up"], theirs["layers"]["up"])
    chain = state[0]
    assert sorted(chain["muon"][0].mu) == ["layers"]
    assert sorted(chain["muon"][0].mu["layers"]) == ["out", "up"]  # one moment, where Adam has two
    assert sorted(chain["adam"].mu) == ["embed", "head", "layers", "norm"]
    assert sorted(chain["adam"].mu["layers"]) == ["norm"]
