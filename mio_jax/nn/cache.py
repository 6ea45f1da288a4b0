"""The key-value cache of a decoder: a plain pytree that goes in and comes out of every call."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class KVCache(NamedTuple):
    """Keys (after rotation) and values of every layer.

    All rows share one write slot: prompts of unlike length are padded on the left. Each layer has arrays of its own,
    with the heads before the places: a step then writes one slot in place and reads the rest as it lies, where slices
    of one stacked array would be copied and transposed.
    """

    k: tuple[jax.Array, ...]  # of each layer, [batch, kv_heads, length, head_dim]
    v: tuple[jax.Array, ...]  # of each layer, [batch, kv_heads, length, head_dim]
    valid: jax.Array  # bool [batch, length]: the slot holds a token that may be attended to
    index: jax.Array  # type: ignore[assignment]  # int32 scalar: the next slot to write (hides tuple.index)

    @property
    def length(self) -> int:
        return self.valid.shape[1]

    @classmethod
    def empty(cls, depth: int, batch: int, length: int, kv_heads: int, head_dim: int, dtype: jnp.dtype) -> KVCache:
        k, v = (tuple(jnp.zeros((batch, kv_heads, length, head_dim), dtype) for _ in range(depth)) for _ in "kv")
        return cls(k, v, jnp.zeros((batch, length), bool), jnp.zeros((), jnp.int32))

    def grown(self, length: int) -> KVCache:
        """The cache with `length` slots, the new ones free."""
        more = (0, length - self.length)
        k, v = (tuple(jnp.pad(x, ((0, 0), (0, 0), more, (0, 0))) for x in layers) for layers in (self.k, self.v))
        return KVCache(k, v, jnp.pad(self.valid, ((0, 0), more)), self.index)

    def take(self, rows: jax.Array) -> KVCache:
        """The cache of int32 `rows` [n] of this one; a row may be taken more than once."""
        k, v = (tuple(layer[rows] for layer in layers) for layers in (self.k, self.v))
        return KVCache(k, v, self.valid[rows], self.index)
