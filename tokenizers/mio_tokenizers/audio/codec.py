"""The audio codec: SEANet around a residual quantiser, as in SpeechTokenizer, with two optional branches for tones.

With `tone` unset this is SpeechTokenizer, layer for layer. With it, the encoder also reads a spectrum of each frame and
the decoder adds a harmonic-plus-noise synthesiser, both driven by the same quantised features; that is what carries
pitch at low frame rates (see `tone.py`). Waveforms are [B, N] at the codec's rate, features [B, T, D].
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Module, Param
from mio_tokenizers.audio import tone
from mio_tokenizers.audio.layers import Conv, arrange, uniform
from mio_tokenizers.audio.seanet import SEANetDecoder, SEANetEncoder, SEANetSpec
from mio_tokenizers.audio.spectral import magnitude, mel_filters, musical_filters

MEDIAN_FRAMES = 5  # decoded pitch is a median over this many frames: one stray code does not break a note


@dataclass(frozen=True)
class ToneSpec:
    """The branches for tones: what the encoder's spectrum resolves and what the synthesiser can play."""

    harmonics: int = 64
    noise_bands: int = 16
    gains: int = 4  # loudness points a frame: attacks are shorter than a frame
    width: int = 128
    pitch_layers: int = 1  # layers of codes that decide the pitch
    pitch_scale: float = 1.0  # deviation of the pitch table's entries at the start
    pitch_low: int = 24  # MIDI
    pitch_high: int = 97
    steps_per_semitone: int = 2
    long_window: int = 4096
    short_window: int = 1024
    bands_per_octave: int = 24
    octaves: int = 8  # from the lowest pitch up
    short_bands: int = 40

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if getattr(self, item.name) < 1:
                raise MioError(f"audio codec: tone.{item.name} is {getattr(self, item.name)}; it must be positive")
        if self.pitch_high <= self.pitch_low:
            raise MioError(f"audio codec: tone.pitch_high {self.pitch_high} is not above pitch_low {self.pitch_low}")

    @property
    def pitches(self) -> int:
        return (self.pitch_high - self.pitch_low) * self.steps_per_semitone + 1


@dataclass(frozen=True)
class CodecSpec:
    seanet: SEANetSpec = field(default_factory=SEANetSpec)
    n_q: int = 8
    codebook_size: int = 1024
    sample_rate: int = 16000
    semantic_dimension: int = 0  # width of the layer-0 feature that is distilled from a teacher; 0: none
    tone: ToneSpec | None = None

    def __post_init__(self) -> None:
        for name in ("n_q", "codebook_size", "sample_rate"):
            if getattr(self, name) < 1:
                raise MioError(f"audio codec: {name} is {getattr(self, name)}; it must be positive")
        if self.tone is not None and not self.tone.pitch_layers <= self.n_q:
            raise MioError(f"audio codec: tone.pitch_layers is {self.tone.pitch_layers}, but n_q is {self.n_q}")

    @property
    def hop(self) -> int:
        return self.seanet.hop


class Linear(Module):
    """y = x W^T + b, weight [out, in]."""

    def __init__(self, inputs: int, outputs: int, key: jax.Array) -> None:
        weight_key, bias_key = jax.random.split(key)
        self.weight = uniform(weight_key, (outputs, inputs), inputs**-0.5)
        self.bias = uniform(bias_key, (outputs,), inputs**-0.5)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.weight[...].T + self.bias[...]


class _Stack(Module):
    """Three convolutions over frames with GELU between them."""

    def __init__(self, inputs: int, width: int, outputs: int, kernel: int, norm: bool, key: jax.Array) -> None:
        k1, k2, k3 = jax.random.split(key, 3)
        self.enter = Conv(inputs, width, 1, k1, weight_norm=norm)
        self.mix = Conv(width, width, kernel, k2, weight_norm=norm)
        self.leave = Conv(width, outputs, 1, k3, weight_norm=norm)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.leave(jax.nn.gelu(self.mix(jax.nn.gelu(self.enter(x)))))


