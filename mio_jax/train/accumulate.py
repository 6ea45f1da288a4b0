"""Loss and gradient of a batch, at once or in micro-batches one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.nn.base import constrain

Batch = dict[str, jax.Array]
# (trainable parameters, batch) -> (summed loss, sums)
Summed = Callable[[Any, Batch], tuple[jax.Array, dict[str, jax.Array]]]


def summed_gradient(
    summed: Summed, params: Any, batch: Batch, micro_batches: int, shardings: Any
) -> tuple[jax.Array, dict[str, jax.Array], Any]:
    """Summed loss, sums and the gradient of the summed loss, over all rows of `batch`.

    With `micro_batches` above 1 these are added up in a scan, in float32, so that activations are those of one part and
    the gradient is held once more. Nothing is divided here: parts differ in their weight, and a mean of means is wrong.

    Args:
      shardings: of `params`; the running sum lies like them.
    """
    value = jax.value_and_grad(summed, has_aux=True)
    if micro_batches == 1:
        (total, sums), gradient = value(params, batch)
        return total, sums, gradient

    def add(carry: Any, part: Batch) -> tuple[Any, None]:
        (total, sums), gradient = value(params, part)
        added = jax.tree.map(jnp.add, carry, (total, sums, gradient))
        return (*added[:2], jax.lax.with_sharding_constraint(added[2], shardings)), None

    parts = {name: _split(x, micro_batches) for name, x in batch.items()}
    first = {name: x[0] for name, x in parts.items()}
    (total, sums), gradient = jax.eval_shape(value, params, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), (total, sums, gradient))
    return jax.lax.scan(add, zeros, parts)[0]


def _split(x: jax.Array, count: int) -> jax.Array:
    """[rows, ...] -> [count, rows / count, ...]; part i has rows i, i + count, ..., so that none leaves its device."""
    parts = jnp.moveaxis(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 1, 0)
    return constrain(parts, None, "batch", *(["length"] if x.ndim == 2 else [None] * (x.ndim - 1)))
