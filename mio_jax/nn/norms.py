"""Normalisation layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, ones


class RMSNorm(Module):
    """x / rms(x) * scale over the last axis; statistics in float32, cast back to x's dtype before the scale."""

    def __init__(self, dim: int, eps: float) -> None:
        self.scale = ones((dim,), ("norm",))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
        return y.astype(x.dtype) * self.scale[...].astype(x.dtype)
