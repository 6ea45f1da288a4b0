"""The decoder-only transformer: RMSNorm, rotary grouped-query attention, SwiGLU, layers stacked and scanned.

Shape letters: B batch, T tokens of a row, D model width, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from mio_jax.config import QUANTIZE
from mio_jax.errors import MioError
from mio_jax.nn.attention import BACKENDS, MaskSpec, attention, cached_attention
from mio_jax.nn.base import List, Module, Param, constrain, param, platform
from mio_jax.nn.cache import KVCache
from mio_jax.nn.linear import linear, swiglu
from mio_jax.nn.norms import RMSNorm
from mio_jax.nn.remat import PROJECTIONS, REMAT_POLICIES, remat
from mio_jax.nn.rotary import rotary_angles, rotate

CAUSAL = MaskSpec(causal=True)


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


class Attention(Module):
    """Rotary grouped-query self-attention without biases."""

    def __init__(self, spec: DecoderSpec, key: jax.Array) -> None:
        q, k, v, o = jax.random.split(key, 4)
        d, h, g, w, std = spec.dim, spec.heads, spec.kv_heads, spec.head_dim, spec.init_std
        self.query = param(q, (d, h, w), ("embed", "heads", "kv"), std)
        self.key = param(k, (d, g, w), ("embed", "kv_heads", "kv"), std)
        self.value = param(v, (d, g, w), ("embed", "kv_heads", "kv"), std)
        self.out = param(o, (h, w, d), ("heads", "kv", "embed"), std / (2 * spec.depth) ** 0.5)
        self.backend, self.quantize = spec.attention, spec.quantize

    def project(self, x: jax.Array, cos: jax.Array, sin: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[B, T, D] -> rotated q [B, T, H, K], rotated k and plain v [B, T, kv_heads, K]."""
        weights = (self.query, self.key, self.value)
        q, k, v = (checkpoint_name(linear(x, w[...], quantize=self.quantize), PROJECTIONS) for w in weights)
        q = constrain(q, "batch", "length", "heads", "kv")
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def merge(self, x: jax.Array) -> jax.Array:
        """Heads [B, T, H, K] -> [B, T, D]."""
        return linear(x, self.out[...], inputs=2, quantize=self.quantize)


class SwiGLU(Module):
    """(silu(x gate) * (x up)) down, without biases."""

    def __init__(self, spec: DecoderSpec, key: jax.Array) -> None:
        g, u, d = jax.random.split(key, 3)
        self.gate = param(g, (spec.dim, spec.mlp_dim), ("embed", "mlp"), spec.init_std)
        self.up = param(u, (spec.dim, spec.mlp_dim), ("embed", "mlp"), spec.init_std)
        self.down = param(d, (spec.mlp_dim, spec.dim), ("mlp", "embed"), spec.init_std / (2 * spec.depth) ** 0.5)
        self.quantize = spec.quantize

    def __call__(self, x: jax.Array) -> jax.Array:
        return swiglu(x, self.gate[...], self.up[...], self.down[...], self.quantize)


