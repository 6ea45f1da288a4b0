"""Spectra of batches of waveforms in JAX: short-time Fourier magnitudes, mel and musical filter banks.

Filter banks are numpy constants made once; a waveform batch is [B, N] and a spectrogram [B, frames, bins].
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np


def hann(length: int, symmetric: bool = False) -> np.ndarray:
    """The Hann window, float32 [length]: periodic, or symmetric (its last value equals its first)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - symmetric))).astype(np.float32)


def frames_of(x: jax.Array, size: int, hop: int) -> jax.Array:
    """[B, N] -> [B, 1 + (N - size) // hop, size], views of `size` samples every `hop`."""
    count = 1 + (x.shape[1] - size) // hop
    if size % hop == 0:  # whole hops: slices side by side, which costs no gather (nor a scatter in the backward pass)
        steps = size // hop
        blocks = x[:, : (count + steps - 1) * hop].reshape(x.shape[0], count + steps - 1, hop)
        return jnp.concatenate([blocks[:, i : i + count] for i in range(steps)], axis=-1)
    return x[:, np.arange(count)[:, None] * hop + np.arange(size)]


def magnitude(x: jax.Array, n_fft: int, hop: int, floor: float = 0.0) -> jax.Array:
    """[B, N] -> [B, frames, n_fft // 2 + 1]: Hann magnitudes, frames not centred, no padding.

    `floor` is added under the square root; above 0 it also keeps the gradient finite where the signal is silent.
    """
    spectrum = jnp.fft.rfft(frames_of(x, n_fft, hop) * hann(n_fft), axis=-1)
    return jnp.sqrt(jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2 + floor)


def _htk(hertz: np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + hertz / 700)


def _htk_inverse(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


# Slaney's scale: 200/3 Hz a mel below 1 kHz (15 mel), and 27 mel for each factor of 6.4 above.
def _slaney(hertz: np.ndarray) -> np.ndarray:
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


def _slaney_inverse(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


MEL_SCALES = {"htk": (_htk, _htk_inverse), "slaney": (_slaney, _slaney_inverse)}


@functools.lru_cache(maxsize=32)
def mel_filters(
    n_fft: int, mels: int, rate: int, low: float = 0.0, high: float | None = None, scale: str = "htk"
) -> np.ndarray:
    """Triangles evenly spaced on a mel scale, of unit area (Slaney's norm). float32 [n_fft // 2 + 1, mels]."""
    high = rate / 2 if high is None else high
    to_mel, to_hertz = MEL_SCALES[scale]
    ends = to_mel(np.array([low, high]))
    centres = to_hertz(np.linspace(ends[0], ends[1], mels + 2))
    return _triangles(n_fft, rate, centres) * np.float32(2 / (centres[2:] - centres[:-2]))


@functools.lru_cache(maxsize=8)
def musical_filters(n_fft: int, rate: int, low: float, per_octave: int, bins: int) -> np.ndarray:
    """Triangles centred `per_octave` to the octave from `low` Hz up, each summing to 1. float32 [n_fft // 2 + 1, bins].

    Where the bands are narrower than the Fourier bins they interpolate between the two nearest bins.
    """
    centres = low * 2 ** (np.arange(-1, bins + 1) / per_octave)
    bank = _triangles(n_fft, rate, centres)
    positions = centres[1:-1] * n_fft / rate
    below = np.clip(np.floor(positions).astype(int), 0, n_fft // 2 - 1)
    share = (positions - below).astype(np.float32)
    narrow = np.diff(centres)[1:] * n_fft / rate < 2
    for band in np.flatnonzero(narrow):
        bank[:, band] = 0
        bank[below[band], band], bank[below[band] + 1, band] = 1 - share[band], share[band]
    return bank / bank.sum(0)


def _triangles(n_fft: int, rate: int, centres: np.ndarray) -> np.ndarray:
    """Triangle i rises from centre i to i + 1 and falls to i + 2. float32 [n_fft // 2 + 1, len(centres) - 2]."""
    frequencies = np.linspace(0, rate / 2, n_fft // 2 + 1)[:, None]
    rise = (frequencies - centres[:-2]) / (centres[1:-1] - centres[:-2])
    fall = (centres[2:] - frequencies) / (centres[2:] - centres[1:-1])
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def log_mel(x: jax.Array, n_fft: int, hop: int, mels: int, rate: int, high: float | None = None) -> jax.Array:
    """[B, N] -> [B, frames, mels] as the codec losses want it: reflected edges, log of at least 1e-5."""
    edge = (n_fft - hop) // 2
    padded = jnp.pad(x, ((0, 0), (edge, edge)), mode="reflect")
    mel = magnitude(padded, n_fft, hop, 1e-9) @ mel_filters(n_fft, mels, rate, 0.0, high)
    return jnp.log(jnp.maximum(mel, 1e-5))
