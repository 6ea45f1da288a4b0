"""HiFi-GAN's generator: log-mel spectrogram to waveform (Kong et al. 2020; Unified-IO 2's settings are the default).

Parameters keep the published names. Weight-normalised layers hold `weight_g` and `weight_v` while they are trained;
`layers.fold` makes plain weights of them. Spectrograms are [b, frames, mels], natural logarithms, not normalised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_jax.nn.base import List, Module
from mio_tokenizers.audio.layers import Conv, ConvTranspose

SLOPE = 0.1
LAST_SLOPE = 0.01  # before the last convolution the published code takes its library's default


@dataclass(frozen=True)
class HiFiGANSettings:
    """Sizes under their published names, of generators with residual blocks of type 2."""

    upsample_rates: tuple[int, ...] = (8, 8, 4)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 8)
    upsample_initial_channel: int = 256
    resblock_kernel_sizes: tuple[int, ...] = (3, 5, 7)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12))
    mels: int = 128
    rate: int = 16000
    weight_norm: bool = False  # False: plain weights, as a finished vocoder is stored

    def __post_init__(self) -> None:
        stages = len(self.upsample_rates)
        require(
            stages > 0 and len(self.upsample_kernel_sizes) == stages and min(self.upsample_rates) > 0,
            f"hifigan: upsample_rates {self.upsample_rates} and upsample_kernel_sizes {self.upsample_kernel_sizes} "
            "must be positive and of one length",
        )
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            require(
                kernel >= rate and (kernel - rate) % 2 == 0,
                f"hifigan: a kernel of {kernel} cannot be centred on a rate of {rate}; their difference must be even",
            )
        require(
            self.upsample_initial_channel > 0 and self.upsample_initial_channel % 2**stages == 0,
            f"hifigan: upsample_initial_channel {self.upsample_initial_channel} cannot be halved {stages} times",
        )
        require(
            len(self.resblock_kernel_sizes) == len(self.resblock_dilation_sizes) > 0
            and all(size % 2 for size in self.resblock_kernel_sizes),
            "hifigan: resblock_kernel_sizes must be odd, with dilations for each",
        )
        require(self.mels > 0 and self.rate > 0, f"hifigan: mels {self.mels} and rate {self.rate} must be positive")

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.upsample_rates)


PRESETS = {"unified_io2": HiFiGANSettings(), "tiny": HiFiGANSettings(upsample_initial_channel=64)}


def hifigan_settings(config: Mapping[str, Any], mels: int = 128, rate: int = 16000) -> HiFiGANSettings:
    """Settings from a published config.json, with normalised weights. Raises MioError if it lacks a size."""
    names = (
        *("upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel"),
        *("resblock_kernel_sizes", "resblock_dilation_sizes"),
    )
    missing = [name for name in names if name not in config]
    if missing:
        raise MioError(f"the hifigan config lacks {', '.join(missing)}")
    if str(config.get("resblock", "2")) != "2":
        raise MioError(f"the hifigan config has residual blocks of type {config['resblock']}; only type 2 is supported")

    def fixed(value: Any) -> Any:
        return tuple(fixed(item) for item in value) if isinstance(value, list) else value

    return HiFiGANSettings(
        **{name: fixed(config[name]) for name in names},
        mels=config.get("num_mels", mels),
        rate=config.get("sampling_rate", rate),
        weight_norm=True,
    )


class ResBlock(Module):
    """Dilated convolutions one after another, each added to what it read."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], weight_norm: bool, key: jax.Array
    ) -> None:
        self.convs = List(
            Conv(channels, channels, kernel, k, dilation=d, weight_norm=weight_norm, pad="zeros")
            for d, k in zip(dilations, jax.random.split(key, len(dilations)), strict=True)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv in self.convs:
            x = x + conv(jax.nn.leaky_relu(x, SLOPE))
        return x


class HiFiGAN(Module):
    """Log-mel [b, frames, mels] -> waveform [b, frames * hop] in (-1, 1)."""

    def __init__(self, settings: HiFiGANSettings, key: jax.Array) -> None:
        s, norm = settings, settings.weight_norm
        kernels = list(zip(s.resblock_kernel_sizes, s.resblock_dilation_sizes, strict=True))
        keys = iter(jax.random.split(key, 2 + len(s.upsample_rates) * (1 + len(kernels))))
        channels = s.upsample_initial_channel
        self.conv_pre = Conv(s.mels, channels, 7, next(keys), weight_norm=norm, pad="zeros")
        ups, blocks = [], []
        for rate, kernel in zip(s.upsample_rates, s.upsample_kernel_sizes, strict=True):
            ups.append(ConvTranspose(channels, channels // 2, rate, next(keys), kernel=kernel, weight_norm=norm))
            channels //= 2
            blocks += [ResBlock(channels, size, dilations, norm, next(keys)) for size, dilations in kernels]
        self.ups, self.resblocks = List(ups), List(blocks)
        self.conv_post = Conv(channels, 1, 7, next(keys), weight_norm=norm, pad="zeros")

    def __call__(self, log_mel: jax.Array) -> jax.Array:
        x = self.conv_pre(log_mel)
        count = len(self.resblocks) // len(self.ups)
        for i, up in enumerate(self.ups):
            x = up(jax.nn.leaky_relu(x, SLOPE))
            stage = [self.resblocks[i * count + j](x) for j in range(count)]
            x = sum(stage[1:], stage[0]) / count
        return jnp.tanh(self.conv_post(jax.nn.leaky_relu(x, LAST_SLOPE)))[..., 0]
