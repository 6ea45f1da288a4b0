"""A discriminator of the StyleGAN 2 kind for pictures and spectrograms: residual halvings, and the batch's spread."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from mio_jax.nn.base import List, Module
from mio_tokenizers.layers import Conv2d, Dense

SLOPE = 0.2
SMALLEST = 4  # along the shorter edge, where the halvings end
SPREAD_GROUP = 4  # examples whose spread is one more channel
TAPS = (0.125, 0.375, 0.375, 0.125)


def blur(x: jax.Array) -> jax.Array:
    """A small binomial filter along both edges, so that halving does not alias. [b, h, w, c] -> the same shape."""
    # Sums of shifted copies: XLA's convolution of single channels is a hundred times slower on a CPU.
    for axis in (1, 2):
        size = x.shape[axis]
        padded = jnp.pad(x, [(1, 2) if i == axis else (0, 0) for i in range(4)])
        shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(len(TAPS))]
        x = sum((tap * part for tap, part in zip(TAPS, shifted, strict=True)), jnp.zeros_like(x))
    return x


def spread(x: jax.Array) -> jax.Array:
    """Adds a channel with the mean deviation over groups of examples: made ones may be too alike. [b, h, w, c + 1]."""
    b, h, w, c = x.shape
    group = math.gcd(b, SPREAD_GROUP)
    y = x.reshape(group, b // group, h, w, c)
    deviation = jnp.sqrt(jnp.var(y, axis=0) + 1e-8).mean(axis=(1, 2, 3))
    channel = jnp.tile(deviation, group)[:, None, None, None] * jnp.ones((1, h, w, 1))
    return jnp.concatenate([x, channel], axis=-1)


class Halving(Module):
    """Two convolutions, the second to half the resolution, and a 1 x 1 shortcut."""

    def __init__(self, inputs: int, outputs: int, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.conv1 = Conv2d(inputs, inputs, 3, keys[0], gain=math.sqrt(2))
        self.conv2 = Conv2d(inputs, outputs, 3, keys[1], stride=2, gain=math.sqrt(2))
        self.skip = Conv2d(inputs, outputs, 1, keys[2], stride=2)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.nn.leaky_relu(self.conv1(x), SLOPE)
        y = jax.nn.leaky_relu(self.conv2(blur(y)), SLOPE)
        return (y + self.skip(blur(x))) / math.sqrt(2)


class StyleDiscriminator(Module):
    """[b, h, w, channels] of one size -> a score for each, [b]; high for real ones."""

    def __init__(self, width: int, key: jax.Array, channels: int, size: tuple[int, int], widest: int = 512) -> None:
        levels = int(math.log2(min(size) // SMALLEST)) if min(size) > SMALLEST else 0
        keys = jax.random.split(key, levels + 4)
        widths = [min(width * 2**i, max(width, widest)) for i in range(levels + 1)]
        self.enter = Conv2d(channels, width, 1, keys[0], gain=math.sqrt(2))
        self.body = List(Halving(a, b, k) for a, b, k in zip(widths[:-1], widths[1:], keys[4:], strict=True))
        self.mix = Conv2d(widths[-1] + 1, widths[-1], 3, keys[1], gain=math.sqrt(2))
        rows, columns = (-(-n // 2**levels) for n in size)
        self.gather = Dense(rows * columns * widths[-1], widths[-1], keys[2])
        self.leave = Dense(widths[-1], 1, keys[3])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.leaky_relu(self.enter(x), SLOPE)
        for block in self.body:
            x = block(x)
        x = jax.nn.leaky_relu(self.mix(spread(x)), SLOPE)
        return self.leave(jax.nn.leaky_relu(self.gather(x.reshape(len(x), -1)), SLOPE))[:, 0]
