"""Log-likelihoods of given continuations: the prompt runs once, its cache is shared by all of its candidates."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.generate.decode import Prompts, prefill
from mio_jax.nn.base import apply


@partial(jax.jit, static_argnames=("graphdef",))
def score_rows(graphdef: Any, params: Any, prompts: Prompts, tokens: jax.Array, valid: jax.Array) -> jax.Array:
    """Summed log-likelihood of every candidate after its prompt.

    Args:
      prompts: B left-padded prompts.
      tokens: int32 [B, C, n], C candidates a prompt, padded on the right; `valid`, bool like it, says where.

    Returns:
      float32 [B, C].
    """
    model = apply(graphdef, params)
    batch, candidates, length = tokens.shape
    rows = batch * candidates
    last, cache = prefill(model, prompts, prompts.tokens.shape[1] + length)
    owner = jnp.repeat(jnp.arange(batch), candidates)
    tokens, valid = tokens.reshape(rows, length), valid.reshape(rows, length)
    positions = prompts.positions[owner, -1:] + 1 + jnp.arange(length)[None]
    hidden, _ = model.extend(tokens, positions, valid, cache.take(owner))
    # What predicts a token is the state before it. One place at a time: [rows, vocab] logits are all that exists.
    before = jnp.concatenate([last[owner][:, None], hidden[:, :-1]], 1)

    def add(total: jax.Array, at: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        state, token, counts = at
        logits = model.logits(state)
        chosen = jnp.take_along_axis(logits, token[:, None], 1)[:, 0]
        return total + jnp.where(counts, chosen - jax.nn.logsumexp(logits, -1), 0), None

    total, _ = jax.lax.scan(add, jnp.zeros(rows), (before.swapaxes(0, 1), tokens.T, valid.T))
    return total.reshape(batch, candidates)
