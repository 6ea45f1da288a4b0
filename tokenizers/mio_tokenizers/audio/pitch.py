"""Fundamental frequency in numpy: a track for each frame, and one number for a note.

Normalised square difference after McLeod: autocorrelation divided by the energy of the two stretches compared, so that
a peak's height says how periodic the sound is whatever its level; the first peak nearly as high as the highest is the
period. The found frequency is then refined on the spectrum, since a lag of whole samples is coarse for high notes.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

LOWEST, HIGHEST = 30.0, 2200.0  # Hz
KEY_PEAK = 0.88  # a peak this high, relative to the highest, already counts as the period
CLEAR = 0.5  # clarity from which a frame counts as pitched


def _nsdf(frames: np.ndarray, lags: int) -> np.ndarray:
    """[F, W] -> float32 [F, lags] in [-1, 1]."""
    width = frames.shape[1]
    spectrum = scipy.fft.rfft(frames, 2 * width, axis=-1)
    correlation = scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, axis=-1)[:, :lags]
    energy = np.cumsum(frames**2, axis=-1)
    total = energy[:, -1:]
    lag = np.arange(lags)
    ends = energy[:, width - 1 - lag]  # energy of the first W - lag samples
    starts = total - np.concatenate([np.zeros_like(total), energy[:, : lags - 1]], -1)  # of the last W - lag
    return (2 * correlation / np.maximum(ends + starts, 1e-9)).astype(np.float32)


def _period(nsdf: np.ndarray, shortest: int) -> tuple[np.ndarray, np.ndarray]:
    """[F, lags] -> lags [F] (fractional; 0 where there is none) and clarities [F]."""
    inner = nsdf[:, 1:-1]
    peaks = (inner > nsdf[:, :-2]) & (inner >= nsdf[:, 2:]) & (inner > 0)
    positive_from_start = np.cumsum(nsdf[:, 1:-1] < 0, -1) == 0  # the lobe around lag 0 is no period
    peaks &= ~positive_from_start
    peaks[:, : max(shortest - 1, 0)] = False
    heights = np.where(peaks, inner, 0)
    best = heights.max(-1)
    first = np.argmax(heights >= np.maximum(KEY_PEAK * best, 1e-6)[:, None], -1) + 1
    rows = np.arange(len(nsdf))
    before, here, after = nsdf[rows, first - 1], nsdf[rows, first], nsdf[rows, first + 1]
    curve = before - 2 * here + after
    shift = np.where(np.abs(curve) > 1e-9, 0.5 * (before - after) / np.where(curve == 0, 1, curve), 0)
    return np.where(best > 0, first + np.clip(shift, -0.5, 0.5), 0), np.where(best > 0, here, 0)


def _refine(frames: np.ndarray, rate: int, f0: np.ndarray) -> np.ndarray:
    """The frequencies within 40 cents of `f0` [F] where the first harmonics' log magnitudes sum to the most."""
    size = 4 * frames.shape[1]
    spectrum = np.abs(scipy.fft.rfft(frames * np.hanning(frames.shape[1]), size, axis=-1))
    level = np.log(spectrum + 1e-3 * spectrum.max(-1, keepdims=True) + 1e-9)
    cents = np.arange(-40, 41, 4)
    candidates = f0[:, None] * 2 ** (cents / 1200)
    score = np.zeros_like(candidates)
    for harmonic in range(1, 6):
        position = candidates * harmonic * size / rate
        inside = position < level.shape[1] - 2
        index = np.where(inside, position, 0)
        low = index.astype(int)
        share = index - low
        rows = np.arange(len(frames))[:, None]
        score += np.where(inside, level[rows, low] * (1 - share) + level[rows, low + 1] * share, 0)
    return np.take_along_axis(candidates, score.argmax(-1)[:, None], -1)[:, 0]


def track(samples: np.ndarray, rate: int, hop: int, window: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """Pitch of every frame of `hop` samples.

    Args:
      samples: float32 [n] or [B, n].
      window: samples looked at around the middle of each frame; it must hold two periods of the lowest pitch.

    Returns:
      (f0 in Hz, clarity in [0, 1]), float32 [ceil(n / hop)] each, with the batch axis before it if there was one.
      f0 is 0 where no period was found.
    """
    batch = np.atleast_2d(np.asarray(samples, np.float32))
    count = -(-batch.shape[1] // hop)
    # Frames near an edge look at the nearest whole window inside: zeros beside a note would read as its decay.
    starts = np.clip(np.arange(count) * hop + (hop - window) // 2, 0, max(batch.shape[1] - window, 0))
    batch = np.pad(batch, ((0, 0), (0, max(window - batch.shape[1], 0))))
    f0 = np.zeros((len(batch), count), np.float32)
    clarity = np.zeros((len(batch), count), np.float32)
    for row, signal in enumerate(batch):  # clip by clip: the spectra of all frames of a data set would not fit
        frames = signal[starts[:, None] + np.arange(window)]
        frames = frames - frames.mean(-1, keepdims=True)
        lag, clear = _period(_nsdf(frames, min(int(rate / LOWEST) + 2, window - 1)), int(rate / HIGHEST))
        found = np.where(lag > 0, rate / np.maximum(lag, 1), 0)
        f0[row] = np.where(found > 0, _refine(frames, rate, found), 0)
        clarity[row] = np.clip(clear, 0, 1)
    return (f0, clarity) if np.ndim(samples) == 2 else (f0[0], clarity[0])


def smooth_track(f0: np.ndarray, clarity: np.ndarray, default: float = 220.0) -> np.ndarray:
    """[..., T] -> float32 [..., T] in Hz: medians over five frames; the nearest pitched frame's where there is none."""
    shape = f0.shape
    out = np.full((int(np.prod(shape[:-1])), shape[-1]), default, np.float32)
    for row, (f, c) in enumerate(zip(f0.reshape(out.shape), clarity.reshape(out.shape), strict=True)):
        index = np.flatnonzero((c >= CLEAR) & (f > 0))
        if len(index) == 0:
            continue
        values = np.pad(np.log(f[index]), 2, mode="edge")
        median = np.median(np.lib.stride_tricks.sliding_window_view(values, 5), -1)
        nearest = np.abs(np.arange(shape[-1])[:, None] - index).argmin(-1)
        out[row] = np.exp(median[nearest])
    return out.reshape(shape)
