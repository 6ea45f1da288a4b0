"""Stacks of layers over sequences that are already embedded: an encoder, and a decoder that reads what it made.

What goes into a stack is an `Embedded`: states, who they are for, and where they stand. Packing several examples into
a row is a change of the `Embedded` alone (its `segments` and `examples` then tell them apart), so it needs no other
stack.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, constrain
from mio_jax.nn.cache import KVCache
from mio_jax.nn.layer_parts import Angles, Context, LayerSpec, Row
from mio_jax.nn.layers import Layer, Patterns, Remembered, make_layers, remember, run_layers, unstack
from mio_jax.nn.norms import RMSNorm


class Embedded(NamedTuple):
    """A sequence behind its front ends. Letters: B rows, T places, D width, K head width.

    Attributes:
      states: [B, T, D].
      mask: bool [B, T], places that hold a token.
      angles: cos and sin of the rotary embedding, [B, T, K / 2] each.
      segments: int32 [B, T], who sees whom within the sequence: places with the same number do. Only read where `mask`.
      examples: int32 [B, T], which example of its row a token is of: decoders see the encoder's tokens of the same
        example. Only read where `mask`.
    """

    states: jax.Array
    mask: jax.Array
    angles: Angles
    segments: jax.Array
    examples: jax.Array

    @property
    def row(self) -> Row:
        return Row(self.angles, _where_masked(self.segments, self.mask))

    @property
    def example_ids(self) -> jax.Array:
        """int32 [B, T]: 0 is padding."""
        return _where_masked(self.examples, self.mask)


def _where_masked(ids: jax.Array, mask: jax.Array) -> jax.Array:
    """Ids from 0 become ids from 1, and 0 where there is no token."""
    return jnp.where(mask, ids + 1, 0).astype(jnp.int32)


def join(parts: list[Embedded]) -> Embedded:
    """Sequences one behind the other. Raises ValueError (of `concatenate`) where there is none."""
    states, mask, cos, sin, segments, examples = (
        jnp.concatenate(x, axis=1)
        for x in zip(*((p.states, p.mask, *p.angles, p.segments, p.examples) for p in parts), strict=True)
    )
    states = constrain(states, "batch", "length", "act_embed")
    return Embedded(states, mask, (cos, sin), segments, examples)


class Encoder(Module):
    """Layers that attend both ways, and a final norm."""

    def __init__(self, spec: LayerSpec, key: jax.Array) -> None:
        self.layers = make_layers(spec, key)
        self.final_norm = RMSNorm(spec.dim, spec.norm_eps)

    def __call__(self, inputs: Embedded, policy: str = "none") -> jax.Array:
        """-> [B, T, D]; `policy` is of rematerialisation. States of padding mean nothing."""
        return self.final_norm(run_layers(self.layers, inputs.states, inputs.row, policy=policy))


class CrossDecoder(Module):
    """Causal layers that also attend to an encoder's states, and a final norm."""

    def __init__(self, spec: LayerSpec, key: jax.Array) -> None:
        self.layers: Layer = make_layers(spec, key)
        self.final_norm = RMSNorm(spec.dim, spec.norm_eps)

    def __call__(
        self,
        targets: Embedded,
        encoded: jax.Array,
        inputs: Embedded,
        *,
        patterns: Patterns | None = None,
        policy: str = "none",
    ) -> jax.Array:
        """-> [B, T, D]. `encoded`: [B, S, D], what an encoder made of `inputs`."""
        context = Context(encoded, Row(inputs.angles, inputs.example_ids), targets.example_ids)
        x = run_layers(self.layers, targets.states, targets.row, context=context, patterns=patterns, policy=policy)
        return self.final_norm(x)

    def remember(self, encoded: jax.Array, inputs: Embedded) -> tuple[Remembered, ...]:
        """What every layer reads of the encoder's states, for `extend`. One example a row."""
        return remember(unstack(self.layers), Context(encoded, Row(inputs.angles, inputs.example_ids)))

    def extend(
        self, x: jax.Array, angles: Angles, valid: jax.Array, cache: KVCache, context: tuple[Remembered, ...]
    ) -> tuple[jax.Array, KVCache]:
        """New embedded tokens [B, n, D] that follow what the cache holds -> (states [B, n, D], the cache with them).

        Args:
          angles: of the new tokens.
          valid: bool [B, n]; False: padding, which no later token attends to.
          cache: has at least n free slots; the caller counts them.
        """
        seen = jax.lax.dynamic_update_slice(cache.valid, valid, (0, cache.index))
        slots = cache.index + jnp.arange(x.shape[1])
        allowed = seen[:, None] & (slots[None, :, None] >= jnp.arange(cache.length)[None, None])
        written = []
        for layer, k, v, other in zip(unstack(self.layers), cache.k, cache.v, context, strict=True):
            x, kept = layer.extend(x, angles, (k, v), cache.index, allowed, other)
            written.append(kept)
        keys, values = zip(*written, strict=True)
        return self.final_norm(x), KVCache(keys, values, seen, cache.index + x.shape[1])
