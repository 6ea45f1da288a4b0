"""Which frames stand for a video: one of each scene, or evenly spaced ones (specification of MIO, section 6.4).

The scene detector is our own, of the kind that PySceneDetect calls a content detector, with its measure (mean change
of hue, saturation and value between neighbours), its threshold and its shortest scene, without its further filters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mio_jax.data.media.video import frame_times
from mio_jax.data.media.video_reader import Video
from mio_jax.errors import MioError

THRESHOLD = 27.0  # mean change, on scales of 0..180 for hue and 0..255 for saturation and value
SHORTEST = 15  # frames: a scene is at least so long
WIDTH = 256  # frames are looked at no wider than this
UNIFORM = 10  # evenly spaced frames, or one more
HUE_SCALE = 180 / 255  # Pillow's hue goes to 255
CHOICES = ("auto", "scenes", "uniform", "all")


def scene_scores(frames: Iterable[np.ndarray]) -> np.ndarray:
    """How much each frame differs from the one before: uint8 [height, width, 3] each -> float64 [frames], the first 0.

    The mean over pixels and over hue, saturation and value of the absolute change.
    """
    from PIL import Image

    scores: list[float] = []
    before: np.ndarray | None = None
    for frame in frames:
        image = Image.fromarray(frame)
        if image.width > WIDTH:
            image = image.resize((WIDTH, max(round(image.height * WIDTH / image.width), 1)), Image.Resampling.BILINEAR)
        now = np.asarray(image.convert("HSV"), np.float32) * np.asarray([HUE_SCALE, 1, 1], np.float32)
        scores.append(0.0 if before is None else float(np.abs(now - before).mean()))
        before = now
    return np.asarray(scores)


def scenes(scores: np.ndarray, threshold: float = THRESHOLD, shortest: int = SHORTEST) -> list[tuple[int, int]]:
    """(first frame, frame behind the last) of each scene; empty where nothing is cut.

    A cut is where the score reaches the threshold, `shortest` frames or more behind the last cut or the beginning.
    """
    edges = [0]
    for number in np.flatnonzero(np.asarray(scores) >= threshold):
        if number - edges[-1] >= shortest:
            edges.append(int(number))
    return list(zip(edges, [*edges[1:], len(scores)], strict=True)) if len(edges) > 1 else []


def uniform_frames(count: int) -> np.ndarray:
    """int64: every (count // 10)-th frame from the first on, 10 or 11 of a video that is not short."""
    return np.arange(0, count, max(count // UNIFORM, 1))


def key_frames(video: Video, how: str = "auto", most: int = 0) -> np.ndarray:
    """Numbers of the frames that stand for a video, int64, in their order.

    Args:
      how: "scenes": the middle one of each scene; "uniform": evenly spaced; "auto": scenes where there are cuts, else
        evenly spaced; "all".
      most: at most so many of them, evenly chosen; 0: no limit.

    Raises:
      MioError: another `how`; scenes of a video without a cut; a video that cannot be read.
    """
    if how not in CHOICES:
        raise MioError(f"key frames are chosen by one of {', '.join(CHOICES)}, not by {how!r}")
    found = [(a + b) // 2 for a, b in scenes(scene_scores(video))] if how in ("auto", "scenes") else []
    if how == "scenes" and not found:
        raise MioError(f"{video.name} has no scene cut; choose its frames by 'uniform' or 'auto'")
    if how == "all":
        found = list(range(len(video)))
    return thinned(np.asarray(found) if found else uniform_frames(len(video)), most)


def thinned(indices: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of them (0: all): the middles of so many equal parts."""
    return indices[frame_times(len(indices), most).astype(int)] if 0 < most < len(indices) else indices


def shown_frames(video: Any, how: str = "", most: int = 0) -> np.ndarray:
    """A `Video`, or uint8 [n, height, width, 3], -> the frames that a model is shown, uint8 [n, height, width, 3].

    `how` "": key frames of a `Video`, and all frames of an array, which somebody has chosen already.
    """
    from mio_jax.data.media.video_reader import video_of

    opened = video if isinstance(video, Video) else video_of(video)
    return opened[key_frames(opened, how or ("auto" if opened is video else "all"), most)]
