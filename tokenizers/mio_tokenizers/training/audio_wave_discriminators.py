"""Discriminators of raw waveforms, as in HiFi-GAN: periods folded into pictures, and strided scales.

Signals are [B, N]; a discriminator returns its scores [B, n] and its feature maps, the scores' own layer last.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from mio_jax.errors import MioError
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

    def __init__(self, period: int, key: jax.Array, widths: tuple[int, ...] = PERIOD_CHANNELS) -> None:
        self.period = period
        keys = jax.random.split(key, len(widths) + 1)
        convs, inputs = [], 1
        for i, channels in enumerate(widths):
            stride = 3 if i < len(widths) - 1 else 1
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

    def __init__(
        self, key: jax.Array, layers: tuple[tuple[int, int, int, int], ...] = SCALE_LAYERS, spectral: bool = False
    ) -> None:
        keys = jax.random.split(key, len(layers) + 1)
        convs, inputs = [], 1
        for k, (channels, kernel, stride, groups) in zip(keys, layers, strict=False):
            edge = (kernel // 2, 0)
            convs.append(
                Conv2d(
                    inputs, channels, (kernel, 1), k, stride=(stride, 1), padding=edge, groups=groups, spectral=spectral
                )
            )
            inputs = channels
        self.convs = List(convs)
        self.conv_post = Conv2d(inputs, 1, (3, 1), keys[-1], padding=(1, 0), spectral=spectral)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, Maps]:
        return _judge(self.convs, self.conv_post, x[:, :, None, None])


def halve(x: jax.Array) -> jax.Array:
    """What the next scale looks at: means of four samples, every two, zeros beyond the ends. [B, N] -> [B, N']."""
    sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 4), (1, 2), [(0, 0), (2, 2)])
    return sums / 4


@dataclass(frozen=True)
class WaveDiscriminatorSpec:
    """HiFi-GAN's judges; `divide` makes all of their layers that many times narrower."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    scales: int = 3
    divide: int = 1

    def __post_init__(self) -> None:
        if self.scales < 0 or min(self.periods, default=1) < 1 or not (self.periods or self.scales):
            raise MioError(f"wave discriminators: periods {self.periods} and scales {self.scales} name no judge")
        if self.divide not in (1, 2, 4, 8, 16, 32):
            raise MioError(f"wave discriminators: divide is {self.divide}; it must be 1, 2, 4, 8, 16 or 32")


class WaveDiscriminators(Module):
    """Every period, then every scale: [B, N] -> their scores and their feature maps.

    `spectral_first`: the first scale's weights are normalised by their spectrum, as published; otherwise as all are.
    """

    def __init__(self, spec: WaveDiscriminatorSpec, key: jax.Array, spectral_first: bool = False) -> None:
        keys = jax.random.split(key, len(spec.periods) + spec.scales)
        widths = tuple(width // spec.divide for width in PERIOD_CHANNELS)
        layers = tuple((c // spec.divide, k, s, max(1, g // spec.divide)) for c, k, s, g in SCALE_LAYERS)
        self.periods = List(PeriodDiscriminator(p, k, widths) for p, k in zip(spec.periods, keys, strict=False))
        self.scales = List(
            ScaleDiscriminator(k, layers, spectral_first and i == 0) for i, k in enumerate(keys[len(spec.periods) :])
        )

    def __call__(self, x: jax.Array) -> tuple[list[jax.Array], list[Maps]]:
        results = [judge(x) for judge in self.periods]
        for i, judge in enumerate(self.scales):
            x = halve(x) if i else x
            results.append(judge(x))
        return [score for score, _ in results], [maps for _, maps in results]
