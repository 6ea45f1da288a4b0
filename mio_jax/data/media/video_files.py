"""Frames and sound of a video file, through PyAV (the extra `video`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.data.media.video import frame_times
from mio_jax.errors import MioError
from mio_tokenizers.base import Audio

LONGEST_EDGE = 512  # pixels: a model's 384 with room for the augmentation


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MioError("videos are read with PyAV: pip install 'mio_jax[video]'") from error
    return av


def read_frames(path: str | Path, count: int, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Frames at the middles of `count` equal parts of a video, uint8 [count, height, width, 3], at most 512 pixels long.

    `start` and `end` in seconds name a part of the video, the whole by default.

    Raises:
      MioError: no such file, no video in it, damaged, or shorter than `start`.
    """
    av = _av()
    if not Path(path).is_file():
        raise MioError(f"there is no video {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MioError(f"{path} holds no video")
            stream = container.streams.video[0]
            times, frames = [], []
            # Frames are decoded one after the other: seeking is not exact in all formats, and clips are short.
            for frame in container.decode(stream):
                time = float(frame.time or 0.0)
                if end is not None and time >= end:
                    break
                if time >= start:
                    times.append(time)
                    frames.append(_small(frame))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MioError(f"{path} is damaged or no video: {error}") from error
    if not frames:
        raise MioError(f"{path} has no frame from second {start} on")
    step = (times[-1] - times[0]) / max(len(times) - 1, 1) or 1.0
    wanted = times[0] + frame_times(times[-1] - times[0] + step, count)
    chosen = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(frames) - 1)
    return np.stack([frames[int(i)] for i in chosen])


def _small(frame: Any) -> np.ndarray:
    share = min(1.0, LONGEST_EDGE / max(frame.width, frame.height))
    size = (max(round(frame.width * share), 1), max(round(frame.height * share), 1))
    return np.asarray(frame.to_ndarray(width=size[0], height=size[1], format="rgb24"))


def read_sound(path: str | Path, start: float = 0.0, end: float | None = None) -> Audio | None:
    """The sound of a video at its own rate, mixed down to one channel; None where it has none."""
    av = _av()
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
