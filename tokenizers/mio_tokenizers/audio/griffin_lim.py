"""A waveform from a mel spectrogram without a trained vocoder: least squares back to a spectrum, then Griffin-Lim.

Griffin-Lim 1984 finds phases that fit the magnitudes by going to the waveform and back; the momentum is that of
Perraudin et al. 2013. Numpy, deterministic.
"""

from __future__ import annotations

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.audio.mel import MelSpec
from mio_tokenizers.audio.spectral import hann

MOMENTUM = 0.99


def power_spectrum(mel: np.ndarray, filters: np.ndarray, iterations: int = 60) -> np.ndarray:
    """Non-negative least squares by multiplicative updates: power [mels, frames] -> [bins, frames], never below 0."""
    correlate = filters @ mel
    power = np.maximum(correlate, 1e-12)
    for _ in range(iterations):
        power *= correlate / np.maximum(filters @ (filters.T @ power), 1e-20)
    return power


def _transform(wave: np.ndarray, spec: MelSpec, window: np.ndarray) -> np.ndarray:
    """[frames * hop] -> complex [frames, bins], frames centred."""
    edge = spec.n_fft // 2
    padded = np.pad(wave, (edge, edge), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft)[: len(wave) : spec.hop]
    return np.fft.rfft(frames * window, axis=-1)


def _inverse(spectrum: np.ndarray, spec: MelSpec, window: np.ndarray) -> np.ndarray:
    """The waveform nearest to a spectrogram in the least squares of all frames."""
    frames = np.fft.irfft(spectrum, spec.n_fft, axis=-1) * window
    total = spec.n_fft + spec.hop * (len(frames) - 1)
    wave, weight = np.zeros(total), np.zeros(total)
    for i, frame in enumerate(frames):
        wave[i * spec.hop : i * spec.hop + spec.n_fft] += frame
        weight[i * spec.hop : i * spec.hop + spec.n_fft] += window**2
    edge = spec.n_fft // 2
    return (wave / np.maximum(weight, 1e-8))[edge : edge + spec.hop * len(frames)]


def griffin_lim(log_mel: np.ndarray, spec: MelSpec, iterations: int = 32, seed: int = 0) -> np.ndarray:
    """Natural-log power mel [mels, frames] -> float32 [frames * hop], clipped to [-1, 1].

    Raises:
      MioError: a spectrogram of another shape, too short for the window, or with values that are not finite.
    """
    log_mel = np.asarray(log_mel, np.float64)
    if log_mel.ndim != 2 or log_mel.shape[0] != spec.mels or not np.isfinite(log_mel).all():
        raise MioError(f"a spectrogram is finite values [{spec.mels}, frames], not an array {log_mel.shape}")
    if 2 * spec.hop > spec.n_fft or log_mel.shape[1] * spec.hop <= spec.n_fft // 2:
        raise MioError(f"Griffin-Lim needs overlapping frames and more than {log_mel.shape[1]} of them")
    window = hann(spec.n_fft, symmetric=True).astype(np.float64)
    filters = spec.filters().astype(np.float64)
    target = np.sqrt(power_spectrum(np.exp(np.minimum(log_mel, 20.0)), filters)).T
    phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(target.shape))
    before = np.zeros_like(phases)
    for _ in range(iterations):
        rebuilt = _transform(_inverse(target * phases, spec, window), spec, window)
        ahead = rebuilt - MOMENTUM / (1 + MOMENTUM) * before
        phases = ahead / np.maximum(np.abs(ahead), 1e-16)
        before = rebuilt
    return np.clip(_inverse(target * phases, spec, window), -1, 1).astype(np.float32)
