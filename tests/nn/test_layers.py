"""Norm, rotary embedding and products: values against the slow twins, hand-written gradients against autodiff."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.nn.linear import linear, swiglu
from mio_jax.nn.norms import rms_norm
from mio_jax.nn.rotary import rotary_angles, rotate
from tests import reference


def draw(*shapes: tuple[int, ...]) -> list[jax.Array]:
    rng = np.random.default_rng(7)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def plain_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-5) * scale


GRADIENTS: dict[str, tuple[Callable, Callable, list[tuple[int, ...]]]] = {
    "rms_norm": (lambda x, w: rms_norm(x, w, 1e-5), plain_norm, [(2, 3, 5), (5,)]),
    "into heads": (linear, lambda x, w: jnp.einsum("btd,dhk->bthk", x, w), [(2, 3, 5), (5, 2, 4)]),
    "out of heads": (
        lambda x, w: linear(x, w, inputs=2),
        lambda x, w: jnp.einsum("bthk,hkd->btd", x, w),
        [(2, 3, 4, 2), (4, 2, 5)],
    ),
    "swiglu": (
        swiglu,
        lambda x, gate, up, down: (jax.nn.silu(x @ gate) * (x @ up)) @ down,
        [(2, 3, 5), (5, 7), (5, 7), (7, 5)],
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_values_and_gradients(name: str) -> None:
    ours, plain, shapes = GRADIENTS[name]
    arguments = draw(*shapes)

    def both(f: Callable) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        def loss(*x):
            return jnp.sum(jnp.sin(f(*x)))

        return jax.jit(jax.value_and_grad(loss, argnums=tuple(range(len(shapes)))))(*arguments)

    (value, gradients), (plain_value, plain_gradients) = both(ours), both(plain)
    np.testing.assert_allclose(value, plain_value, rtol=1e-5)
    for a, b in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_rms_norm_equals_slow_twin() -> None:
    x, scale = draw((2, 3, 8), (8,))
    theirs = reference.rms_norm(np.asarray(x), np.asarray(scale), 1e-5)
    np.testing.assert_allclose(rms_norm(x, scale, 1e-5), theirs, rtol=1e-5)


def test_rms_norm_takes_its_statistics_in_float32() -> None:
    x = jnp.full((1, 4096), 3.0, jnp.bfloat16)  # a sum in bfloat16 would stand still long before the end
    np.testing.assert_allclose(rms_norm(x, jnp.ones(4096), 1e-5).astype(jnp.float32), 1.0)


def test_rotation_equals_slow_twin() -> None:
    (x,) = draw((2, 5, 3, 8))
    positions = np.asarray([[0, 1, 2, 3, 4], [9, 0, 77, 1, 4000]])
    ours = rotate(x, *rotary_angles(jnp.asarray(positions), 8, 5e6))
    np.testing.assert_allclose(ours, reference.rotate(np.asarray(x), positions, 5e6), atol=1e-3)
    np.testing.assert_allclose(ours[0], reference.rotate(np.asarray(x), positions, 5e6)[0], atol=2e-6)


def test_weight_gradients_stay_float32_under_bfloat16() -> None:
    x, w = draw((2, 3, 5), (5, 4))
    gradient = jax.grad(lambda w: linear(x.astype(jnp.bfloat16), w).astype(jnp.float32).sum())(w)
    assert gradient.dtype == jnp.float32
    rounded = x.astype(jnp.bfloat16).astype(jnp.float32).sum((0, 1))
    np.testing.assert_allclose(gradient, jnp.broadcast_to(rounded[:, None], w.shape), rtol=1e-6)
