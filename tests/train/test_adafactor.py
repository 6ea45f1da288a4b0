"""Adafactor where optax's differs from T5X's: more than two dimensions, and stacks of layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mio_jax.config import AdafactorConfig
from mio_jax.nn.base import Axes
from mio_jax.train.adafactor import dropped_dims, factored_sides, scale_by_adafactor

RNG = np.random.default_rng(0)


def run(config: AdafactorConfig, axes: Axes, param: np.ndarray, gradients: list[np.ndarray]) -> list[np.ndarray]:
    transform = scale_by_adafactor(config, {"w": axes})
    state: Any = transform.init({"w": jnp.asarray(param)})
    out = []
    for gradient in gradients:
        update, state = transform.update({"w": jnp.asarray(gradient)}, state, {"w": jnp.asarray(param)})
        out.append(np.asarray(update["w"]))
    return out


def gradients(*shape: int) -> list[np.ndarray]:
    """Of very different sizes, so that what is averaged over too much shows."""
    scale = np.geomspace(0.01, 100, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return [(scale * RNG.normal(size=shape)).astype(np.float32) for _ in range(3)]


def test_a_stack_is_so_many_parameters() -> None:
    config = AdafactorConfig()
    for axes, shape in [
        (("embed", "heads", "kv"), (6, 2, 3)),
        (("heads", "kv", "embed"), (2, 3, 6)),
        (("norm",), (5,)),
    ]:
        param = RNG.normal(size=(4, *shape)).astype(np.float32) * np.arange(1, 5).reshape(-1, *[1] * len(shape))
        given = gradients(4, *shape)
        whole = run(config, ("layers", *axes), param, given)
        for layer in range(4):
            alone = run(config, axes, param[layer], [g[layer] for g in given])
            for a, b in zip(whole, alone, strict=True):
                np.testing.assert_allclose(a[layer], b, rtol=1e-5)


def test_heads_are_columns_of_one_matrix() -> None:
    """[embed, heads, kv] is what optax makes of the matrix [embed, heads * kv]."""
    config = AdafactorConfig(min_dim_size_to_factor=2, clipping_threshold=0.0, multiply_by_parameter_scale=False)
    given = gradients(6, 8)
    ours = run(config, ("embed", "heads", "kv"), np.ones((6, 2, 4), np.float32), [g.reshape(6, 2, 4) for g in given])
    theirs = optax.scale_by_factored_rms(min_dim_size_to_factor=2)
    params = {"w": jnp.ones((6, 8))}
    state = theirs.init(params)
    for mine, gradient in zip(ours, given, strict=True):
        update, state = theirs.update({"w": jnp.asarray(gradient)}, state, params)
        np.testing.assert_allclose(mine.reshape(6, 8), update["w"], rtol=1e-5)


def test_two_dimensions_are_factored_by_size_and_only_when_large() -> None:
    assert factored_sides(("vocab", "embed"), (200, 130), 128) == ((1,), (0,))
    assert factored_sides(("vocab", "embed"), (200, 127), 128) is None
    assert factored_sides(("layers", "embed", "mlp"), (2, 4, 8), 128) == ((1,), (2,))
    assert factored_sides(("layers", "mlp", "embed"), (2, 8, 4), 128) == ((2,), (1,))  # embed is the rows
    assert factored_sides(("layers", "norm"), (200, 200), 128) is None


def test_moments_lack_what_they_are_factored_over() -> None:
    axes, shape = ("layers", "heads", "kv", "embed"), (3, 2, 4, 6)
    state = scale_by_adafactor(AdafactorConfig(), {"w": axes}).init({"w": jnp.ones(shape)})
    for field in ("v_row", "v_col"):
        dropped = dropped_dims(field, axes, shape)
        kept = tuple(size for i, size in enumerate(shape) if i not in dropped)
        assert getattr(state, field)["w"].shape == kept
    assert dropped_dims("v_row", axes, shape) == (1, 2)
    assert dropped_dims("v_col", axes, shape) == (3,)
    assert dropped_dims("mu", axes, shape) == ()
    assert jax.tree.leaves(state.v) == []
