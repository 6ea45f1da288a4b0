"""The parts of a transformer layer: its spec, what it is told of a sequence, attention, and feed-forward.

Shape letters: B batch, T tokens of a row, S tokens of the other sequence, D model width, H heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from mio_jax.errors import MioError
from mio_jax.nn.attention import BACKENDS, MaskSpec, attention
from mio_jax.nn.base import Module, Param, constrain, param, zeros
from mio_jax.nn.linear import linear, swiglu, turned_linear
from mio_jax.nn.norms import LayerNorm, RMSNorm, unit_norm
from mio_jax.nn.remat import PROJECTIONS
from mio_jax.nn.rotary import rotate

NORMS = ("rms", "layer")
QK = ("plain", "rms", "cosine")
ROTARY = ("half", "pairs")
MLPS = ("swiglu", "gelu", "gelu_tanh", "quick_gelu", "relu")
MOST_COSINE_SCALE = 100.0  # of cosine attention: no learned scale may make scores larger
FIRST_COSINE_SCALE = 10.0

Angles = tuple[jax.Array, jax.Array]  # cos and sin, float32 [B, T, K / 2]


@dataclass(frozen=True)
class LayerSpec:
    """Sizes and settings of a layer; hashable.

    Attributes:
      depth: layers of the stack that it belongs to: the last matrices of each part start smaller by sqrt(2 depth).
      context: width of the sequence that cross-attention reads; 0: there is no cross-attention.
      norm: "rms", or "layer" (with mean and bias).
      qk: what is done to queries and keys of each head: "rms": RMS norms with a scale that all heads share (QK-norm);
        "cosine": unit length, and scores times a learned scale of each head instead of 1 / sqrt(head_dim).
      rotary: how a head's numbers are paired, where angles are given.
      bias: every linear map has one.
      key_bias: that of keys too; it shifts all scores of a query alike and so changes nothing, and some models lack it.
      mlp: "swiglu" is gated and has no biases; "gelu" is exact, "gelu_tanh" and "quick_gelu" (CLIP's) are near it.
      init_std: standard deviation of new weights; 0: 1 / sqrt(inputs), feed-forward cut off at two of them.
      heads_axis, kv_heads_axis: their logical axes; see `mesh.rules`.
    """

    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    depth: int = 1
    self_attention: bool = True
    context: int = 0
    causal: bool = False
    norm: str = "rms"
    norm_eps: float = 1e-6
    qk: str = "plain"
    rotary: str = "half"
    bias: bool = False
    key_bias: bool = True
    mlp: str = "swiglu"
    init_std: float = 0.0
    attention: str = "auto"
    quantize: str = "none"
    heads_axis: str = "heads"
    kv_heads_axis: str = "kv_heads"

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "heads", "kv_heads", "head_dim", "mlp_dim"):
            if getattr(self, name) < 1:
                raise MioError(f"model.{name} is {getattr(self, name)}; it must be positive")
        if self.heads % self.kv_heads:
            raise MioError(f"model.heads is {self.heads}; it must be a multiple of model.kv_heads, {self.kv_heads}")
        for name, known in (
            *(("norm", NORMS), ("qk", QK), ("rotary", ROTARY), ("mlp", MLPS)),
            ("attention", BACKENDS),
        ):
            if getattr(self, name) not in known:
                raise MioError(f"model.{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        if not self.self_attention and not self.context:
            raise MioError("a layer attends to its own row, to a context, or to both; this one to neither")
        if self.mlp == "swiglu" and self.bias:
            raise MioError("the gated feed-forward has no biases: set model.mlp to gelu, gelu_tanh or relu")

    def std(self, inputs: int, *, last: bool = False) -> float:
        """Standard deviation of a new weight with so many inputs; `last`: it writes to the residual stream."""
        if not self.init_std:
            return float(inputs**-0.5)
        return self.init_std / (2 * self.depth) ** 0.5 if last else self.init_std


class Row(NamedTuple):
    """What a layer is told of a sequence beside its states.

    Attributes:
      angles: of the rotary embedding; None: none.
      segments: int32 [B, T], who may see whom: a token sees those of its own segment, and 0 is padding. None: all.
    """

    angles: Angles | None = None
    segments: jax.Array | None = None


class Context(NamedTuple):
    """The sequence that cross-attention reads.

    Attributes:
      states: [B, S, context].
      row: its angles and segments.
      seen_by: int32 [B, T], the segments of the tokens that attend to it. None: those that attend to their own row.
    """

    states: jax.Array
    row: Row
    seen_by: jax.Array | None = None


def make_norm(spec: LayerSpec) -> RMSNorm | LayerNorm:
    return (RMSNorm if spec.norm == "rms" else LayerNorm)(spec.dim, spec.norm_eps)


class Attention(Module):
    """The projections of grouped-query attention, to its own row or (`context`) to another sequence."""

    def __init__(self, spec: LayerSpec, key: jax.Array, context: int = 0) -> None:
        q, k, v, o = jax.random.split(key, 4)
        d, c, h, g, w = spec.dim, context or spec.dim, spec.heads, spec.kv_heads, spec.head_dim
        into, shared = ("embed", spec.heads_axis, "kv"), ("embed", spec.kv_heads_axis, "kv")
        self.query = param(q, (d, h, w), into, spec.std(d))
        self.key = param(k, (c, g, w), shared, spec.std(c))
        self.value = param(v, (c, g, w), shared, spec.std(c))
        self.out = param(o, (h, w, d), (spec.heads_axis, "kv", "embed"), spec.std(h * w, last=True))
        if spec.bias:
            self.query_bias, self.value_bias = (zeros((n * w,), ("norm",)) for n in (h, g))
            if spec.key_bias:
                self.key_bias = zeros((g * w,), ("norm",))
            self.out_bias = zeros((d,), ("norm",))
        if spec.qk == "rms":
            self.query_norm, self.key_norm = RMSNorm(w, spec.norm_eps), RMSNorm(w, spec.norm_eps)
        if spec.qk == "cosine":
            self.logit_scale = Param(jnp.full((h,), jnp.log(FIRST_COSINE_SCALE)), axes=("norm",))
        self.spec = spec
        self.arranged = False

    def arrange(self, *, join: bool) -> None:
        """Lays the weights out as a CPU decodes fastest with them: outputs first, and with `join` those of queries,
        keys and values in one. Without it keys and values stay as they are: a context needs many rows of them at once.
        `project` and `merge` then compute the same."""
        if self.arranged:
            return
        self.arranged = True
        self.out = Param(self.out[...].transpose(2, 0, 1), axes=("embed", self.spec.heads_axis, "kv"))
        if join:
            parts = [w[...].transpose(1, 2, 0) for w in (self.query, self.key, self.value)]
            self.joined = Param(jnp.concatenate(parts, axis=0), axes=(None, "kv", "embed"))
            del self.query, self.key, self.value
        else:
            self.query = Param(self.query[...].transpose(1, 2, 0), axes=(self.spec.heads_axis, "kv", "embed"))

    def _heads(self, x: jax.Array, weight: Param, name: str) -> jax.Array:
        return self._biased(linear(x, weight[...], quantize=self.spec.quantize), name)

    def _biased(self, y: jax.Array, name: str) -> jax.Array:
        if self.spec.bias and (name != "key" or self.spec.key_bias):
            y = y + getattr(self, f"{name}_bias")[...].reshape(y.shape[-2:]).astype(y.dtype)
        return checkpoint_name(y, PROJECTIONS)

    def _turn(self, x: jax.Array, angles: Angles | None) -> jax.Array:
        return x if angles is None else rotate(x, *angles, pairs=self.spec.rotary == "pairs")

    def queries(self, x: jax.Array, angles: Angles | None) -> jax.Array:
        """[B, T, D] -> [B, T, H, K], ready for a product with keys that is then scaled by 1 / sqrt(K)."""
        if self.arranged:
            return self._finish_queries(self._biased(turned_linear(x, self.query[...]), "query"), angles)
        return self._finish_queries(self._heads(x, self.query, "query"), angles)

    def _finish_queries(self, q: jax.Array, angles: Angles | None) -> jax.Array:
        q = constrain(q, "batch", "length", self.spec.heads_axis, "kv")
        if self.spec.qk == "rms":
            q = self.query_norm(q)
        if self.spec.qk == "cosine":
            scale = jnp.minimum(jnp.exp(self.logit_scale[...]), MOST_COSINE_SCALE) * self.spec.head_dim**0.5
            q = unit_norm(q) * scale[:, None]
        return self._turn(q, angles)

    def keys_values(self, x: jax.Array, angles: Angles | None) -> tuple[jax.Array, jax.Array]:
        """[B, S, D or context] -> keys and values, [B, S, kv_heads, K]."""
        k, v = self._heads(x, self.key, "key"), self._heads(x, self.value, "value")
        return self._finish_keys(k, angles), v

    def _finish_keys(self, k: jax.Array, angles: Angles | None) -> jax.Array:
        if self.spec.qk == "rms":
            k = self.key_norm(k)
        return self._turn(unit_norm(k) if self.spec.qk == "cosine" else k, angles)

    def project(self, x: jax.Array, angles: Angles | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys and values of one row."""
        if not hasattr(self, "joined"):
            return (self.queries(x, angles), *self.keys_values(x, angles))
        h, g = self.spec.heads, self.spec.kv_heads
        parts = jnp.split(turned_linear(x, self.joined[...]), (h, h + g), axis=2)
        q, k, v = (self._biased(y, name) for y, name in zip(parts, ("query", "key", "value"), strict=True))
        return self._finish_queries(q, angles), self._finish_keys(k, angles), v

    def merge(self, x: jax.Array) -> jax.Array:
        """Heads [B, T, H, K] -> [B, T, D]."""
        if self.arranged:
            y = turned_linear(x, self.out[...], inputs=2)
        else:
            y = checkpoint_name(linear(x, self.out[...], inputs=2, quantize=self.spec.quantize), PROJECTIONS)
        return y + self.out_bias[...].astype(y.dtype) if self.spec.bias else y

    def __call__(
        self,
        x: jax.Array,
        row: Row,
        allowed: jax.Array | None = None,
        context: Context | None = None,
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D]: attention to `context`, or to the row itself under the spec's causal rule."""
        other = row if context is None else context.row
        if context is None:
            q, k, v = self.project(x, row.angles)
        else:
            q = self.queries(x, row.angles)
            k, v = self.keys_values(context.states, other.angles)
        segments = row.segments if context is None or context.seen_by is None else context.seen_by
        if other.segments is None:
            segments = None
        elif segments is None:
            segments = jnp.ones(x.shape[:2], jnp.int32)
        backend = self.spec.attention
        if context is not None:  # backends for rows that attend to themselves do not serve it
            backend = "auto" if backend in ("auto", "splash") else "xla"
        seen = attention(
            q,
            k,
            v,
            mask=MaskSpec(self.spec.causal and context is None),
            q_segments=segments,
            kv_segments=other.segments,
            allowed=allowed,
            backend=backend,
        )
        return self.merge(seen.astype(x.dtype))


class SwiGLU(Module):
    """(silu(x gate) * (x up)) down, without biases."""

    def __init__(self, spec: LayerSpec, key: jax.Array) -> None:
        g, u, d = jax.random.split(key, 3)
        cut = not spec.init_std
        self.gate = param(g, (spec.dim, spec.mlp_dim), ("embed", "mlp"), spec.std(spec.dim), cut)
        self.up = param(u, (spec.dim, spec.mlp_dim), ("embed", "mlp"), spec.std(spec.dim), cut)
        self.down = param(d, (spec.mlp_dim, spec.dim), ("mlp", "embed"), spec.std(spec.mlp_dim, last=True), cut)
        self.quantize = spec.quantize
        self.arranged = False

    def arrange(self) -> None:
        """Lays the weights out as a CPU decodes fastest with them: outputs first."""
        if self.arranged:
            return
        self.arranged = True
        self.gate, self.up = (Param(w[...].T, axes=("mlp", "embed")) for w in (self.gate, self.up))
        self.down = Param(self.down[...].T, axes=("embed", "mlp"))

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.arranged:
            gate, up = (turned_linear(x, w[...]) for w in (self.gate, self.up))
            return turned_linear(jax.nn.silu(gate) * up, self.down[...])
        return swiglu(x, self.gate[...], self.up[...], self.down[...], self.quantize)


class MLP(Module):
    """act(x up) down, with biases where the spec has them."""

    def __init__(self, spec: LayerSpec, key: jax.Array) -> None:
        u, d = jax.random.split(key)
        cut = not spec.init_std
        self.up = param(u, (spec.dim, spec.mlp_dim), ("embed", "mlp"), spec.std(spec.dim), cut)
        self.down = param(d, (spec.mlp_dim, spec.dim), ("mlp", "embed"), spec.std(spec.mlp_dim, last=True), cut)
        if spec.bias:
            self.up_bias, self.down_bias = zeros((spec.mlp_dim,), ("mlp",)), zeros((spec.dim,), ("norm",))
        self.spec = spec
        self.arranged = False

    def arrange(self) -> None:
        """Lays the weights out as a CPU decodes fastest with them: outputs first."""
        if self.arranged:
            return
        self.arranged = True
        self.up = Param(self.up[...].T, axes=("mlp", "embed"))
        self.down = Param(self.down[...].T, axes=("embed", "mlp"))

    def __call__(self, x: jax.Array) -> jax.Array:
        up = self.up[...]
        h = turned_linear(x, up) if self.arranged else linear(x, up, quantize=self.spec.quantize)
        if self.spec.bias:
            h = h + self.up_bias[...].astype(h.dtype)
        h = activation(self.spec.mlp, checkpoint_name(constrain(h, "batch", "length", "mlp"), PROJECTIONS))
        if self.arranged:
            y = turned_linear(h, self.down[...])
        else:
            y = linear(h, self.down[...], quantize=self.spec.quantize)
        return y + self.down_bias[...].astype(y.dtype) if self.spec.bias else y


def activation(name: str, x: jax.Array) -> jax.Array:
    if name == "relu":
        return jax.nn.relu(x)
    if name == "quick_gelu":
        return x * jax.nn.sigmoid(1.702 * x)
    return jax.nn.gelu(x, approximate=name == "gelu_tanh")
