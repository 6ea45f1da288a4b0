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
            stamps = sorted(p.pts for p in container.demux(container.streams.video[0]) if p.pts is not None)
            unit = float(container.streams.video[0].time_base or 1)
        within = [s for s in stamps if start <= s * unit and (end is None or s * unit < end)]
        if not within:
            raise MioError(f"{path} has no frame from second {start} on")
        step = (within[-1] - within[0]) / max(len(within) - 1, 1) or 1
        wanted = within[0] + frame_times(within[-1] - within[0] + step, count)
        chosen = [within[max(int(i) - 1, 0)] for i in np.searchsorted(within, wanted, side="right")]
        found: dict[int, np.ndarray] = {}
        # Frames are decoded one after the other: seeking is not exact in every format.
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[0]):
                if frame.pts in chosen and frame.pts not in found:
                    found[frame.pts] = _small(frame)
                if len(found) == len(set(chosen)):
                    break
        return np.stack([found[stamp] for stamp in chosen])
    except (av.FFmpegError, OSError, ValueError, KeyError) as error:
        raise MioError(f"{path} is damaged or no video: {error}") from error


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
