"""Attention over blocks of queries with a hand-written gradient: the CPU's backend.

A block of queries meets only the keys that the causal rule lets it see, so the upper triangle costs nothing; the
gradient recomputes probabilities from the stored logsumexp, so that no [length, length] array outlives its block. The
loop over blocks is unrolled (there are few), which gives every block static shapes and plain batched matrix products.

Shape letters: B batch, G kv heads, R query heads of one kv head, T length, K head width.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from mio_jax.nn.base import platform
from mio_jax.nn.remat import ATTENTION

NEG = -1e30  # score of a forbidden pair; finite, so that rows which see nothing have finite gradients
FLOOR = -1e20  # below any allowed score; the row maximum is held above it, so that exp(NEG - maximum) is 0
MIN_BLOCK = 64
MAX_BLOCKS = 8

Residuals = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array | None, jax.Array | None]


def query_blocks(length: int) -> list[tuple[int, int]]:
    """[start, stop) of the blocks: at most `MAX_BLOCKS`, none but the last shorter than `MIN_BLOCK`."""
    size = max(MIN_BLOCK, -(-length // MAX_BLOCKS))
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _product(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Batched matrix product over B and G, accumulated and returned in float32."""
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _fold(x: jax.Array, start: int, stop: int) -> jax.Array:
    """Queries [start, stop) of [B, G, R, T, K] as rows of one matrix for each kv head: [B, G, R * n, K]."""
    batch, groups, share, _, width = x.shape
    return x[:, :, :, start:stop].reshape(batch, groups, share * (stop - start), width)


def _turned(x: jax.Array) -> jax.Array:
    """[B, G, n, K] -> [B, G, K, n], the first factor of a product that sums over queries.

    On the CPU, the fast matrix product needs the summed axis of the first factor last; the barrier keeps XLA from
    taking the transposition into the product.
    """
    turned = x.swapaxes(2, 3)
    return jax.lax.optimization_barrier(turned) if platform() == "cpu" else turned


def _masked_scores(
    q: jax.Array,
    k: jax.Array,
    segments: jax.Array | None,
    prefix: jax.Array | None,
    causal: bool,
    start: int,
    stop: int,
) -> jax.Array:
    """float32 [B, G, R, n, keys] of the n queries [start, stop) and the keys that they may see."""
    batch, groups, share, _, width = q.shape
    scores = _product("bgqk,bgsk->bgqs", _fold(q, start, stop), k) * width**-0.5
    scores = scores.reshape(batch, groups, share, stop - start, k.shape[2])
    allowed = None
    if causal:
        allowed = (jnp.arange(start, stop)[:, None] >= jnp.arange(k.shape[2]))[None]
        allowed = allowed if prefix is None else allowed | prefix[:, None]
    if segments is not None:
        keys = segments[:, None, : k.shape[2]]
        same = (segments[:, start:stop, None] == keys) & (keys != 0)
        allowed = same if allowed is None else allowed & same
    return scores if allowed is None else jnp.where(allowed[:, None, None], scores, NEG)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def chunked_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array | None, prefix: jax.Array | None, causal: bool
) -> jax.Array:
    """q [B, T, G * R, K], k and v [B, T, G, K], segments int32 and prefix bool [B, T] or None -> [B, T, G * R, K]."""
    return _forward(q, k, v, segments, prefix, causal)[0]


def _seen(stop: int, length: int, prefix: jax.Array | None, causal: bool) -> slice:
    """The keys that a block of queries ending at `stop` has to look at."""
    return slice(0, stop if causal and prefix is None else length)


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array | None, prefix: jax.Array | None, causal: bool
) -> tuple[jax.Array, Residuals]:
    batch, length, heads, width = q.shape
    groups = k.shape[2]
    q = q.reshape(batch, length, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
    k, v = (x.transpose(0, 2, 1, 3) for x in (k, v))
    outs, lses = [], []
    for start, stop in query_blocks(length):
        seen = _seen(stop, length, prefix, causal)
        scores = _masked_scores(q, k[:, :, seen], segments, prefix, causal, start, stop)
        top = jnp.maximum(scores.max(axis=-1, keepdims=True), FLOOR)
        p = jnp.exp(scores - top)
        total = jnp.maximum(p.sum(axis=-1, keepdims=True), 1e-30)
        rows = p.astype(v.dtype).reshape(batch, groups, -1, p.shape[-1])
        out = _product("bgqs,bgsk->bgqk", rows, v[:, :, seen]).reshape(*p.shape[:-1], width)
        outs.append((out / total).astype(q.dtype))
        lses.append(top + jnp.log(total))
    out = jnp.concatenate(outs, axis=3).transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)
    out, lse = (checkpoint_name(x, ATTENTION) for x in (out, jnp.concatenate(lses, axis=3)))
    return out, (q, k, v, out, lse, segments, prefix)


def _backward(
    causal: bool, kept: Residuals, d_out: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, np.ndarray | None, np.ndarray | None]:
    q, k, v, out, lse, segments, prefix = kept
    batch, groups, share, length, width = q.shape
    delta = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(axis=-1)
    delta = delta.reshape(batch, length, groups, share, 1).transpose(0, 2, 3, 1, 4)
    d_out = d_out.reshape(batch, length, groups, share, width).transpose(0, 2, 3, 1, 4)
    d_k, d_v = (jnp.zeros((batch, groups, width, length), jnp.float32) for _ in "kv")
    d_qs = []
    for start, stop in query_blocks(length):
        seen, block = _seen(stop, length, prefix, causal), slice(start, stop)
        scores = _masked_scores(q, k[:, :, seen], segments, prefix, causal, start, stop)
        p = jnp.exp(scores - lse[:, :, :, block])
        g = _fold(d_out, start, stop)
        d_p = _product("bgqk,bgsk->bgqs", g, v[:, :, seen]).reshape(p.shape)
        rows = (batch, groups, -1, p.shape[-1])
        d_s = (p * (d_p - delta[:, :, :, block])).astype(q.dtype).reshape(rows)
        d_v = d_v.at[..., seen].add(_product("bgkq,bgqs->bgks", _turned(g), p.astype(g.dtype).reshape(rows)))
        d_k = d_k.at[..., seen].add(_product("bgkq,bgqs->bgks", _turned(_fold(q, start, stop)), d_s))
        d_qs.append(_product("bgqs,bgsk->bgqk", d_s, k[:, :, seen]).reshape(*p.shape[:-1], width))
    scale = width**-0.5
    d_q = (jnp.concatenate(d_qs, axis=3) * scale).astype(q.dtype)
    d_q = d_q.transpose(0, 3, 1, 2, 4).reshape(batch, length, groups * share, width)
    d_k = (d_k * scale).astype(k.dtype).transpose(0, 3, 1, 2)
    d_v = d_v.astype(v.dtype).transpose(0, 3, 1, 2)
    nothing = [None if x is None else np.zeros(x.shape, jax.dtypes.float0) for x in (segments, prefix)]
    return d_q, d_k, d_v, nothing[0], nothing[1]


chunked_attention.defvjp(_forward, _backward)
