"""The perceiver resampler: a fixed number of learned latents reads a sequence of any length.

Latents attend to the sequence and not to each other; the sequence is normed once and not changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, constrain, param
from mio_jax.nn.layer_parts import Context, LayerSpec, Row
from mio_jax.nn.layers import make_layers, run_layers
from mio_jax.nn.norms import RMSNorm


@dataclass(frozen=True)
class ResamplerSpec:
    """Sizes and settings of a `Resampler`; hashable.

    Attributes:
      latents: how many there are.
      qk: "rms" (QK-norm) or "cosine" (scaled cosine), see `mio_jax.nn.layer_parts.LayerSpec`.
      mlp: activation.
    """

    latents: int
    dim: int
    heads: int
    head_dim: int
    mlp_dim: int
    depth: int = 2
    qk: str = "rms"
    mlp: str = "gelu_tanh"
    norm_eps: float = 1e-6

    @property
    def layer(self) -> LayerSpec:
        return LayerSpec(
            dim=self.dim,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=self.head_dim,
            mlp_dim=self.mlp_dim,
            depth=self.depth,
            self_attention=False,
            context=self.dim,
            norm_eps=self.norm_eps,
            qk=self.qk,
            mlp=self.mlp,
            heads_axis="front_heads",
            kv_heads_axis="front_heads",
        )


class Resampler(Module):
    """[B, S, dim] and its mask -> [B, latents, dim]."""

    def __init__(self, spec: ResamplerSpec, key: jax.Array) -> None:
        latents, layers = jax.random.split(key)
        self.latents = param(latents, (spec.latents, spec.dim), (None, "embed"), spec.dim**-0.5)
        self.context_norm = RMSNorm(spec.dim, spec.norm_eps)
        self.layers = make_layers(spec.layer, layers)
        self.final_norm = RMSNorm(spec.dim, spec.norm_eps)
        self.spec = spec

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """x: [B, S, dim]; mask: bool [B, S], what there is of it. A row of nothing gives numbers that mean nothing."""
        latents = self.latents[...].astype(x.dtype)
        latents = constrain(jnp.broadcast_to(latents, (x.shape[0], *latents.shape)), "batch", None, "act_embed")
        segments = None if mask is None else mask.astype(jnp.int32)
        context = Context(self.context_norm(x), Row(segments=segments))
        return self.final_norm(run_layers(self.layers, latents, Row(), context=context))