class Block(Module):
    """Pre-norm residual block."""

    def __init__(self, spec: DecoderSpec, key: jax.Array) -> None:
        a, m = jax.random.split(key)
        self.attention_norm = RMSNorm(spec.dim, spec.norm_eps)
        self.attention = Attention(spec, a)
        self.mlp_norm = RMSNorm(spec.dim, spec.norm_eps)
        self.mlp = SwiGLU(spec, m)

    def feed_forward(self, x: jax.Array) -> jax.Array:
        return constrain(x + self.mlp(self.mlp_norm(x)), "batch", "length", "act_embed")

    def __call__(self, x: jax.Array, cos: jax.Array, sin: jax.Array, segment_ids: jax.Array | None) -> jax.Array:
        q, k, v = self.attention.project(self.attention_norm(x), cos, sin)
        seen = attention(
            q, k, v, mask=CAUSAL, q_segments=segment_ids, kv_segments=segment_ids, backend=self.attention.backend
        )
        return self.feed_forward(x + self.attention.merge(seen))

    def extend(
        self,
        x: jax.Array,
        cos: jax.Array,
        sin: jax.Array,
        cached: tuple[jax.Array, jax.Array],
        index: jax.Array,
        allowed: jax.Array,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Like `__call__` for n tokens at slots `index...` of this layer's cache, which it writes and reads.

        Args:
          x: [B, n, D].
          cached: keys and values, [B, kv_heads, length, K].
          allowed: bool [B, n, length], the slots that each token may see once all are written.

        Returns:
          (states [B, n, D], keys and values).
        """
        q, *new = self.attention.project(self.attention_norm(x), cos, sin)
        keys, values = (
            jax.lax.dynamic_update_slice(old, now.swapaxes(1, 2).astype(old.dtype), (0, 0, index, 0))
            for old, now in zip(cached, new, strict=True)
        )
        seen = cached_attention(q, keys, values, allowed)
        return self.feed_forward(x + self.attention.merge(seen)), (keys, values)


class Decoder(Module):
    """A causal language model over one vocabulary; satisfies `mio_jax.protocols.Model`."""

    def __init__(self, spec: DecoderSpec, key: jax.Array) -> None:
        embed, layers, head = jax.random.split(key, 3)
        self.spec = spec
        self.embed = param(embed, (spec.vocab_size, spec.dim), ("vocab", "embed"), spec.init_std)
        self.layers = jax.vmap(partial(Block, spec))(jax.random.split(layers, spec.depth))
        self.final_norm = RMSNorm(spec.dim, spec.norm_eps)
        if not spec.tie_embeddings:
            self.head = param(head, (spec.vocab_size, spec.dim), ("vocab", "embed"), spec.init_std)
        self.head_turned = False  # [dim, vocab_size]: how a CPU multiplies few states by it fastest

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
        cos, sin = self._angles(positions)

        def body(x: jax.Array, layer: Block) -> tuple[jax.Array, jax.Array]:
            return layer(x, cos, sin, segment_ids), x

        x, inputs = jax.lax.scan(body, self._embed(tokens), self.layers)
        return self.final_norm(x), inputs

    def hidden(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array | None = None) -> jax.Array:
        """int32 [B, T] tokens, rotary positions, segments (0 is padding; None: one segment) -> states [B, T, D]."""
        cos, sin = self._angles(positions)

        def body(x: jax.Array, layer: Block) -> tuple[jax.Array, None]:
            return layer(x, cos, sin, segment_ids), None

        x, _ = jax.lax.scan(remat(body, self.spec.remat), self._embed(tokens), self.layers)
        return self.final_norm(x)

    def output_table(self) -> jax.Array:
        """Rows of the output projection [vocab_size, D], in the compute dtype."""
        table = (self.embed if self.spec.tie_embeddings else self.head)[...].astype(self.spec.dtype)
        return table.T if self.head_turned else table

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> float32 [..., vocab_size]."""
        product = partial(jnp.einsum, preferred_element_type=jnp.float32)
        if self.head_turned:
            return product("...d,dv->...v", hidden, self.head[...].astype(self.spec.dtype))
        return product("...d,vd->...v", hidden, self.output_table())

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
        cos, sin = self._angles(positions)
        slots = cache.index + jnp.arange(tokens.shape[1])
        allowed = seen[:, None] & (slots[None, :, None] >= jnp.arange(cache.length)[None, None])
        x = self._embed(tokens)
        written = []
        # Not scanned: a step is so little work that slicing each layer's weights out of the stack would cost as much.
        for layer, k, v in zip(self._unstacked(), cache.k, cache.v, strict=True):
            x, kept = layer.extend(x, cos, sin, (k, v), cache.index, allowed)
            written.append(kept)
        keys, values = zip(*written, strict=True)
        return self.final_norm(x), KVCache(keys, values, seen, cache.index + tokens.shape[1])

    def _unstacked(self) -> Sequence[Block]:
        if isinstance(self.layers, List):
            return self.layers
        return [jax.tree.map(lambda w, i=i: w[i], self.layers) for i in range(self.spec.depth)]

    def for_decoding(self) -> Decoder:
        """The same model arranged for many calls of `extend`: its layers apart, its weights in the compute dtype."""
        model = jax.tree.map(lambda w: w.astype(self.spec.dtype), self)
        model.layers = List(model._unstacked())
        if platform() == "cpu" and not self.spec.tie_embeddings:
            model.head, model.head_turned = Param(model.head[...].T, axes=("embed", "vocab")), True
        return model
