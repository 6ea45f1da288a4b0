"""Where a picture of any size lies in a model's square: scaled, cropped, padded; and the same for its boxes and masks.

`fit` shows the whole picture, `random_placement` augments. The arithmetic is float32, because truncation decides sizes
(specification of Unified-IO 2, section 13.1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mio_jax.data.media.resize import METHODS, resize, resize_nearest
from mio_jax.errors import MioError
from mio_tokenizers.image.io import MAX_PIXELS

FACTOR = (0.75, 1.3333)  # of the square's edge, to which an augmented picture is scaled
LEAST_EDGE = 64  # pixels: an augmented picture's shorter edge is not scaled below


class Placement(NamedTuple):
    """A picture of height x width, scaled to `scaled`, whose part from `offset` on lies at `pad` in the square."""

    source: tuple[int, int]
    size: int
    scale: np.float32
    scaled: tuple[int, int]
    offset: tuple[int, int]
    method: str = "bilinear"

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width of the part of the square that the picture covers."""
        return (
            min(self.scaled[0] - self.offset[0], self.size),
            min(self.scaled[1] - self.offset[1], self.size),
        )

    @property
    def pad(self) -> tuple[int, int]:
        """Rows above and columns left of the picture."""
        return (self.size - self.shown[0]) // 2, (self.size - self.shown[1]) // 2

    @property
    def info(self) -> np.ndarray:
        """float32 [11]: pad (2), 1 / scale, source (2), offset / source (2), offset (2), scaled size (2)."""
        (h, w), (y, x) = self.source, self.offset
        return np.asarray([*self.pad, np.float32(1) / self.scale, h, w, y / h, x / w, y, x, *self.scaled], np.float32)

    def _part(self) -> tuple[slice, slice]:
        return tuple(slice(o, o + s) for o, s in zip(self.offset, self.shown, strict=True))  # type: ignore[return-value]

    def _inside(self) -> tuple[slice, slice]:
        return tuple(slice(p, p + s) for p, s in zip(self.pad, self.shown, strict=True))  # type: ignore[return-value]

    def image(self, picture: np.ndarray) -> np.ndarray:
        """float32 [..., height, width, channels] in [0, 1] -> [..., size, size, channels], zeros around it."""
        self._check(picture.shape[-3:-1])
        rows, columns = self._part()
        shown = np.clip(resize(picture, self.scaled, self.method, rows=rows, columns=columns), 0.0, 1.0)
        out = np.zeros((*picture.shape[:-3], self.size, self.size, picture.shape[-1]), np.float32)
        top, left = self._inside()
        out[..., top, left, :] = shown
        return out

    def dense(self, values: np.ndarray) -> np.ndarray:
        """[height, width, ...] of any type -> [size, size, ...] with the nearest pixel's value, zeros around it."""
        self._check(values.shape[:2])
        rows, columns = self._part()
        out = np.zeros((self.size, self.size, *values.shape[2:]), values.dtype)
        out[self._inside()] = resize_nearest(values, self.scaled, rows=rows, columns=columns)
        return out

    @property
    def mask(self) -> np.ndarray:
        """int32 [size, size]: 1 on the picture, 0 on the padding."""
        out = np.zeros((self.size, self.size), np.int32)
        out[self._inside()] = 1
        return out

    def boxes(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (y1, x1, y2, x2) [n, 4] of the source -> float32 pixels of the square, and which were kept, bool [n].

        Boxes are clipped to the square; those of which nothing is left are dropped. Raises MioError on NaN, on crossed
        corners, or on a box that lies outside the picture by more than a pixel.
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        limit = np.asarray([*self.source, *self.source], np.float32)
        wrong = ~((boxes >= -1) & (boxes <= limit + 1)).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
        if wrong.any():
            item = int(np.argmax(wrong))
            raise MioError(
                f"box {item}, {boxes[item].tolist()}, is not (y1, x1, y2, x2) in pixels of the picture of "
                f"{self.source[0]}x{self.source[1]}"
            )
        shift = np.asarray([*self.pad, *self.pad], np.float32) - np.asarray([*self.offset, *self.offset], np.float32)
        moved = np.clip(boxes * self.scale + shift, 0, np.float32(self.size))
        kept = (moved[:, 2:] > moved[:, :2]).all(axis=1)
        return moved[kept], kept

    def _check(self, size: tuple[int, ...]) -> None:
        if tuple(size) != self.source:
            raise MioError(f"an array of {size[0]}x{size[1]} in the place of a picture of {self.source}; resize it")


def _source(height: int, width: int) -> tuple[int, int]:
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise MioError(
            f"a picture of {height}x{width} pixels; it must have at least one and at most {MAX_PIXELS}: scale it down"
        )
    return height, width


def _scaled(source: tuple[int, int], scale: np.float32) -> tuple[int, int]:
    height, width = (max(int(np.float32(edge) * scale), 1) for edge in source)  # a thin line stays a line
    return height, width


def fit(height: int, width: int, size: int) -> Placement:
    """The whole picture as large as the square allows, in its middle. Raises MioError on an impossible size."""
    source = _source(height, width)
    scale = min(np.float32(size) / np.float32(height), np.float32(size) / np.float32(width))
    return Placement(source, size, np.float32(scale), _scaled(source, scale), (0, 0))


def random_placement(height: int, width: int, size: int, rng: np.random.Generator) -> Placement:
    """A random scale, resize method and crop: the training augmentation. Raises MioError on an impossible size."""
    source = _source(height, width)
    edge = np.trunc(np.float32(rng.uniform(*FACTOR)) * np.float32(size))
    scales = edge / np.asarray(source, np.float32)
    scale = np.float32(scales.max() if rng.random() < 0.5 else scales.min())
    scale = max(scale, np.float32(LEAST_EDGE) / np.float32(min(source)))
    scaled = _scaled(source, scale)
    offset = tuple(int(max(0, edge - size) * rng.random()) for edge in scaled)
    return Placement(source, size, scale, scaled, (offset[0], offset[1]), METHODS[rng.integers(len(METHODS))])


def undo_boxes(boxes: np.ndarray, info: np.ndarray) -> np.ndarray:
    """Pixels (y1, x1, y2, x2) of the square -> float32 pixels of the source, clipped to it; a Placement's `info`."""
    top, left, inverse, height, width, _, _, y, x = np.asarray(info, np.float32)[:9]
    shift = np.asarray([y - top, x - left] * 2, np.float32)
    limit = np.asarray([height, width] * 2, np.float32)
    return np.clip((np.asarray(boxes, np.float32).reshape(-1, 4) + shift) * inverse, 0, limit)


def undo_image(square: np.ndarray, info: np.ndarray) -> np.ndarray:
    """A (generated) square [n, n, ...] -> [height, width, ...] of the source: nearest pixels, without the padding.

    Raises MioError where the square shows a crop: there is no way back to the whole.
    """
    height, width = (int(edge) for edge in info[3:5])
    if np.any(np.asarray(info[7:9])):
        raise MioError("this square shows a crop of its picture, which cannot be undone; place the picture with `fit`")
    side = max(height, width)
    whole = resize_nearest(square, (side, side))
    top, left = (side - height) // 2, (side - width) // 2
    return whole[top : top + height, left : left + width]
