"""The decoder-only transformer: RMSNorm, rotary grouped-query attention, SwiGLU, layers stacked and scanned.

Shape letters: B batch, T tokens of a row, D model width, H heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from mio_jax.config import QUANTIZE
from mio_jax.errors import MioError
from mio_jax.nn.attention import BACKENDS
from mio_jax.nn.base import Module, constrain, param
from mio_jax.nn.cache import KVCache
from mio_jax.nn.layer_parts import LayerSpec, Row
from mio_jax.nn.layers import Layer, apart, make_layers, run_layers, unstack
from mio_jax.nn.linear import turned_linear
from mio_jax.nn.norms import RMSNorm
from mio_jax.nn.remat import REMAT_POLICIES
from mio_jax.nn.rotary import rotary_angles


@dataclass(frozen=True)
class DecoderSpec:
    """Sizes and settings of a `Decoder`; hashable, so that it may be a static argument.

    Raises:
      MioError: sizes that do not fit together, or an unknown dtype, remat or attention.
    """

    vocab_size: int
    dim: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    dtype: str = "float32"  # compute
    remat: str = "none"
    attention: str = "auto"
    quantize: str = "none"  # matrix products of the layers
    init_std: float = 0.02

    @property
    def layer(self) -> LayerSpec:
        """What its layers are."""
        return LayerSpec(
            dim=self.dim,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            mlp_dim=self.mlp_dim,
            depth=self.depth,
            causal=True,
            norm_eps=self.norm_eps,
            init_std=self.init_std,
            attention=self.attention,
            quantize=self.quantize,
        )

    def __post_init__(self) -> None:
        for name in ("vocab_size", "dim", "depth", "heads", "kv_heads", "head_dim", "mlp_dim"):
            if getattr(self, name) < 1:
                raise MioError(f"model.{name} is {getattr(self, name)}; it must be positive")
        if self.heads % self.kv_heads:
            raise MioError(f"model.heads is {self.heads}; it must be a multiple of model.kv_heads, {self.kv_heads}")
        if self.head_dim % 2:
            raise MioError(f"model.head_dim is {self.head_dim}; rotary embedding needs an even number")
        if self.dtype not in ("float32", "bfloat16"):
            raise MioError(f"model.dtype is {self.dtype!r}; it must be one of float32, bfloat16")
        if self.remat not in REMAT_POLICIES:
            raise MioError(f"model.remat is {self.remat!r}; it must be one of {', '.join(REMAT_POLICIES)}")
        if self.quantize not in QUANTIZE:
            raise MioError(f"model.quantize is {self.quantize!r}; it must be one of {', '.join(QUANTIZE)}")
        if self.attention not in BACKENDS:
            raise MioError(f"model.attention is {self.attention!r}; it must be one of {', '.join(BACKENDS)}")


class Decoder(Module):
    """A causal language model over one vocabulary; satisfies `mio_jax.protocols.Model`."""

    def __init__(self, spec: DecoderSpec, key: jax.Array) -> None:
        embed, layers, head = jax.random.split(key, 3)
        self.spec = spec
        self.embed = param(embed, (spec.vocab_size, spec.dim), ("vocab", "embed"), spec.init_std)
        self.layers = make_layers(spec.layer, layers)
        self.final_norm = RMSNorm(spec.dim, spec.norm_eps)
        if not spec.tie_embeddings:
            self.head = param(head, (spec.vocab_size, spec.dim), ("vocab", "embed"), spec.init_std)

    def _embed(self, tokens: jax.Array) -> jax.Array:
        # Gathering rows of a table sharded on both axes makes the partitioner replicate it; gather its width first.
        table = constrain(self.embed[...].astype(self.spec.dtype), "vocab", None)
        return constrain(table[tokens], "batch", "length", "act_embed")

    def _angles(self, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        return rotary_angles(positions, self.spec.head_dim, self.spec.rope_theta)

    def layer_states(
        self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Final-norm states [B, T, D], and what went into every layer [depth, B, T, D] (the first: the embeddings)."""
        row = Row(self._angles(positions), segment_ids)

        def body(x: jax.Array, layer: Layer) -> tuple[jax.Array, jax.Array]:
            return layer(x, row), x

        x, inputs = jax.lax.scan(body, self._embed(tokens), self.layers)
        return self.final_norm(x), inputs

    def hidden(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array | None = None) -> jax.Array:
        """int32 [B, T] tokens, rotary positions, segments (0 is padding; None: one segment) -> states [B, T, D]."""
        row = Row(self._angles(positions), segment_ids)
        return self.final_norm(run_layers(self.layers, self._embed(tokens), row, policy=self.spec.remat))

    def output_table(self) -> jax.Array:
        """Rows of the output projection [vocab_size, D], in the compute dtype."""
        return (self.embed if self.spec.tie_embeddings else self.head)[...].astype(self.spec.dtype)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> float32 [..., vocab_size]."""
        return turned_linear(hidden, self.output_table(), dtype=jnp.float32)

    def init_cache(self, batch: int, length: int) -> KVCache:
        """An empty cache of `length` slots a row, in the compute dtype."""
        s = self.spec
        return KVCache.empty(s.depth, batch, length, s.kv_heads, s.head_dim, jnp.dtype(s.dtype))

    def extend(
        self, tokens: jax.Array, positions: jax.Array, valid: jax.Array, cache: KVCache
    ) -> tuple[jax.Array, KVCache]:
        """Runs [B, n] new tokens that follow what the cache holds.

        Args:
          tokens, positions: int32 [B, n]; `positions` turn the rotary embedding.
          valid: bool [B, n]; False: padding, which no later token attends to.
          cache: has at least n free slots; the caller counts them (a slot beyond the last would be clamped).

        Returns:
          (states [B, n, D], the cache with the tokens in it).
        """
        seen = jax.lax.dynamic_update_slice(cache.valid, valid, (0, cache.index))
        angles = self._angles(positions)
        allowed = seen[:, None]
        if tokens.shape[1] > 1:  # one token alone sees all that is valid, wherever it lies: a cache may be a ring
            slots = cache.index + jnp.arange(tokens.shape[1])
            allowed &= slots[None, :, None] >= jnp.arange(cache.length)[None, None]
        x = self._embed(tokens)
        written = []
        # Not scanned: a step is so little work that slicing each layer's weights out of the stack would cost as much.
        for layer, k, v in zip(unstack(self.layers), cache.k, cache.v, strict=True):
            x, kept = layer.extend(x, angles, (k, v), cache.index, allowed)
            written.append(kept)
        keys, values = zip(*written, strict=True)
        return self.final_norm(x), KVCache(keys, values, seen, cache.index + tokens.shape[1])

    def for_decoding(self) -> Decoder:
        """The same model arranged for many calls of `extend`: its layers apart, its weights in the compute dtype."""
        model = jax.tree.map(lambda w: w.astype(self.spec.dtype), self)
        model.layers = apart(model.layers)
        return model
