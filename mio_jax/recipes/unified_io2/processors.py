"""Rules on the scores of a step that free decoding needs for boxes (specification section 19.4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_tokenizers.structured.extra_ids import LEVELS

FORBIDDEN = -10000.0
THRESHOLD = 0.5  # the paper's; the published runner takes 0.3 for localisation
EOS = 1


def prefer_locations(
    scores: jax.Array, first_location: int, threshold: float = THRESHOLD, *, forbid_end: bool | jax.Array = False
) -> jax.Array:
    """Scores [..., vocab] of a step -> scores in which a likely location token leaves no choice but one.

    Where the location tokens together have more than `threshold` of the probability, every other token is forbidden: a
    box goes on rather than that its many near misses lose against one word. `forbid_end`: the sequence may not end here
    (true at the first step where at least one box is required).
    """
    ids = jnp.arange(scores.shape[-1])
    located = (ids >= first_location) & (ids < first_location + LEVELS)
    share = jnp.sum(jax.nn.softmax(scores.astype(jnp.float32), axis=-1), axis=-1, where=located, keepdims=True)
    out = jnp.where((share > threshold) & ~located, FORBIDDEN, scores)
    return jnp.where((ids == EOS) & forbid_end, FORBIDDEN, out)
