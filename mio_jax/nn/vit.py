"""Vision transformers over patches that are given with a mask: OpenCLIP's and AST's layouts are settings of one module.

Shape letters: B pictures, N patches, P numbers of a patch, E tokens of the model's own in front, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, constrain, param, zeros
from mio_jax.nn.layer_parts import LayerSpec, Row
from mio_jax.nn.layers import make_layers, run_layers, slice_layers
from mio_jax.nn.linear import linear
from mio_jax.nn.norms import LayerNorm

SECOND = 2  # layers whose states are given beside the last ones


@dataclass(frozen=True)
class ViTSpec:
    """Sizes and settings of a `ViT`; hashable.

    Attributes:
      patch_dim: numbers of a patch.
      extra: learned tokens in front of the patches (a class token, say); always valid.
      positions: rows of the learned position table, those of the extra tokens first.
      pre_norm: a norm before the first layer.
      patch_bias: the map of patches has a bias.
      key_bias: so do the keys of attention.
      mlp: activation, see `mio_jax.nn.layer_parts.LayerSpec`.
    """

    patch_dim: int
    dim: int
    heads: int
    head_dim: int
    mlp_dim: int
    depth: int
    positions: int
    extra: int = 1
    pre_norm: bool = True
    patch_bias: bool = False
    key_bias: bool = True
    norm_eps: float = 1e-5
    mlp: str = "gelu"
    attention: str = "auto"
    remat: str = "none"

    @property
    def layer(self) -> LayerSpec:
        return LayerSpec(
            dim=self.dim,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=self.head_dim,
            mlp_dim=self.mlp_dim,
            depth=self.depth,
            norm="layer",
            norm_eps=self.norm_eps,
            bias=True,
            key_bias=self.key_bias,
            mlp=self.mlp,
            attention=self.attention,
            heads_axis="front_heads",
            kv_heads_axis="front_heads",
        )


class ViT(Module):
    """Patches -> states of the patches after the second layer and after the last; there is no final norm."""

    def __init__(self, spec: ViTSpec, key: jax.Array) -> None:
        e, t, p, layers = jax.random.split(key, 4)
        std = spec.dim**-0.5
        self.embedding = param(e, (spec.patch_dim, spec.dim), (None, "embed"), spec.patch_dim**-0.5)
        if spec.patch_bias:
            self.bias = zeros((spec.dim,), ("norm",))
        self.tokens = param(t, (spec.extra, spec.dim), (None, "embed"), std)
        self.positions = param(p, (spec.positions, spec.dim), (None, "embed"), std)
        if spec.pre_norm:
            self.pre_norm = LayerNorm(spec.dim, spec.norm_eps)
        self.layers = make_layers(spec.layer, layers)
        self.spec = spec

    def __call__(self, patches: jax.Array, mask: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
        """States of the patches, without the extra tokens, in the dtype of the patches.

        Args:
          patches: [B, N, P].
          mask: bool [B, N], those that there are; the states of others mean nothing.
          at: [B, N, D], the position embedding of every patch.

        Returns:
          (last layer, second layer), [B, N, D] each.
        """
        spec, batch = self.spec, patches.shape[0]
        x = self._enter(patches, at)
        there = jnp.concatenate([jnp.ones((batch, spec.extra), bool), mask], axis=1)
        row = Row(segments=there.astype(jnp.int32))
        second = run_layers(slice_layers(self.layers, 0, SECOND), x, row, policy=spec.remat)
        last = run_layers(slice_layers(self.layers, SECOND, spec.depth), second, row, policy=spec.remat)
        return last[:, spec.extra :], second[:, spec.extra :]

    def embed(self, patches: jax.Array) -> jax.Array:
        """[B, N, P] -> [B, N, D], without positions."""
        x = linear(patches, self.embedding[...])
        return x + self.bias[...].astype(x.dtype) if self.spec.patch_bias else x

    def _enter(self, patches: jax.Array, at: jax.Array) -> jax.Array:
        """What goes into the first layer, [B, E + N, D]."""
        x, dtype = self.embed(patches), patches.dtype
        own = (self.tokens[...] + self.positions[: self.spec.extra]).astype(dtype)
        own = jnp.broadcast_to(own, (len(patches), *own.shape))
        x = constrain(jnp.concatenate([own, x + at.astype(dtype)], axis=1), "batch", "length", "act_embed")
        return self.pre_norm(x) if self.spec.pre_norm else x

    def whole(self, patches: jax.Array) -> jax.Array:
        """Whole pictures, whose patches are as many as the position table has: [B, N, P] -> [B, E + N, D].

        The states after the last layer, those of the extra tokens first.
        """
        x = self._enter(patches, self.positions[self.spec.extra :])
        return run_layers(self.layers, x, Row(), policy=self.spec.remat)

    def resized_positions(self, own: tuple[int, int], wanted: tuple[int, int]) -> jax.Array:
        """The table of patches, laid out on a grid `own` [rows, columns], resized -> [rows * columns of wanted, D].

        Bicubic with a = -1/2 and antialiasing, as the pre-trained models are resized.
        """
        table = self.positions[self.spec.extra :].reshape(*own, self.spec.dim)
        if own != wanted:
            table = jax.image.resize(table, (*wanted, self.spec.dim), "cubic", antialias=True)
        return table.reshape(-1, self.spec.dim)
