"""Rotary position embedding: angles of one or two coordinates, and the two ways to pair the numbers of a head.

"half" turns number j with number j + head_dim / 2 (LLaMA in Hugging Face's order of rows), "pairs" turns neighbours, 2j
with 2j + 1 (LLaMA's and T5X's own order).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rotary_angles(positions: jax.Array, head_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Positions [...] -> (cos, sin), float32 [..., head_dim / 2]: position * theta^(-2j/head_dim)."""
    frequency = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angle = positions.astype(jnp.float32)[..., None] * frequency
    return jnp.cos(angle), jnp.sin(angle)


def grid_angles(
    rows: jax.Array, columns: jax.Array, head_dim: int, theta: float = 10_000.0
) -> tuple[jax.Array, jax.Array]:
    """Coordinates on a grid, [...] each and not necessarily whole -> (cos, sin), float32 [..., head_dim / 2].

    The first half of the pairs turns by the row, the second by the column, each with frequencies of its own from
    1 down to theta^-1.
    """
    angles = (rotary_angles(coordinate, head_dim // 2, theta) for coordinate in (rows, columns))
    cos, sin = (jnp.concatenate(parts, axis=-1) for parts in zip(*angles, strict=True))
    return cos, sin


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array, pairs: bool = False) -> jax.Array:
    """Turns [batch, length, heads, head_dim] by angles [batch, length, head_dim / 2]; float32 inside, x's dtype out.

    `pairs`: neighbouring numbers are turned together, else those half a head apart.
    """
    cos, sin = cos[:, :, None, :], sin[:, :, None, :]
    if pairs:
        a, b = x[..., 0::2].astype(jnp.float32), x[..., 1::2].astype(jnp.float32)
        turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1)
        return turned.reshape(x.shape).astype(x.dtype)
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
