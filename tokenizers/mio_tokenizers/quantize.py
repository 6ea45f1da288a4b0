"""Vector quantisation shared by image and sound tokenizers: the search, and the codebook learned by moving averages."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


def normalise(x: jax.Array, eps: float = 1e-8) -> jax.Array:
    """Unit length along the last axis."""
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + eps)


def nearest(x: jax.Array, codes: jax.Array) -> jax.Array:
    """Index int32 [...] of the nearest row of `codes` [n, dim] to each vector of `x` [..., dim].

    The squared distance is expanded, and the term that all candidates share is left out. Float32 products throughout:
    reduced precision on an accelerator would let the device choose the token.
    """
    highest = jax.lax.Precision.HIGHEST
    score = 2 * jnp.matmul(x, codes.T, precision=highest) - jnp.sum(codes * codes, axis=-1)
    return jnp.argmax(score, axis=-1).astype(jnp.int32)


def straight_through(x: jax.Array, quantised: jax.Array) -> jax.Array:
    """`quantised` in value, `x` to the gradient."""
    return x + jax.lax.stop_gradient(quantised - x)


def codebook_loss(x: jax.Array, quantised: jax.Array, *, beta: float, legacy: bool = False) -> jax.Array:
    """Squared distance that draws the codes to the vectors and the vectors to their codes. Scalar.

    beta: weight of the vectors' way (the commitment); `legacy`: of the codes' way instead, as the first VQGANs had it.
    """
    codes_move = jnp.mean((jax.lax.stop_gradient(x) - quantised) ** 2)
    vectors_move = jnp.mean((x - jax.lax.stop_gradient(quantised)) ** 2)
    return beta * codes_move + vectors_move if legacy else codes_move + beta * vectors_move


class Codebook(NamedTuple):
    """`codes` float32 [n, dim]; `counts` [n] and `sums` [n, dim]: moving averages of use and of what used them."""

    codes: jax.Array
    counts: jax.Array
    sums: jax.Array


def new_codebook(key: jax.Array, size: int, dim: int, *, unit: bool = False) -> Codebook:
    """Random codes with no use yet: the first update gives those that it does not use to vectors of its batch."""
    codes = jax.random.normal(key, (size, dim), jnp.float32)
    codes = normalise(codes) if unit else codes
    return Codebook(codes, jnp.zeros((size,), jnp.float32), jnp.zeros_like(codes))


def update_codebook(
    book: Codebook,
    x: jax.Array,
    chosen: jax.Array,
    key: jax.Array,
    *,
    decay: float,
    revive_below: float,
    unit: bool = False,
) -> tuple[Codebook, jax.Array]:
    """One step of the moving averages; codes that nothing uses any more become vectors of this batch.

    The vectors that replace them are drawn without repetition, the badly served ones more often, so that a frequent
    vector (white paper) does not take many codes.

    Args:
      x: [m, dim] vectors of the batch. chosen: int32 [m], their codes.
      revive_below: a code whose average use a batch falls below this share of the mean use is replaced.
      unit: codes are kept at unit length.

    Returns:
      (codebook, how many codes were revived).
    """
    size = book.codes.shape[0]
    # A segment sum, not a one-hot product: the latter costs as much as a layer of the network for large batches.
    counts = jax.ops.segment_sum(jnp.ones(x.shape[:1], jnp.float32), chosen, size)
    sums = jax.ops.segment_sum(x.astype(jnp.float32), chosen, size)
    counts = decay * book.counts + (1 - decay) * counts
    sums = decay * book.sums + (1 - decay) * sums
    codes = sums / jnp.maximum(counts, 1e-6)[:, None]
    mean_use = x.shape[0] / size
    dead = counts < revive_below * mean_use
    error = jnp.sum((x - book.codes[chosen]) ** 2, axis=-1)
    lots = jnp.log(error + 1e-8) + jax.random.gumbel(key, error.shape)
    drawn = jax.lax.top_k(lots, min(size, x.shape[0]))[1]
    fresh = x[jnp.resize(drawn, (size,))].astype(jnp.float32)
    codes = jnp.where(dead[:, None], fresh, codes)
    codes = normalise(codes) if unit else codes
    # A revived code gets the mean use as its history: it is then judged by what it wins, not by its birth.
    counts = jnp.where(dead, mean_use, counts)
    sums = jnp.where(dead[:, None], codes * mean_use, sums)
    return Codebook(codes, counts, sums), jnp.sum(dead)


def perplexity(chosen: jax.Array, size: int) -> jax.Array:
    """exp of the entropy of code use: `size` if all codes are used equally often."""
    share = jax.ops.segment_sum(jnp.ones(chosen.size, jnp.float32), chosen.reshape(-1), size) / chosen.size
    return jnp.exp(-jnp.sum(share * jnp.log(share + 1e-10)))
