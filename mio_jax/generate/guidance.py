"""Classifier-free guidance: scores of a condition, pushed away from those of a neutral one.

A model whose first half of rows has the condition and whose second half has none is wrapped into one that looks like a
model of half the rows, so that everything else decodes with it unchanged.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, Param
from mio_jax.nn.cache import KVCache


def guided_scores(conditional: jax.Array, neutral: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """(1 + alpha) log p(condition) - alpha log p(neutral), of logits [..., vocab]; float32."""
    return (1 + alpha) * jax.nn.log_softmax(conditional) - alpha * jax.nn.log_softmax(neutral)


class Guided(Module):
    """Satisfies what of `mio_jax.protocols.Model` decoding needs, around a model with twice the rows.

    Both halves are given the same tokens. Beam search cannot use it: a beam's caches would come apart.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        self.model = model
        self.alpha = Param(jnp.float32(alpha), axes=())

    @property
    def spec(self) -> Any:
        return self.model.spec

    def init_cache(self, batch: int, length: int) -> KVCache:
        cache: KVCache = self.model.init_cache(2 * batch, length)
        return cache

    def extend(
        self, tokens: jax.Array, positions: jax.Array, valid: jax.Array, cache: KVCache
    ) -> tuple[jax.Array, KVCache]:
        """States of both halves side by side: [B, n, 2 D]."""
        twice = (jnp.concatenate([x, x]) for x in (tokens, positions, valid))
        hidden, cache = self.model.extend(*twice, cache)
        return jnp.concatenate(jnp.split(hidden, 2), axis=-1), cache

    def logits(self, hidden: jax.Array) -> jax.Array:
        conditional, neutral = (self.model.logits(half) for half in jnp.split(hidden, 2, axis=-1))
        return guided_scores(conditional, neutral, self.alpha[...])

    def for_decoding(self) -> Guided:
        guided: Guided = jax.tree.map(lambda w: w, self)
        guided.model = self.model.for_decoding()
        return guided
