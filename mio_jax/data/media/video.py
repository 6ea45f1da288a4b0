"""Which frames and which sound stand for a video (specification of Unified-IO 2, section 13.3)."""

from __future__ import annotations

import itertools

import numpy as np

from mio_jax.errors import MioError

BLACK = 16  # a row or column of black bars has no value at or above it in any frame
MOST_TRIMMED = 0.3  # of an edge, on each side


def frame_times(length: float, count: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """float64 [count] seconds: the middles of equal segments, or random moments within them.

    Raises MioError on a video without length or a count below 1.
    """
    if not length > 0 or count < 1:
        raise MioError(f"{count} frames of a video of {length} s; both must be positive")
    share = np.full(count, 0.5) if rng is None else rng.random(count)
    return (np.arange(count) + share) * (length / count)


def sound_segments(samples: np.ndarray, rate: int, count: int) -> list[np.ndarray]:
    """The sound [n] of a video in as many equal parts as it has frames, float [about n / count] each.

    Bringing each to the length of a model's segment is `mio_tokenizers.audio.mel.centred`.
    """
    if len(samples) < count or rate < 1:
        raise MioError(f"a sound of {len(samples)} samples at {rate} Hz cannot be cut into {count} segments")
    edges = np.linspace(0, len(samples), count + 1).astype(np.int64)
    return [samples[a:b] for a, b in itertools.pairwise(edges)]


def trim_black_bars(frames: np.ndarray) -> np.ndarray:
    """uint8 [frames, height, width, 3] without the black rows and columns that all frames have at their edges.

    At most 30 % of an edge goes on each side, so that a dark video keeps its middle.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or not frames.size:
        raise MioError(f"frames must be uint8 [frames, height, width, 3], not {frames.dtype} {list(frames.shape)}")
    bright = frames.max(axis=(0, 3)) >= BLACK
    slices = []
    for axis in (1, 0):
        lines = bright.any(axis=axis)
        most = int(len(lines) * MOST_TRIMMED)
        lit = np.flatnonzero(lines)
        first, last = (int(lit[0]), len(lines) - 1 - int(lit[-1])) if lit.size else (len(lines), len(lines))
        slices.append(slice(min(first, most), len(lines) - min(last, most)))
    return frames[:, slices[0], slices[1]]
