"""One front for attention: `attention(q, k, v, mask=...)`. The mask is a description; few backends build it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from mio_jax.errors import MioError
from mio_jax.nn.attention_choice import Case, choose
from mio_jax.nn.base import platform
from mio_jax.nn.chunked_attention import FLOOR, NEG, chunked_attention
from mio_jax.nn.fused_attention import cudnn_attention, cudnn_serves, splash_attention
from mio_jax.nn.remat import ATTENTION
from mio_jax.nn.ring_attention import ring_attention, ring_size

FEW_QUERIES = 8  # of a row and kv head
BACKENDS = ("auto", "xla", "chunked", "ring", "cudnn", "splash")


@dataclass(frozen=True)
class MaskSpec:
    """Who may see whom, hashable. Segments, where given, always restrict: a query sees keys of its own segment, and
    segment 0 (padding) neither sees nor is seen.

    causal: a query sees keys at its own place in the row and before.
    """

    causal: bool = True


def allowed_pairs(
    mask: MaskSpec,
    q_segments: jax.Array | None,
    kv_segments: jax.Array | None,
    q_positions: jax.Array,
    kv_positions: jax.Array,
    prefix: jax.Array | None = None,
) -> jax.Array | None:
    """bool [batch or 1, q_length, kv_length], or None where everything is allowed.

    Segments are int32 [batch, length]; positions, places in the row, int32 [length] or [batch, length]; prefix is bool
    [batch, kv_length].
    """
    allowed = None
    if mask.causal:
        allowed = jnp.atleast_2d(q_positions)[:, :, None] >= jnp.atleast_2d(kv_positions)[:, None, :]
        allowed = allowed if prefix is None else allowed | prefix[:, None, :]
    if q_segments is not None and kv_segments is not None:
        same = (q_segments[:, :, None] == kv_segments[:, None, :]) & (kv_segments != 0)[:, None, :]
        allowed = same if allowed is None else allowed & same
    return allowed


def xla_attention(q: jax.Array, k: jax.Array, v: jax.Array, allowed: jax.Array | None) -> jax.Array:
    """The whole score matrix at once: the choice for decoding and short rows. Shapes as in `attention`."""
    batch, length, heads, head_dim = q.shape
    kv_heads = k.shape[2]
    q = (q * head_dim**-0.5).reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    scores = jnp.einsum("bqhgd,bshd->bhgqs", q, k, preferred_element_type=jnp.float32)
    if allowed is not None:
        scores = jnp.where(allowed[:, None, None], scores, NEG)
    top = jnp.maximum(jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)), FLOOR)
    p = jnp.exp(scores - top)
    p = p / jnp.maximum(p.sum(axis=-1, keepdims=True), 1e-30)
    out = jnp.einsum("bhgqs,bshd->bqhgd", p.astype(v.dtype), v)
    return out.reshape(batch, length, heads, head_dim)


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    mask: MaskSpec,
    q_segments: jax.Array | None = None,
    kv_segments: jax.Array | None = None,
    q_positions: jax.Array | None = None,
    kv_positions: jax.Array | None = None,
    prefix: jax.Array | None = None,
    allowed: jax.Array | None = None,
    backend: str = "auto",
) -> jax.Array:
    """Softmax attention with grouped queries; scores and softmax in float32.

    Args:
      q: [batch, q_length, heads, head_dim].
      k, v: [batch, kv_length, kv_heads, head_dim]; query head i uses kv head i // (heads // kv_heads).
      mask: the rule, see `MaskSpec`.
      q_segments, kv_segments: int32 [batch, length], 0 is padding; both or neither.
      q_positions, kv_positions: int32 [length] or [batch, length], places in the row for the causal rule (not the
        rotary positions); None: 0, 1, 2, ... A backend can leave work out only where they are None.
      prefix: bool [batch, kv_length], keys that every query of their segment may see, before it or behind (a prefix
        language model's inputs). None: no such keys.
      allowed: bool [batch or 1, q_length, kv_length], what may be seen at most; None: no further limit. Only backends
        that build the score matrix take it.
      backend: one of `BACKENDS`; "auto" picks by device, sharding and shape. docs/precision.md says what each can do.

    Returns:
      [batch, q_length, heads, head_dim] in q's dtype; zeros for a query that may see nothing.

    Raises:
      MioError: unknown backend, or one that cannot do what is asked.
    """
    if backend not in BACKENDS:
        raise MioError(f"model.attention is {backend!r}; it must be one of {', '.join(BACKENDS)}")
    self_attention = q_positions is None and kv_positions is None and q.shape[1] == k.shape[1]
    self_attention = self_attention and q_segments is kv_segments
    other_row = not mask.causal and q_positions is None and kv_positions is None and prefix is None
    if backend == "auto":
        alone = self_attention and allowed is None
        backend = choose(_case(q, k, alone, other_row and allowed is None, q_segments is not None, prefix is not None))
    if backend in ("chunked", "ring", "splash") and not (self_attention or (other_row and backend == "splash")):
        raise MioError(
            f"model.attention {backend!r} serves whole rows attending to themselves, with the same segments for "
            "queries and keys and no positions; use 'xla' or 'auto'"
        )
    if allowed is not None and backend not in ("xla", "cudnn"):
        raise MioError(f"model.attention {backend!r} takes no mask of single pairs; use 'xla' or 'auto'")
    if backend == "chunked":
        return chunked_attention(q, k, v, q_segments, prefix, mask.causal)
    if backend == "ring":
        return ring_attention(q, k, v, q_segments, prefix, mask.causal)
    if backend == "splash":
        return splash_attention(q, k, v, q_segments, kv_segments, prefix, mask.causal)
    q_at = jnp.arange(q.shape[1]) if q_positions is None else q_positions
    kv_at = jnp.arange(k.shape[1]) if kv_positions is None else kv_positions
    pairs = allowed_pairs(mask, q_segments, kv_segments, q_at, kv_at, prefix)
    if allowed is not None:
        pairs = allowed if pairs is None else pairs & allowed
    if backend == "cudnn":
        plain = mask.causal and self_attention and q_segments is None and prefix is None and allowed is None
        return cudnn_attention(q, k, v, None if plain else pairs, causal=plain)
    return checkpoint_name(xla_attention(q, k, v, pairs), ATTENTION)


def _case(q: jax.Array, k: jax.Array, self_attention: bool, other_row: bool, segments: bool, prefix: bool) -> Case:
    on = platform()
    return Case(
        platform=on,
        dtype=q.dtype.name,
        length=q.shape[1],
        head_dim=q.shape[-1],
        kv_length=k.shape[1],
        self_attention=self_attention,
        other_row=other_row,
        split_rows=(self_attention or other_row) and ring_size(q) > 1,
        segments=segments,
        prefix=prefix,
        flash_gpu=on == "gpu" and cudnn_serves(),
    )


def cached_attention(q: jax.Array, keys: jax.Array, values: jax.Array, allowed: jax.Array) -> jax.Array:
    """Softmax attention of new tokens to a cache, in plain batched products that read the cache as it lies.

    Args:
      q: [batch, n, heads, head_dim].
      keys, values: [batch, kv_heads, length, head_dim]; query head i uses kv head i // (heads // kv_heads).
      allowed: bool [batch, n, length].

    Returns:
      [batch, n, heads, head_dim] in q's dtype; a query that may see nothing sees the mean of all.
    """
    batch, n, heads, head_dim = q.shape
    kv_heads, length = keys.shape[1:3]
    # The queries of a group stand together in one axis: a product whose result has to be transposed costs a copy.
    q = (q * head_dim**-0.5).reshape(batch, n, kv_heads, -1, head_dim).transpose(0, 2, 3, 1, 4)
    q = q.reshape(batch, kv_heads, -1, head_dim)
    heads_first = ((0, 1), (0, 1))
    product = partial(jax.lax.dot_general, dimension_numbers=(((3,), (3,)), heads_first))
    if platform() == "cpu" and 1 < q.shape[2] <= FEW_QUERIES:
        # With the keys as its first factor the product reads them in order; as its second it would turn them first. The
        # barrier keeps XLA from swapping the factors back.
        scores = jax.lax.optimization_barrier(product(keys, q, preferred_element_type=jnp.float32)).swapaxes(2, 3)
    else:
        scores = product(q, keys, preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, kv_heads, -1, n, length)
    scores = jnp.where(allowed[:, None, None], scores, NEG)
    p = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    p = (p / p.sum(axis=-1, keepdims=True)).astype(values.dtype).reshape(batch, kv_heads, -1, length)
    out = jax.lax.dot_general(p, values, (((3,), (2,)), heads_first))
    out = out.reshape(batch, kv_heads, -1, n, head_dim).transpose(0, 3, 1, 2, 4)
    return out.reshape(batch, n, heads, head_dim)
