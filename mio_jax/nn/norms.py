"""Normalisation layers."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, ones, zeros


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """x / rms(x) * scale over the last axis, in x's dtype: x [..., D], scale [D].

    Statistics are taken in float32 and the normalised value is cast back before it is scaled. The gradient keeps x and
    one number a token.
    """
    return _forward(x, scale, eps)[0]


def _normalise(x: jax.Array, rate: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) * rate


def _forward(x: jax.Array, scale: jax.Array, eps: float) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    y = x.astype(jnp.float32)
    rate = jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + eps)
    return _normalise(x, rate).astype(x.dtype) * scale.astype(x.dtype), (x, scale, rate)


def _backward(eps: float, kept: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, scale, rate = kept
    y, g = _normalise(x, rate), g.astype(jnp.float32)
    d_scale = jnp.sum(g * y, axis=tuple(range(x.ndim - 1)))
    d_y = g * scale.astype(jnp.float32)
    d_x = rate * (d_y - y * jnp.mean(d_y * y, axis=-1, keepdims=True))
    return d_x.astype(x.dtype), d_scale.astype(scale.dtype)


rms_norm.defvjp(_forward, _backward)


class RMSNorm(Module):
    """`rms_norm` with a learned scale."""

    def __init__(self, dim: int, eps: float) -> None:
        self.scale = ones((dim,), ("norm",))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        return rms_norm(x, self.scale[...], self.eps)


class LayerNorm(Module):
    """(x - mean) / standard deviation * scale + bias over the last axis, in x's dtype; statistics in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        self.scale = ones((dim,), ("norm",))
        self.bias = zeros((dim,), ("norm",))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y - y.mean(axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
        return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


def unit_norm(x: jax.Array, eps: float = 1e-12) -> jax.Array:
    """x over its Euclidean length along the last axis, float32. The gradient of a zero vector is zero."""
    y = x.astype(jnp.float32)
    return y * jax.lax.rsqrt(jnp.maximum(jnp.sum(y * y, axis=-1, keepdims=True), eps**2))
