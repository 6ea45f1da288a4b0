"""Layers that tokenizers of pictures and of spectrograms share; maps are [batch, height, width, channels]."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, Param, ones, param
from mio_jax.nn.linear import linear


def space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """[b, h, w, c] -> [b, h/block, w/block, block*block*c]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // block, w // block, block * block * c)


def depth_to_space(x: jax.Array, block: int) -> jax.Array:
    """Inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * block, w * block, c // block**2)


class Conv2d(Module):
    """[b, h, w, inputs] -> [b, h/stride, w/stride, outputs], same padding."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        key: jax.Array,
        *,
        stride: int = 1,
        gain: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        """`gain`, `bias`: standard deviation of an output for unit inputs, and of the initial bias."""
        kernel_key, bias_key = jax.random.split(key)
        scale = gain / math.sqrt(inputs * kernel * kernel)
        self.kernel = param(kernel_key, (kernel, kernel, inputs, outputs), (None, None, None, None), scale)
        self.bias = param(bias_key, (outputs,), (None,), bias)
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            x, self.kernel[...], (self.stride, self.stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + self.bias[...]


class Dense(Module):
    """[..., inputs] -> [..., outputs]."""

    def __init__(self, inputs: int, outputs: int, key: jax.Array, *, bias: bool = True) -> None:
        self.kernel = param(key, (inputs, outputs), (None, None), inputs**-0.5)
        self.bias = Param(jnp.zeros((outputs,), jnp.float32), axes=(None,)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = linear(x, self.kernel[...])
        return y if self.bias is None else y + self.bias[...]


class GroupNorm(Module):
    """Mean 0 and deviation 1 over the pixels and the channels of each group, then scale and bias for each channel."""

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        self.scale = ones((channels,), (None,))
        self.bias = Param(jnp.zeros((channels,), jnp.float32), axes=(None,))
        self.groups, self.eps = groups, eps

    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        y = x.reshape(b, h * w, self.groups, c // self.groups)
        y = y - jnp.mean(y, axis=(1, 3), keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=(1, 3), keepdims=True) + self.eps)
        return y.reshape(x.shape) * self.scale[...] + self.bias[...]
