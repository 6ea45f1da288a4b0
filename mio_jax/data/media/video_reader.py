"""One reader of videos over several decoders: video files, animated pictures, folders of frames.

PyAV (the extra `video`, ffmpeg in a package) decodes video files, Pillow animated GIF, WebP and PNG, and a folder holds
a picture for each frame. A `Video` keeps no frames: they are decoded, one after the other, when they are asked for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.image.io import MAX_PIXELS, check_picture, read_image

LONGEST_EDGE = 512  # pixels of a decoded video file: a model's 384 with room for augmentation
FOLDER_RATE = 1.0  # frames a second of a folder, which says nothing about time
ANIMATED = (".gif", ".webp", ".png", ".apng")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Video:
    """A video that is read when its frames are asked for; `video[indices]` and `len` are as those of an array of them.

    Args:
      name: for messages, usually its path.
      count: how many frames it has. Raises MioError if there are none.
      frames: makes an iterator over uint8 [height, width, 3] in their order.
      clock: makes float64 [count], the second at which each frame appears.
    """

    def __init__(
        self,
        name: str,
        count: int,
        frames: Callable[[], Iterator[np.ndarray]],
        clock: Callable[[], np.ndarray],
    ) -> None:
        if count < 1:
            raise MioError(f"{name} has no frames")
        self.name, self.count, self._frames, self._clock = name, count, frames, clock

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def times(self) -> np.ndarray:
        """float64 [frames]: the second at which each one appears."""
        return self._clock()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Raises MioError on a damaged file, or frames of several sizes."""
        shape: tuple[int, ...] | None = None
        for frame in self._frames():
            if shape not in (None, frame.shape):
                raise MioError(f"the frames of {self.name} are not all of one size, as those of a video are")
            shape = frame.shape
            yield frame

    def __getitem__(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [n, height, width, 3] of these frames, each decoded once, up to the last that is wanted.

        Raises MioError on none, one that does not exist or cannot be decoded.
        """
        wanted = [int(i) for i in indices]
        if not wanted or min(wanted) < 0 or max(wanted) >= self.count:
            raise MioError(f"frames {wanted} of {self.name}, which has {self.count}")
        some = set(wanted)
        found = {number: frame for number, frame in zip(range(max(some) + 1), self, strict=False) if number in some}
        lost = next((i for i in wanted if i not in found), None)
        if lost is not None:
            raise MioError(f"{self.name} is damaged: its frame {lost} of {self.count} cannot be decoded")
        return np.stack([found[i] for i in wanted])


def video_of(frames: np.ndarray, rate: float = FOLDER_RATE, name: str = "the video") -> Video:
    """Frames that are there already, uint8 [n, height, width, 3]. Raises MioError on anything else."""
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        got = f"{frames.dtype} {list(frames.shape)}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise MioError(f"a video must be uint8 [frames, height, width, 3], not {got}")
    return Video(name, len(frames), lambda: iter(frames), lambda: np.arange(len(frames)) / rate)


def open_video(path: str | Path) -> Video:
    """A video file, an animated picture, or a folder of pictures in the natural order of their names (2 before 10).

    Raises MioError: no such file, empty, damaged, no video in it, no frames, or a package that it needs is missing.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise MioError(f"there is no video {path}")
    if path.stat().st_size == 0:
        raise MioError(f"{path} is empty (0 bytes)")
    return _animated(path) if path.suffix.lower() in ANIMATED else _film(path)


def natural(name: str) -> list[tuple[int, str]]:
    """A key under which numbers in names count as numbers: frame2 comes before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


# --------------------------------------------------------------------------------------------------------- decoders


def _folder(path: Path) -> Video:
    files = sorted((f for f in path.iterdir() if f.suffix.lower() in PICTURES), key=lambda f: natural(f.name))
    if not files:
        raise MioError(f"{path} has no frames ({', '.join(PICTURES)}) in it")
    return Video(
        str(path), len(files), lambda: (read_image(file) for file in files), lambda: np.arange(len(files)) / FOLDER_RATE
    )


def _animated(path: Path) -> Video:
    from PIL import Image, UnidentifiedImageError

    def failed(error: BaseException) -> MioError:
        return MioError(f"{path} is damaged or no animated picture: {error}")

    # Pillow's decoders raise all of these on damaged files.
    errors = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
    try:
        with Image.open(path) as opened:
            count, pixels = getattr(opened, "n_frames", 1), opened.width * opened.height
    except errors as error:
        raise failed(error) from error
    if pixels > MAX_PIXELS:
        raise MioError(f"{path} has frames of {pixels} pixels; scale it below {MAX_PIXELS} pixels first")

    def each() -> Iterator[tuple[np.ndarray, float]]:
        try:
            with Image.open(path) as opened:
                for number in range(count):
                    opened.seek(number)
                    frame = _over_white(opened)
                    yield frame, float(opened.info.get("duration", 0)) / 1000
        except errors as error:
            raise failed(error) from error

    def clock() -> np.ndarray:
        lengths = [length for _, length in each()]
        return np.concatenate([[0.0], np.cumsum(lengths)[:-1]])

    return Video(str(path), count, lambda: (frame for frame, _ in each()), clock)


def _over_white(image: Any) -> np.ndarray:
    """uint8 [height, width, 3]: transparency is laid over white, as of any other picture."""
    from PIL import Image

    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    rgba = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB"))


def _film(path: Path) -> Video:
    """Through PyAV. Frames are decoded one after the other: seeking is not exact in every format."""
    av = require_av()
    errors = (av.FFmpegError, OSError, ValueError)

    def failed(error: BaseException) -> MioError:
        return MioError(f"{path} is damaged or no video: {error}")

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MioError(f"{path} holds no video")
            stream = container.streams.video[0]
            packets = [(p.pts, p.dts) for p in container.demux(stream) if p.size and not p.is_discard]
            unit, rate = float(stream.time_base or 1), float(stream.average_rate or 0)
    except errors as error:
        raise failed(error) from error
    if not packets:
        raise MioError(f"{path} has no frames: its video has no length")
    stamps = next((s for s in zip(*packets, strict=True) if None not in s), None)  # AVI may have decoding times alone
    if stamps is None and not rate:
        raise failed(ValueError("its frames have no times"))

    def frames() -> Iterator[np.ndarray]:
        try:
            with av.open(str(path)) as container:
                for frame in container.decode(container.streams.video[0]):
                    yield _small(frame)
        except errors as error:
            raise failed(error) from error

    times = np.arange(len(packets)) / rate if stamps is None else np.sort(np.asarray(stamps, np.float64)) * unit
    return Video(str(path), len(packets), frames, lambda: times)


def require_av() -> Any:
    """The package. Raises MioError naming the extra that has it."""
    try:
        import av
    except ImportError as error:
        raise MioError("videos are read with PyAV: pip install 'mio_jax[video]'") from error
    return av


def _small(frame: Any) -> np.ndarray:
    share = min(1.0, LONGEST_EDGE / max(frame.width, frame.height))
    size = (max(round(frame.width * share), 1), max(round(frame.height * share), 1))
    return check_picture(np.asarray(frame.to_ndarray(width=size[0], height=size[1], format="rgb24")))
