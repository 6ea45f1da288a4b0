"""Attention over rows whose length is split over devices: blocks of keys and values travel around a ring.

Every device keeps its queries; in each of as many steps as there are devices it meets one block and passes it on. No
device ever holds the keys of a whole row, nor a score matrix larger than its own length squared. The gradient goes
around the ring again, with the gradients of a block travelling beside it until both are home.

Shape letters: B batch, G kv heads, R query heads of one kv head, T length on one device, K head width.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from mio_jax.errors import MioError
from mio_jax.nn.chunked_attention import FLOOR, NEG
from mio_jax.nn.local_heads import length_axes, on_each_device
from mio_jax.nn.remat import ATTENTION

Block = tuple[jax.Array, ...]  # what travels: k, v, segments, prefix, and in the gradient d_k and d_v


def ring_size(q: jax.Array) -> int:
    """Over how many devices the rules in force split the length of q [B, T, H, K]."""
    mesh, ways = jax.sharding.get_abstract_mesh(), 1
    for axis in length_axes(q):
        ways *= mesh.shape[axis]
    return ways


def ring_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array | None, prefix: jax.Array | None, causal: bool
) -> jax.Array:
    """Shapes as in `mio_jax.nn.attention.attention`, of whole rows.

    Raises:
      MioError: no mesh axis splits the length.
    """
    axes = length_axes(q)
    if not axes:
        raise MioError("model.attention 'ring' needs rows split over devices (mesh.seq above 1); use 'auto'")
    segments = jnp.ones(q.shape[:2], jnp.int32) if segments is None else segments
    prefix = jnp.zeros(q.shape[:2], bool) if prefix is None else prefix
    return on_each_device(partial(_ring, causal=causal, axes=axes), q, k, v, segments, prefix)


def _ring(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, prefix: jax.Array, causal: bool, axes: tuple
) -> jax.Array:
    return _attend(q, k, v, segments, prefix, causal, axes)


def _pass_on(block: Block, axes: tuple[str, ...]) -> Block:
    ways = jax.lax.axis_size(axes)
    return jax.lax.ppermute(block, axes, [(i, (i + 1) % ways) for i in range(ways)])


def _scores(
    q: jax.Array, k: jax.Array, own: jax.Array, segments: jax.Array, prefix: jax.Array, causal: bool, start: Any
) -> jax.Array:
    """float32 [B, G, R, T, T] of scaled q [B, T, G, R, K] and a block k [B, T, G, K].

    `own` are the segments of the queries; `start`: places of the first query and the first key in the row.
    """
    scores = jnp.einsum("bqgrk,bsgk->bgrqs", q, k, preferred_element_type=jnp.float32)
    allowed = (own[:, :, None] == segments[:, None]) & (segments != 0)[:, None]
    if causal:
        at = jnp.arange(q.shape[1])
        allowed &= ((start[0] + at)[:, None] >= (start[1] + at)[None])[None] | prefix[:, None]
    return jnp.where(allowed[:, None, None], scores, NEG)


def _grouped(q: jax.Array, k: jax.Array) -> jax.Array:
    """Heads [B, T, G * R, K] as [B, T, G, R, K]."""
    return q.reshape(*q.shape[:2], k.shape[2], -1, q.shape[3])


def _starts(step: jax.Array, length: int, axes: tuple[str, ...]) -> tuple[jax.Array, jax.Array]:
    """Places in the row of this device's first query, and of the first key of the block that it has in this step."""
    me = jax.lax.axis_index(axes)
    return me * length, (me - step) % jax.lax.axis_size(axes) * length


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _attend(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, prefix: jax.Array, causal: bool, axes: tuple
) -> jax.Array:
    return _forward(q, k, v, segments, prefix, causal, axes)[0]


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, prefix: jax.Array, causal: bool, axes: tuple
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    length = q.shape[1]
    grouped = _grouped(q, k) * q.shape[3] ** -0.5

    def meet(carry: Any, step: jax.Array) -> tuple[Any, None]:
        (keys, values, theirs, free), acc, top, total = carry
        scores = _scores(grouped, keys, segments, theirs, free, causal, _starts(step, length, axes))
        higher = jnp.maximum(top, scores.max(axis=-1, keepdims=True))
        p, fade = jnp.exp(scores - higher), jnp.exp(top - higher)
        seen = jnp.einsum("bgrqs,bsgk->bgrqk", p.astype(values.dtype), values, preferred_element_type=jnp.float32)
        total = total * fade + p.sum(axis=-1, keepdims=True)
        return (_pass_on((keys, values, theirs, free), axes), acc * fade + seen, higher, total), None

    shape = (q.shape[0], k.shape[2], q.shape[2] // k.shape[2], length)
    start = (
        jnp.zeros((*shape, q.shape[3]), jnp.float32),
        jnp.full((*shape, 1), FLOOR, jnp.float32),
        jnp.zeros((*shape, 1), jnp.float32),
    )
    steps = jnp.arange(jax.lax.axis_size(axes))
    (_, acc, top, total), _ = jax.lax.scan(meet, ((k, v, segments, prefix), *start), steps)
    total = jnp.maximum(total, 1e-30)
    out, lse = (checkpoint_name(x, ATTENTION) for x in ((acc / total).astype(q.dtype), top + jnp.log(total)))
    merged = out.transpose(0, 3, 1, 2, 4).reshape(q.shape)
    return merged, (q, k, v, segments, prefix, out, lse)


def _backward(causal: bool, axes: tuple, kept: tuple[jax.Array, ...], g: jax.Array) -> tuple[Any, ...]:
    q, k, v, segments, prefix, out, lse = kept
    length, scale = q.shape[1], q.shape[3] ** -0.5
    grouped = _grouped(q, k) * scale
    d_out = _grouped(g, k).transpose(0, 2, 3, 1, 4)
    delta = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(axis=-1, keepdims=True)

    def meet(carry: Any, step: jax.Array) -> tuple[Any, None]:
        (keys, values, theirs, free, d_k, d_v), d_q = carry
        scores = _scores(grouped, keys, segments, theirs, free, causal, _starts(step, length, axes))
        p = jnp.exp(scores - lse)
        d_p = jnp.einsum("bgrqk,bsgk->bgrqs", d_out, values, preferred_element_type=jnp.float32)
        d_s = (p * (d_p - delta)).astype(q.dtype)
        d_v += jnp.einsum("bgrqs,bgrqk->bsgk", p.astype(g.dtype), d_out, preferred_element_type=jnp.float32)
        d_k += jnp.einsum("bgrqs,bqgrk->bsgk", d_s, grouped, preferred_element_type=jnp.float32)
        d_q += jnp.einsum("bgrqs,bsgk->bqgrk", d_s, keys, preferred_element_type=jnp.float32)
        return (_pass_on((keys, values, theirs, free, d_k, d_v), axes), d_q), None

    block = (k, v, segments, prefix, jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32))
    steps = jnp.arange(jax.lax.axis_size(axes))
    ((*_, d_k, d_v), d_q), _ = jax.lax.scan(meet, (block, jnp.zeros(grouped.shape, jnp.float32)), steps)
    nothing = [np.zeros(x.shape, jax.dtypes.float0) for x in (segments, prefix)]
    return (d_q * scale).astype(q.dtype).reshape(q.shape), d_k.astype(k.dtype), d_v.astype(v.dtype), *nothing


_attend.defvjp(_forward, _backward)
