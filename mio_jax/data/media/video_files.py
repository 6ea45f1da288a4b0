"""Evenly spaced frames of a part of a video, and its sound (PyAV, the extra `video`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mio_jax.data.media.video import frame_times
from mio_jax.data.media.video_reader import open_video, require_av
from mio_jax.errors import MioError
from mio_tokenizers.base import Audio

ROUNDING = 1e-6  # seconds: a moment that falls on a frame's beginning shows that frame


def read_frames(path: str | Path, count: int, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Frames at the middles of `count` equal parts of a video, uint8 [count, height, width, 3], at most 512 pixels.

    `start` and `end` in seconds name a part of the video, the whole by default.

    Raises:
      MioError: no such file, no video in it, damaged, or shorter than `start`.
    """
    video = open_video(path)
    kept = np.flatnonzero((video.times >= start) & (video.times < (np.inf if end is None else end)))
    if not kept.size:
        raise MioError(f"{path} has no frame from second {start} on")
    within = video.times[kept]
    step = (within[-1] - within[0]) / max(len(within) - 1, 1) or 1
    wanted = within[0] + frame_times(within[-1] - within[0] + step, count)
    return video[kept[np.maximum(np.searchsorted(within, wanted + ROUNDING, side="right") - 1, 0)]]


def frames_at(path: str | Path, seconds: Sequence[float] | np.ndarray) -> np.ndarray:
    """The frames that are shown at these moments, uint8 [n, height, width, 3], at most 512 pixels.

    Moments before the first frame give the first, those behind the last one the last. Raises MioError as `read_frames`.
    """
    video = open_video(path)
    return video[np.maximum(np.searchsorted(video.times, np.asarray(seconds) + ROUNDING, side="right") - 1, 0)]


def read_sound(path: str | Path, start: float = 0.0, end: float | None = None) -> Audio | None:
    """The sound of a video at its own rate, mixed down to one channel; None where it has none."""
    av = require_av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            resampler = av.AudioResampler(format="flt", layout="mono")
            parts: list[np.ndarray] = []
            rate = 0
            for frame in container.decode(container.streams.audio[0]):
                for made in resampler.resample(frame):
                    rate = made.sample_rate
                    parts.append(made.to_ndarray().reshape(-1))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MioError(f"{path} is damaged or no video: {error}") from error
    samples = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
    cut = samples[int(start * rate) : None if end is None else int(end * rate)]
    return Audio(cut, rate) if cut.size else None