class SpectrumEncoder(Module):
    """Log spectrum of each frame, fine in pitch (long window) and fine in time (short window) -> features [B, T, D].

    The net also names the pitch, and the row of that pitch in a table is added to the features. The rows are long, so
    that the first codebook sorts frames by pitch before anything else; timbre and level are left to finer layers.
    """

    def __init__(self, spec: CodecSpec, sounds: ToneSpec, key: jax.Array) -> None:
        net_key, table_key = jax.random.split(key)
        self.spec, self.sounds = spec, sounds
        dim = spec.seanet.dimension
        inputs = sounds.bands_per_octave * sounds.octaves + sounds.short_bands
        self.net = _Stack(inputs, sounds.width, dim + sounds.pitches, 5, spec.seanet.weight_norm, net_key)
        table = sounds.pitch_scale * jax.random.normal(table_key, (sounds.pitches, dim), jnp.float32)
        self.table = Param(table, axes=(None, None))

    def spectrum(self, wave: jax.Array) -> jax.Array:
        """[B, T * hop] -> [B, T, bands], of about zero mean and unit variance."""
        sounds, rate, hop = self.sounds, self.spec.sample_rate, self.spec.hop
        low = 440 * 2 ** ((sounds.pitch_low - 69) / 12)
        wanted = sounds.bands_per_octave * sounds.octaves
        bands = min(wanted, int(np.floor(np.log2(rate / 2 / low) * sounds.bands_per_octave)) - 1)
        banks = (
            (sounds.long_window, musical_filters(sounds.long_window, rate, low, sounds.bands_per_octave, bands)),
            (sounds.short_window, mel_filters(sounds.short_window, sounds.short_bands, rate)),
        )
        parts = []
        for window, bank in banks:
            left = (window - hop) // 2
            padded = jnp.pad(wave, ((0, 0), (left, window - hop - left)))
            level = magnitude(padded, window, hop) @ (bank / bank.sum(0)) * (4 / window)
            parts.append((jnp.log10(level + 1e-4) + 3.4) / 0.7)  # mean and deviation measured on notes
        parts[0] = jnp.pad(parts[0], ((0, 0), (0, 0), (0, wanted - bands)))  # bands above half the rate
        return jnp.concatenate(parts, -1)

    def __call__(self, wave: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, T * hop] -> features [B, T, D] and pitch logits [B, T, pitches]."""
        outputs = self.net(jax.lax.stop_gradient(self.spectrum(wave)))
        features, logits = jnp.split(outputs, [self.spec.seanet.dimension], axis=-1)
        return features + jax.nn.softmax(logits) @ self.table[...], logits


class ToneDecoder(Module):
    """Quantised features -> pitch, and the harmonic-plus-noise part of the waveform."""

    def __init__(self, spec: CodecSpec, sounds: ToneSpec, key: jax.Array) -> None:
        self.spec, self.sounds = spec, sounds
        pitch_key, level_key = jax.random.split(key)
        dim, norm = spec.seanet.dimension, spec.seanet.weight_norm
        outputs = sounds.harmonics + sounds.noise_bands + 2 * sounds.gains
        self.pitch = _Stack(dim, sounds.width, sounds.pitches, 5, norm, pitch_key)
        self.level = _Stack(dim, sounds.width, outputs, 5, norm, level_key)

    def pitch_logits(self, features: jax.Array) -> jax.Array:
        """[B, T, D], the sum of the first `pitch_layers` layers -> [B, T, pitches]."""
        return self.pitch(features)

    def frequency(self, logits: jax.Array) -> jax.Array:
        """[B, T, pitches] -> f0 [B, T] in Hz: the mean around the likeliest pitch, then the median over frames."""
        best = jnp.argmax(logits, -1, keepdims=True)
        near = jnp.abs(jnp.arange(logits.shape[-1]) - best) <= self.sounds.steps_per_semitone
        weights = jax.nn.softmax(jnp.where(near, logits, -jnp.inf), -1)
        position = jnp.sum(weights * jnp.arange(logits.shape[-1]), -1)
        half = MEDIAN_FRAMES // 2
        padded = jnp.pad(position, ((0, 0), (half, half)), mode="edge")
        window = jnp.stack([padded[:, i : i + position.shape[1]] for i in range(MEDIAN_FRAMES)], -1)
        midi = jnp.median(window, -1) / self.sounds.steps_per_semitone + self.sounds.pitch_low
        return 440 * 2 ** ((midi - 69) / 12)

    def targets(self, f0: jax.Array) -> jax.Array:
        """f0 [B, T] in Hz -> [B, T, pitches], a blurred one-hot whose mean is the pitch."""
        midi = 69 + 12 * jnp.log2(jnp.maximum(f0, 1.0) / 440)
        position = (midi - self.sounds.pitch_low) * self.sounds.steps_per_semitone
        position = jnp.clip(position, 0, self.sounds.pitches - 1)
        distance = jnp.arange(self.sounds.pitches) - position[..., None]
        return jax.nn.softmax(-0.5 * (distance / 0.6) ** 2, -1)

    def wave(self, features: jax.Array, f0: jax.Array) -> jax.Array:
        """[B, T, D] and f0 [B, T] in Hz -> [B, N]."""
        sounds, rate, hop = self.sounds, self.spec.sample_rate, self.spec.hop
        outputs = self.level(features)
        bends = np.cumsum([sounds.harmonics, sounds.noise_bands, sounds.gains])
        partials, bands, gain, noise_gain = jnp.split(outputs, bends, axis=-1)
        # Amplitudes are exponentials, bounded above so that one wild step cannot overflow. New models start quiet.
        tilt = -2.0 - np.log(np.arange(1, sounds.harmonics + 1))
        harmonic = tone.harmonics(f0, jnp.exp(jnp.minimum(partials + tilt, 1.0)), hop, rate)
        noise = tone.noise(jnp.exp(jnp.minimum(bands - 5.0, 1.0)), hop, rate)
        return harmonic * self._gain(gain) + noise * self._gain(noise_gain)

    def _gain(self, log_gain: jax.Array) -> jax.Array:
        """[B, T, gains] -> [B, N]."""
        points = jnp.exp(jnp.minimum(log_gain.reshape(log_gain.shape[0], -1, 1), 3.0))
        return tone.interpolate(points, self.spec.hop // self.sounds.gains)[..., 0]


class Decoded(NamedTuple):
    wave: jax.Array  # [B, T * hop]
    pitch_logits: jax.Array | None  # [B, T, pitches] with tone branches


class Codec(Module):
    """Everything with parameters; codebooks are a `RVQState` outside."""

    def __init__(self, spec: CodecSpec, key: jax.Array) -> None:
        k1, k2, k3, k4, k5 = jax.random.split(key, 5)
        self.spec = spec
        self.encoder = SEANetEncoder(spec.seanet, k1)
        self.decoder = SEANetDecoder(spec.seanet, k2)
        if spec.semantic_dimension not in (0, spec.seanet.dimension):
            self.transform = Linear(spec.seanet.dimension, spec.semantic_dimension, k3)
        if spec.tone is not None:
            if spec.hop % spec.tone.gains:
                raise MioError(f"audio codec: tone.gains {spec.tone.gains} does not divide the hop of {spec.hop}")
            self.spectrum = SpectrumEncoder(spec, spec.tone, k4)
            self.tone = ToneDecoder(spec, spec.tone, k5)

    def for_inference(self) -> Codec:
        """The same with its weights folded and laid out for many calls; it cannot be exported."""
        model = jax.tree.map(lambda w: w, self)
        arrange(model)
        return model

    def features(self, wave: jax.Array) -> jax.Array:
        """[B, N] -> [B, ceil(N / hop), D], what is quantised."""
        return self.analyse(wave)[0]

    def analyse(self, wave: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """[B, N] -> the features, and with tone branches the encoder's own pitch logits [B, T, pitches]."""
        features = self.encoder(wave[..., None])
        if self.spec.tone is None:
            return features, None
        missing = features.shape[1] * self.spec.hop - wave.shape[1]
        tones, logits = self.spectrum(jnp.pad(wave, ((0, 0), (0, missing))))
        return features + tones, logits

    def semantic(self, layer0: jax.Array) -> jax.Array:
        """Quantised layer 0 [B, T, D] -> [B, T, semantic_dimension]; itself where the widths are equal."""
        return self.transform(layer0) if self.spec.semantic_dimension != self.spec.seanet.dimension else layer0

    def synthesize(self, features: jax.Array, pitch_features: jax.Array, f0: jax.Array | None = None) -> Decoded:
        """Quantised features -> waveform.

        Args:
          features: [B, T, D] sum of the layers given.
          pitch_features: [B, T, D] sum of those of the first `tone.pitch_layers` (unused without tone branches).
          f0: [B, T] in Hz to play instead of the decoded pitch (training plays the true one).
        """
        wave = self.decoder(features)[..., 0]
        if self.spec.tone is None:
            return Decoded(wave, None)
        logits = self.tone.pitch_logits(pitch_features)
        played = self.tone.frequency(logits) if f0 is None else f0
        return Decoded(wave + self.tone.wave(features, played), logits)
