"""Discriminators of audio codecs: multi-scale STFT, multi-period and multi-scale waveform ones.

Signals are [B, N]. A discriminator returns its scores and its feature maps; layouts inside are channels-last
[B, height, width, C]. Weights keep the published layouts [out, in, kh, kw] and are normalised unless said otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import List, Module, Param
from mio_tokenizers.audio.layers import fold_weight_norm, gain, uniform
from mio_tokenizers.audio.spectral import frames_of, hann

Maps = list[jax.Array]
POWER_STEPS = 8


def spectral_norm(weight: jax.Array) -> jax.Array:
    """`weight` [out, ...] over its largest singular value as a matrix [out, rest].

    Power iteration from a fixed vector; the published one goes on from the last step's, and this needs no state.
    """
    matrix = weight.reshape(weight.shape[0], -1)
    fixed = jax.lax.stop_gradient(matrix)
    left = jax.random.normal(jax.random.key(0), matrix.shape[:1])
    for _ in range(POWER_STEPS):
        right = left @ fixed
        right /= jnp.linalg.norm(right) + 1e-12
        left = fixed @ right
        left /= jnp.linalg.norm(left) + 1e-12
    return weight / (left @ matrix @ right)


class Conv2d(Module):
    """Zero-padded convolution [B, H, W, in] -> [B, H', W', out], `groups` of channels apart."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        key: jax.Array,
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
        weight_norm: bool = True,
        spectral: bool = False,
    ) -> None:
        """`spectral`: the weight is normalised by its spectrum, and not as `weight_norm` says."""
        weight_norm = weight_norm and not spectral
        weight_key, bias_key = jax.random.split(key)
        shape = (outputs, inputs // groups, *kernel)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        weight = uniform(weight_key, shape, bound)
        if weight_norm:
            self.weight_g = Param(gain(weight[...]), axes=(None,) * 4)
            self.weight_v = weight
        else:
            self.weight = weight
        self.bias = uniform(bias_key, (outputs,), bound)
        self.weight_norm, self.spectral, self.stride, self.dilation = weight_norm, spectral, stride, dilation
        self.padding, self.groups = padding, groups

    def __call__(self, x: jax.Array) -> jax.Array:
        weight = fold_weight_norm(self.weight_g[...], self.weight_v[...]) if self.weight_norm else self.weight[...]
        weight = spectral_norm(weight) if self.spectral else weight
        y = jax.lax.conv_general_dilated(
            x,
            weight.transpose(2, 3, 1, 0),
            self.stride,
            [(p, p) for p in self.padding],
            rhs_dilation=self.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        return y + self.bias[...]


@dataclass(frozen=True)
class STFTDiscriminatorSpec:
    """Hop of each scale: a quarter of its window."""

    filters: int = 32
    sizes: tuple[int, ...] = (1024, 2048, 512, 256, 128)
    dilations: tuple[int, ...] = (1, 2, 4)  # in time, of the middle convolutions

    def __post_init__(self) -> None:
        if self.filters < 1 or not self.sizes or any(size < 4 or size % 4 for size in self.sizes):
            raise MioError(
                f"STFT discriminator: filters {self.filters} and sizes {self.sizes} must be positive, sizes / 4"
            )


class STFTDiscriminator(Module):
    """Looks at the complex spectrogram of one window size."""

    def __init__(self, size: int, filters: int, dilations: tuple[int, ...], key: jax.Array) -> None:
        self.size = size
        keys = iter(jax.random.split(key, len(dilations) + 3))
        # The first convolution is not weight-normalised in the published code, though it was meant to be.
        convs = [Conv2d(2, filters, (3, 9), next(keys), padding=(1, 4), weight_norm=False)]
        for d in dilations:
            convs.append(Conv2d(filters, filters, (3, 9), next(keys), stride=(1, 2), dilation=(d, 1), padding=(d, 4)))
        convs.append(Conv2d(filters, filters, (3, 3), next(keys), padding=(1, 1)))
        self.convs = List(convs)
        self.conv_post = Conv2d(filters, 1, (3, 3), next(keys), padding=(1, 1))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, Maps]:
        """[B, N] -> score [B, frames, bins', 1] and feature maps [B, frames, bins, filters]."""
        window = hann(self.size)
        spectrum = jnp.fft.rfft(frames_of(x, self.size, self.size // 4) * window, axis=-1)
        spectrum = spectrum / np.sqrt(np.sum(window**2))
        y = jnp.stack([jnp.real(spectrum), jnp.imag(spectrum)], -1)
        maps = []
        for conv in self.convs:
            y = jax.nn.leaky_relu(conv(y), 0.2)
            maps.append(y)
        return self.conv_post(y), maps


class MultiSTFTDiscriminator(Module):
    """One `STFTDiscriminator` a window size."""

    def __init__(self, spec: STFTDiscriminatorSpec, key: jax.Array) -> None:
        keys = jax.random.split(key, len(spec.sizes))
        self.discriminators = List(
            [STFTDiscriminator(n, spec.filters, spec.dilations, k) for n, k in zip(spec.sizes, keys, strict=True)]
        )

    def __call__(self, x: jax.Array) -> tuple[list[jax.Array], list[Maps]]:
        results = [judge(x) for judge in self.discriminators]
        return [score for score, _ in results], [maps for _, maps in results]
