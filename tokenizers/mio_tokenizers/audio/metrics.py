"""How near two sounds are, and which pitch a sound has. Numpy only: these are judges, not losses."""

from __future__ import annotations

import numpy as np
import scipy.signal

from mio_jax.errors import MioError
from mio_tokenizers.audio import pitch
from mio_tokenizers.audio.spectral import hann
from mio_tokenizers.base import Audio

FLOOR_DB = -80.0  # below full scale; what is quieter counts as silence
WINDOW, HOP = 1024, 256
PITCH_HOP, PITCH_WINDOW = 640, 2048


def _decibels(samples: np.ndarray) -> np.ndarray:
    """[n] -> [frames, bins], dB below a full-scale sine."""
    padded = np.pad(samples, (0, max(WINDOW - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * hann(WINDOW)
    magnitude = np.abs(np.fft.rfft(frames, axis=-1)) * (4 / WINDOW)
    return 20 * np.log10(np.maximum(magnitude, 10 ** (FLOOR_DB / 20)))


def log_spectral_distance(a: Audio, b: Audio) -> float:
    """Root mean square difference of two log spectra in dB, averaged over frames; the shorter is filled with silence.

    Raises:
      MioError: the sampling rates differ.
    """
    if a.rate != b.rate:
        raise MioError(f"log-spectral distance of sounds at {a.rate} and {b.rate} Hz; resample one of them first")
    length = max(len(a.samples), len(b.samples))
    x, y = (_decibels(np.pad(np.asarray(s.samples, np.float32), (0, length - len(s.samples)))) for s in (a, b))
    return float(np.mean(np.sqrt(np.mean((x - y) ** 2, axis=-1))))


def pitch_of(audio: Audio) -> float:
    """Fundamental frequency of a note in Hz, the median over its pitched frames; 0.0 if nothing in it has a pitch."""
    f0, clarity = pitch.track(audio.samples, audio.rate, PITCH_HOP, PITCH_WINDOW)
    voiced = f0[(clarity >= pitch.CLEAR) & (f0 > 0)]
    return float(np.median(voiced)) if len(voiced) else 0.0


def cents(frequency: float, reference: float) -> float:
    """Interval from `reference` to `frequency` in hundredths of a semitone; infinite if either is 0 (no pitch)."""
    if frequency <= 0 or reference <= 0:
        return float("inf")
    return float(1200 * np.log2(frequency / reference))


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Band-limited resampling, float32 [n] -> float32 [ceil(n * target / rate)]."""
    if rate == target:
        return samples
    common = np.gcd(rate, target)
    return scipy.signal.resample_poly(samples, target // common, rate // common).astype(np.float32)
