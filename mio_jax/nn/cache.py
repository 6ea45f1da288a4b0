"""The key-value cache of a decoder: a plain pytree that goes in and comes out of every call."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class KVCache(NamedTuple):
    """Keys (after rotation) and values of every layer.

    All rows share one write slot: prompts of unlike length are padded on the left.
    """

    k: jax.Array  # [depth, batch, length, kv_heads, head_dim]
    v: jax.Array  # [depth, batch, length, kv_heads, head_dim]
    valid: jax.Array  # bool [batch, length]: the slot holds a token that may be attended to
    index: jax.Array  # int32 scalar: the next slot to write

    @property
    def length(self) -> int:
        return self.k.shape[2]

    @classmethod
    def empty(cls, depth: int, batch: int, length: int, kv_heads: int, head_dim: int, dtype: jnp.dtype) -> KVCache:
        shape = (depth, batch, length, kv_heads, head_dim)
        return cls(
            jnp.zeros(shape, dtype),
            jnp.zeros(shape, dtype),
            jnp.zeros((batch, length), bool),
            jnp.zeros((), jnp.int32),
        )
