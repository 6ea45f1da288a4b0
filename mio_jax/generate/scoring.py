"""Log-likelihoods of given continuations: the prompt runs once, its cache is shared by all of its candidates."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.generate.decode import Prompts, prefill
from mio_jax.nn.base import apply

Pair = tuple[jax.Array, jax.Array]


@partial(jax.jit, static_argnames=("graphdef",))
def score_rows(graphdef: Any, params: Any, prompts: Prompts, tokens: jax.Array, valid: jax.Array) -> Pair:
    """Summed log-likelihood of every candidate after its prompt, and whether greedy decoding would have said it.

    Args:
      prompts: B left-padded prompts.
      tokens: int32 [B, C, n], C candidates a prompt, padded on the right; `valid`, bool like it, says where.

    Returns:
      float32 [B, C], bool [B, C].
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

    def add(sums: Pair, at: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Pair, None]:
        (total, greedy), (state, token, counts) = sums, at
        logits = model.logits(state)
        chosen = jnp.take_along_axis(logits, token[:, None], 1)[:, 0]
        total = total + jnp.where(counts, chosen - jax.nn.logsumexp(logits, -1), 0)
        return (total, greedy & (~counts | (logits.argmax(-1) == token))), None

    none = (jnp.zeros(rows), jnp.ones(rows, bool))
    (total, greedy), _ = jax.lax.scan(add, none, (before.swapaxes(0, 1), tokens.T, valid.T))
    return total.reshape(batch, candidates), greedy.reshape(batch, candidates)
