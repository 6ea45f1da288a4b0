"""Discriminators of raw waveforms, as in HiFi-GAN: periods folded into pictures, and strided scales.

Signals are [B, N]; a discriminator returns its scores [B, n] and its feature maps, the scores' own layer last.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_jax.nn.base import List, Module
from mio_tokenizers.training.audio_discriminators import Conv2d, Maps

SLOPE = 0.1
PERIOD_CHANNELS = (32, 128, 512, 1024, 1024)
SCALE_LAYERS = (  # channels, kernel, stride, groups
    (128, 15, 1, 1),
    (128, 41, 2, 4),
    (256, 41, 2, 16),
    (512, 41, 4, 16),
    (1024, 41, 4, 16),
    (1024, 41, 1, 16),
    (1024, 5, 1, 1),
)


def _judge(convs: List, conv_post: Conv2d, x: jax.Array) -> tuple[jax.Array, Maps]:
    maps = []
    for conv in convs:
        x = jax.nn.leaky_relu(conv(x), SLOPE)
        maps.append(x)
    x = conv_post(x)
    maps.append(x)
    return x.reshape(x.shape[0], -1), maps


class PeriodDiscriminator(Module):
    """Looks at every `period`-th sample: the signal as a picture [N / period, period], convolved along its columns."""

    def __init__(self, period: int, key: jax.Array) -> None:
        self.period = period
        keys = jax.random.split(key, len(PERIOD_CHANNELS) + 1)
        convs, inputs = [], 1
        for i, channels in enumerate(PERIOD_CHANNELS):
            stride = 3 if i < len(PERIOD_CHANNELS) - 1 else 1
            convs.append(Conv2d(inputs, channels, (5, 1), keys[i], stride=(stride, 1), padding=(2, 0)))
            inputs = channels
        self.convs = List(convs)
        self.conv_post = Conv2d(inputs, 1, (3, 1), keys[-1], padding=(1, 0))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, Maps]:
        """A signal that fills no whole row at the end is completed by reflection."""
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % self.period)), mode="reflect")
        return _judge(self.convs, self.conv_post, x.reshape(x.shape[0], -1, self.period, 1))


class ScaleDiscriminator(Module):
    """Looks at the signal through ever coarser strides."""

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, len(SCALE_LAYERS) + 1)
        convs, inputs = [], 1
        for k, (channels, kernel, stride, groups) in zip(keys, SCALE_LAYERS, strict=False):
            convs.append(
                Conv2d(inputs, channels, (kernel, 1), k, stride=(stride, 1), padding=(kernel // 2, 0), groups=groups)
            )
            inputs = channels
        self.convs = List(convs)
        self.conv_post = Conv2d(inputs, 1, (3, 1), keys[-1], padding=(1, 0))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, Maps]:
        return _judge(self.convs, self.conv_post, x[:, :, None, None])


def halve(x: jax.Array) -> jax.Array:
    """What the next scale looks at: means of four samples, every two, zeros beyond the ends. [B, N] -> [B, N']."""
    sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 4), (1, 2), [(0, 0), (2, 2)])
    return sums / 4
