"""The log-mel spectrogram of Unified-IO 2 (paper appendix on audio; code constants), and how sound is cut for it.

Symmetric Hann window, frames centred on their hop with reflected edges, power spectrum, Slaney's mel scale and norm,
natural logarithm. Spectrograms are [..., mels, frames]. The functions take numpy arrays (float64 inside) or JAX arrays
(float32, differentiable) and give back the same kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_tokenizers.audio.spectral import hann, mel_filters

SEGMENT_SECONDS = 4.08
CLIP = (1e-5, 1e5)  # of the power, before its logarithm
FLOOR = math.log(CLIP[0])
# Mean and standard deviation by which a log-mel is normalised: for the codes, and for the spectrogram encoder.
CODE_SCALE = (-5.0945, 3.8312)
INPUT_SCALE = (-4.26, 9.14)


@dataclass(frozen=True)
class MelSpec:
    """Sampling rate and frequencies in Hz; the window is as long as the transform."""

    rate: int = 16000
    n_fft: int = 1024
    hop: int = 256
    mels: int = 128
    low: float = 0.0
    high: float = 8000.0

    def __post_init__(self) -> None:
        for name in ("rate", "n_fft", "hop", "mels"):
            require(getattr(self, name) > 0, f"mel: {name} is {getattr(self, name)}; it must be positive")
        require(
            0 <= self.low < self.high <= self.rate / 2,
            f"mel: the band {self.low} to {self.high} Hz must lie in order below half the rate, {self.rate / 2}",
        )

    def frames(self, samples: int) -> int:
        """Frames of a sound of so many samples."""
        return 1 + samples // self.hop

    def filters(self) -> np.ndarray:
        """float32 [n_fft // 2 + 1, mels]."""
        return mel_filters(self.n_fft, self.mels, self.rate, self.low, self.high, "slaney")


MEL = MelSpec()
SEGMENT = round(SEGMENT_SECONDS * MEL.rate)  # 65280 samples: 256 frames


def power_mel(waves: Any, spec: MelSpec = MEL) -> Any:
    """Power in each mel band: float [..., n] -> float32 [..., mels, 1 + n // hop].

    Raises:
      MioError: a sound too short to be reflected at its edges.
    """
    xp = jnp if isinstance(waves, jax.Array) else np
    edge = spec.n_fft // 2
    if waves.shape[-1] <= edge:
        raise MioError(f"a sound of {waves.shape[-1]} samples is too short for a spectrogram; it needs {edge + 1}")
    padded = xp.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(edge, edge)], mode="reflect")
    starts = np.arange(spec.frames(waves.shape[-1])) * spec.hop
    frames = padded[..., starts[:, None] + np.arange(spec.n_fft)]
    if xp is np:
        frames = frames.astype(np.float64)
    spectrum = xp.fft.rfft(frames * hann(spec.n_fft, symmetric=True), axis=-1)
    power = xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2
    filters = spec.filters()
    mel = jnp.matmul(power, filters, precision="highest") if xp is jnp else power @ filters
    return xp.swapaxes(mel, -1, -2).astype(np.float32)


def log_power(power: Any, keep_zeros: bool = True) -> Any:
    """Natural logarithm of power clipped to [1e-5, 1e5].

    `keep_zeros`: where the power is exactly 0 (padding) the result is 0, as the published model is fed; False: the
    floor, log 1e-5, which is what silence sounds like.
    """
    xp = jnp if isinstance(power, jax.Array) else np
    out = xp.log(xp.clip(power, *CLIP))
    return xp.where(power != 0, out, 0.0).astype(np.float32) if keep_zeros else out


def normalise_mel(log_mel: Any, scale: tuple[float, float] = CODE_SCALE) -> Any:
    """(log_mel - mean) / deviation."""
    return (log_mel - scale[0]) / scale[1]


def restore_mel(normalised: Any, scale: tuple[float, float] = CODE_SCALE) -> Any:
    """Inverse of `normalise_mel`."""
    return normalised * scale[1] + scale[0]


def segment_count(seconds: float, length: float = SEGMENT_SECONDS) -> int:
    """Segments of `length` seconds that a sound fills; a last one counts if clearly more than half of it is there."""
    whole, rest = divmod(seconds, length)
    return max(int(whole) + (rest - 0.1 > length / 2), 1)


def segments_of(samples: np.ndarray, rate: int = MEL.rate, length: float = SEGMENT_SECONDS) -> np.ndarray:
    """float [n] -> [segments, length * rate], zeros behind the end; what fills no segment of its own is cut off."""
    size = round(length * rate)
    count = segment_count(len(samples) / rate, length)
    kept = samples[: count * size]
    return np.pad(kept, (0, count * size - len(kept))).reshape(count, size)


def centred(samples: np.ndarray, size: int = SEGMENT) -> np.ndarray:
    """The middle `size` samples of a longer clip, or a shorter one amid zeros (the odd one goes to the right).

    For the sound of single video frames.
    """
    missing = size - len(samples)
    if missing > 0:
        return np.pad(samples, (missing // 2, missing - missing // 2))
    start = -missing // 2
    return samples[start : start + size]
