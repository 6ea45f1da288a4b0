"""SEANet: the convolutional encoder and decoder of EnCodec and SpeechTokenizer.

The encoder's output has ceil(samples / hop) frames, and the decoder gives back hop samples for each. Both keep their
modules in one list `model` whose indices are those of the published checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from mio_jax.errors import MioError
from mio_jax.nn.base import List, Module
from mio_tokenizers.audio.layers import LSTM, Activation, Conv, ConvTranspose

ACTIVATIONS = ("ELU", "Snake")


@dataclass(frozen=True)
class SEANetSpec:
    """Sizes under their published names; the defaults are those of MIO's SpeechTokenizer (hop 320)."""

    n_filters: int = 64
    strides: tuple[int, ...] = (8, 5, 4, 2)  # of the decoder, in order; the encoder takes them backwards
    dimension: int = 1024
    bidirectional: bool = True  # of the encoder's LSTM; the decoder's runs forwards
    lstm_layers: int = 2  # 0: no LSTM
    n_residual_layers: int = 1
    residual_kernel_size: int = 3
    dilation_base: int = 2
    activation: str = "ELU"
    weight_norm: bool = True  # False: plain weights, as finished models are stored
    kernel_size: int = 7
    last_kernel_size: int = 7

    def __post_init__(self) -> None:
        for name in ("n_filters", "dimension", "n_residual_layers", "residual_kernel_size", "dilation_base"):
            if getattr(self, name) < 1:
                raise MioError(f"audio codec: {name} is {getattr(self, name)}; it must be positive")
        if not self.strides or min(self.strides) < 1:
            raise MioError(f"audio codec: strides are {self.strides}; give at least one, all positive")
        if self.lstm_layers < 0:
            raise MioError(f"audio codec: lstm_layers is {self.lstm_layers}; it must be 0 or more")
        if self.activation not in ACTIVATIONS:
            raise MioError(f"audio codec: activation is {self.activation!r}; it must be {' or '.join(ACTIVATIONS)}")

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.strides)


class ResidualBlock(Module):
    """Two convolutions through half the channels, and a learned shortcut of kernel 1."""

    def __init__(self, spec: SEANetSpec, channels: int, dilation: int, key: jax.Array) -> None:
        k1, k2, k3 = jax.random.split(key, 3)
        half, norm = channels // 2, spec.weight_norm
        self.block = List(
            [
                Activation(spec.activation, channels),
                Conv(channels, half, spec.residual_kernel_size, k1, dilation=dilation, weight_norm=norm),
                Activation(spec.activation, half),
                Conv(half, channels, 1, k2, weight_norm=norm),
            ]
        )
        self.shortcut = Conv(channels, channels, 1, k3, weight_norm=norm)

    def frames(self, length: jax.Array) -> jax.Array:
        return length

    def __call__(self, x: jax.Array, length: jax.Array | None = None) -> jax.Array:
        """`length` as in `Conv`."""
        y = x
        for layer in self.block:
            y = layer(y, length)
        return self.shortcut(x, length) + y


def _residual_blocks(spec: SEANetSpec, channels: int, key: jax.Array) -> list[Module]:
    keys = jax.random.split(key, spec.n_residual_layers)
    return [ResidualBlock(spec, channels, spec.dilation_base**j, k) for j, k in enumerate(keys)]


class SEANetEncoder(Module):
    """[B, samples, 1] -> [B, ceil(samples / hop), dimension]."""

    def __init__(self, spec: SEANetSpec, key: jax.Array) -> None:
        keys = iter(jax.random.split(key, 3 + 2 * len(spec.strides)))
        norm, channels = spec.weight_norm, spec.n_filters
        model: list[Module] = [Conv(1, channels, spec.kernel_size, next(keys), weight_norm=norm)]
        for stride in reversed(spec.strides):
            model += _residual_blocks(spec, channels, next(keys))
            model.append(Activation(spec.activation, channels))
            model.append(Conv(channels, 2 * channels, 2 * stride, next(keys), stride=stride, weight_norm=norm))
            channels *= 2
        if spec.lstm_layers:
            model.append(LSTM(channels, spec.lstm_layers, spec.bidirectional, next(keys)))
            channels *= 2 if spec.bidirectional else 1
        model.append(Activation(spec.activation, channels))
        model.append(Conv(channels, spec.dimension, spec.last_kernel_size, next(keys), weight_norm=norm))
        self.model = List(model)

    def __call__(self, x: jax.Array, trace: list[jax.Array] | None = None) -> jax.Array:
        """`trace`, if given, receives the output of every module."""
        for layer in self.model:
            x = layer(x)
            if trace is not None:
                trace.append(x)
        return x


class SEANetDecoder(Module):
    """[B, T, dimension] -> [B, hop * T, 1]."""

    def __init__(self, spec: SEANetSpec, key: jax.Array) -> None:
        keys = iter(jax.random.split(key, 3 + 2 * len(spec.strides)))
        norm, channels = spec.weight_norm, spec.n_filters * 2 ** len(spec.strides)
        model: list[Module] = [Conv(spec.dimension, channels, spec.kernel_size, next(keys), weight_norm=norm)]
        if spec.lstm_layers:
            model.append(LSTM(channels, spec.lstm_layers, False, next(keys)))
        for stride in spec.strides:
            model.append(Activation(spec.activation, channels))
            model.append(ConvTranspose(channels, channels // 2, stride, next(keys), weight_norm=norm))
            channels //= 2
            model += _residual_blocks(spec, channels, next(keys))
        model.append(Activation(spec.activation, channels))
        model.append(Conv(channels, 1, spec.last_kernel_size, next(keys), weight_norm=norm))
        self.model = List(model)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.model:
            x = layer(x)
        return x
