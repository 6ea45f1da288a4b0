"""One kind of transformer layer for every model; what differs between papers is data in `LayerSpec`.

A layer attends to its own row (encoders and decoders), to another sequence (a resampler's latents), or to both (the
decoder of an encoder-decoder), then feeds forward; each part is pre-normed and residual. Layers of a stack are made by
`make_layers` with their weights stacked, and run in a scan by `run_layers`.

Shape letters: B batch, T tokens of a row, S tokens of the other sequence, D model width, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mio_jax.nn.attention import cached_attention
from mio_jax.nn.base import List, Module, constrain, platform
from mio_jax.nn.layer_parts import MLP, Angles, Attention, Context, LayerSpec, Row, SwiGLU, make_norm
from mio_jax.nn.low_rank import Adapted
from mio_jax.nn.remat import remat


class Patterns(NamedTuple):
    """Further limits of self-attention, by layer.

    Attributes:
      allowed: bool [kinds, B or 1, T, T].
      kinds: int32 [depth], the one that holds in each layer.
    """

    allowed: jax.Array
    kinds: jax.Array


class Layer(Module):
    """Pre-norm residual layer."""

    def __init__(self, spec: LayerSpec, key: jax.Array) -> None:
        a, m = jax.random.split(key)
        if spec.self_attention:
            self.attention_norm = make_norm(spec)
            self.attention = Attention(spec, a)
        if spec.context:
            self.cross_norm = make_norm(spec)
            self.cross = Attention(spec, jax.random.fold_in(key, 2), spec.context)
        self.mlp_norm = make_norm(spec)
        self.mlp = SwiGLU(spec, m) if spec.mlp == "swiglu" else MLP(spec, m)
        self.spec = spec

    @property
    def adapted(self) -> bool:
        """Whether a kernel has a low-rank adapter."""
        parts = [part for part in vars(self).values() if isinstance(part, Module)]
        return any(isinstance(kernel, Adapted) for part in parts for kernel in vars(part).values())

    def arrange(self) -> None:
        """Lays the weights out for decoding on a CPU; calls compute the same."""
        if self.spec.self_attention:
            self.attention.arrange(join=True)
        if self.spec.context:
            self.cross.arrange(join=False)
        self.mlp.arrange()

    def feed_forward(self, x: jax.Array) -> jax.Array:
        return constrain(x + self.mlp(self.mlp_norm(x)), "batch", "length", "act_embed")

    def __call__(
        self, x: jax.Array, row: Row, allowed: jax.Array | None = None, context: Context | None = None
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D]. `allowed`: bool [B or 1, T, T], a further limit of self-attention."""
        if self.spec.self_attention:
            x = x + self.attention(self.attention_norm(x), row, allowed)
        if self.spec.context:
            x = x + self.cross(self.cross_norm(x), row, context=context)
        return self.feed_forward(x)

    def extend(
        self,
        x: jax.Array,
        angles: Angles | None,
        cached: tuple[jax.Array, jax.Array],
        index: jax.Array,
        allowed: jax.Array,
        context: Remembered | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Like `__call__` for n tokens at slots `index...` of this layer's cache, which it writes and reads.

        Args:
          x: [B, n, D].
          cached: keys and values, [B, kv_heads, length, K].
          allowed: bool [B, n, length], the slots that each token may see once all are written.
          context: what cross-attention reads, in a layer that has it.

        Returns:
          (states [B, n, D], keys and values).
        """
        q, *new = self.attention.project(self.attention_norm(x), angles)
        keys, values = (
            jax.lax.dynamic_update_slice(old, now.swapaxes(1, 2).astype(old.dtype), (0, 0, index, 0))
            for old, now in zip(cached, new, strict=True)
        )
        seen = cached_attention(q, keys, values, allowed)
        x = x + self.attention.merge(seen)
        if context is not None:
            q = self.cross.queries(self.cross_norm(x), angles)
            x = x + self.cross.merge(context.attend(q))
        return self.feed_forward(x), (keys, values)


class Remembered(NamedTuple):
    """One layer's keys and values of a context that does not change while tokens are decoded.

    There may be several rows of tokens to one of the context, next to each other (the beams of an example).
    """

    k: jax.Array  # [B, kv_heads, S, K]
    v: jax.Array  # [B, kv_heads, S, K]
    valid: jax.Array  # bool [B, S]

    def attend(self, q: jax.Array) -> jax.Array:
        """Queries [B * rows, n, H, K] -> [B * rows, n, H, K]; zeros where the context is empty."""
        batch, n = self.k.shape[0], q.shape[1]
        rows = q.shape[0] // batch
        together = q.reshape(batch, rows * n, *q.shape[2:])
        allowed = jnp.broadcast_to(self.valid[:, None], (batch, rows * n, self.valid.shape[1]))
        seen = cached_attention(together, self.k, self.v, allowed)
        seen = jnp.where(self.valid.any(axis=1)[:, None, None, None], seen, 0)
        return seen.reshape(q.shape)


def make_layers(spec: LayerSpec, key: jax.Array) -> Layer:
    """The layers of a stack, every weight with a leading axis of `spec.depth`."""
    layers: Layer = jax.vmap(partial(Layer, spec))(jax.random.split(key, spec.depth))
    return layers


def run_layers(
    layers: Layer,
    x: jax.Array,
    row: Row,
    *,
    context: Context | None = None,
    patterns: Patterns | None = None,
    policy: str = "none",
) -> jax.Array:
    """[B, T, D] through all layers -> [B, T, D], not normed. `policy`: a key of `mio_jax.nn.remat.REMAT_POLICIES`."""

    def body(x: jax.Array, at: tuple[Layer, jax.Array | None]) -> tuple[jax.Array, None]:
        layer, kind = at
        allowed = None if patterns is None else jax.lax.dynamic_index_in_dim(patterns.allowed, kind, 0, False)
        return layer(x, row, allowed, context), None

    x, _ = jax.lax.scan(remat(body, policy), x, (layers, None if patterns is None else patterns.kinds))
    return x


def unstack(layers: Layer | Sequence[Layer]) -> Sequence[Layer]:
    """The layers of a stack one by one."""
    if not isinstance(layers, Layer):
        return layers
    return [jax.tree.map(lambda w, i=i: w[i], layers) for i in range(layers.spec.depth)]


def apart(layers: Layer | Sequence[Layer]) -> List:
    """The layers of a stack one by one, arranged for many calls of `extend`."""
    each = [jax.tree.map(lambda w: w, layer) for layer in unstack(layers)]
    for layer in each:
        # Weights of quantized products are scaled by column, and adapted ones are not arrays: those stay as they are.
        if platform() == "cpu" and layer.spec.quantize == "none" and not layer.adapted:
            layer.arrange()
    return List(each)


def remember(layers: Sequence[Layer], context: Context) -> tuple[Remembered, ...]:
    """What cross-attention of each layer reads, computed once for all steps of decoding.

    Segments of the context say what holds a token (not 0); tokens that are decoded see all of it.
    """
    segments = context.row.segments
    valid = jnp.ones(context.states.shape[:2], bool) if segments is None else segments != 0
    made = (layer.cross.keys_values(context.states, context.row.angles) for layer in layers)
    return tuple(Remembered(k.swapaxes(1, 2), v.swapaxes(1, 2), valid) for k, v in made)


def slice_layers(layers: Layer, start: int, stop: int) -> Layer:
    """Layers [start, stop) of a stack, stacked."""
    part: Any = jax.tree.map(lambda w: w[start:stop], layers)
    return part
