"""Pictures of published sets: from bytes within other files, outlines and run lengths as masks, squares for answers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image

LARGEST_IN_HISTORY = 256  # pixels: what a model sees of a picture in a history


def picture_of(data: bytes, where: str) -> np.ndarray:
    """The uint8 [height, width, 3] picture in the bytes of a file. Raises MioError naming `where` they come from."""
    try:
        return read_image(io.BytesIO(data))  # type: ignore[arg-type]
    except MioError as error:
        raise MioError(f"{where} holds {len(data)} bytes that are no whole picture") from error


def small(picture: np.ndarray, largest: int = LARGEST_IN_HISTORY) -> np.ndarray:
    """The uint8 picture scaled down so that its longer edge has at most so many pixels."""
    from PIL import Image

    height, width = picture.shape[:2]
    if max(height, width) <= largest:
        return picture
    share = largest / max(height, width)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def in_square(values: np.ndarray) -> np.ndarray:
    """[height, width, ...] in the middle of a square of zeros, as the model's input lies in its padding.

    An answer of another shape would be put into a square by the image tokenizer with its border's colour around it.
    """
    height, width = values.shape[:2]
    side = max(height, width)
    out = np.zeros((side, side, *values.shape[2:]), values.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    out[top : top + height, left : left + width] = values
    return out


def counts_of(text: str) -> list[int]:
    """Run lengths of COCO's compressed strings: six bits a character, five of value, differences from the third."""
    counts: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[at]) - 48
            value |= (code & 31) << shift
            more = bool(code & 32)
            at += 1
            shift += 5
            if not more and code & 16:
                value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def mask_of_runs(size: Sequence[int], counts: str | Sequence[int]) -> np.ndarray:
    """bool [height, width] of run lengths down the columns, the first of zeros. ValueError if they do not add up."""
    height, width = size
    runs = counts_of(counts) if isinstance(counts, str) else list(counts)
    if sum(runs) != height * width:
        raise ValueError(f"run lengths of {sum(runs)} pixels for a mask of {height}x{width}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T.copy()


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """bool [height, width] of COCO's polygons [[x, y, x, y, ...], ...] or run lengths {"size", "counts"}."""
    if isinstance(segmentation, dict):
        return mask_of_runs(segmentation["size"], segmentation["counts"])
    from PIL import Image, ImageDraw

    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for outline in segmentation:
        draw.polygon([(outline[i], outline[i + 1]) for i in range(0, len(outline) - 1, 2)], fill=1, outline=1)
    return np.asarray(canvas, bool)


def corners(box: Sequence[float]) -> list[float]:
    """(x, y, width, height) -> [y1, x1, y2, x2]."""
    x, y, width, height = map(float, box)
    return [y, x, y + height, x + width]


def within(box: Sequence[float], height: int, width: int) -> list[float]:
    """[y1, x1, y2, x2] clipped to the picture."""
    y1, x1, y2, x2 = box
    return [max(y1, 0.0), max(x1, 0.0), min(y2, float(height)), min(x2, float(width))]
