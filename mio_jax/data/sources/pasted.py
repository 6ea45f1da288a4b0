"""Pictures of the web into which pieces of other pictures are pasted: synthetic tasks of finding and counting.

LAION Aesthetics and RedCaps lie as `pair_shards` and `redcaps` say. Four pictures make one example: the first is pasted
into, pieces are cut out of the others. How many, which and where depends on the example's name alone. The publication
says that it trains on such patches and not how they are made: the numbers below are ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pair_shards import LaionAesthetics, Pair
from mio_jax.data.sources.pictures import picture_of, small
from mio_jax.data.sources.redcaps import RedCaps
from mio_tokenizers.image.io import read_image

GROUP = 4
MOST = 6  # pieces
SHARES = (0.1, 0.35)  # of the shorter edge, that a piece's edges have
TRIES = 20  # to find a place that no other piece has
LARGEST = 512  # pixels of the picture


def pasted(pictures: Sequence[np.ndarray], key: str) -> dict[str, Any]:
    """image, boxes [y1, x1, y2, x2] in pixels and labels of the pieces, count: none to six, of which none overlap."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
    image = small(pictures[0], LARGEST).copy()
    boxes: list[list[float]] = []
    for _ in range(int(rng.integers(MOST + 1))):
        box = _place(image.shape[0], image.shape[1], boxes, rng)
        if box is not None:
            y1, x1, y2, x2 = (int(v) for v in box)
            image[y1:y2, x1:x2] = _piece(pictures[int(rng.integers(1, len(pictures)))], y2 - y1, x2 - x1, rng)
            boxes.append(box)
    return {"image": image, "boxes": boxes, "labels": ["patch"] * len(boxes), "count": str(len(boxes))}


def _place(height: int, width: int, taken: list[list[float]], rng: np.random.Generator) -> list[float] | None:
    for _ in range(TRIES):
        h, w = np.maximum(rng.uniform(*SHARES, 2) * min(height, width), 1).astype(int)
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        if all(y >= b[2] or y + h <= b[0] or x >= b[3] or x + w <= b[1] for b in taken):
            return [float(y), float(x), float(y + h), float(x + w)]
    return None


def _piece(picture: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A part of a picture with these proportions, as large as is drawn, scaled to this size; half of them mirrored."""
    from PIL import Image

    scale = min(picture.shape[0] / height, picture.shape[1] / width) * rng.uniform(0.3, 1.0)
    h, w = max(int(height * scale), 1), max(int(width * scale), 1)
    y, x = int(rng.integers(picture.shape[0] - h + 1)), int(rng.integers(picture.shape[1] - w + 1))
    part = Image.fromarray(picture[y : y + h, x : x + w]).resize((width, height), Image.Resampling.BILINEAR)
    out = np.asarray(part)
    return out[:, ::-1] if rng.random() < 0.5 else out


class LaionPatches(LaionAesthetics):
    """id, image, boxes, labels, count."""

    name = "laion_patches"
    folder_name = "laion_aesthetics"
    seen = ("image",)
    group = GROUP

    def example(self, split: str, tar: Path, pairs: list[Pair]) -> dict[str, Any]:
        key = f"{self.name}/{split}/{tar.stem}/{pairs[0].key}"
        return {"id": key, **pasted([picture_of(pair.picture, f"{pair.key} in {tar}") for pair in pairs], key)}


class RedCapsPatches(FolderSource):
    """id, image, boxes, labels, count."""

    name = "redcaps_patches"
    folder_name = "redcaps"
    licence = RedCaps.licence
    attribution = RedCaps.attribution
    seen = ("image",)
    group: ClassVar[int] = GROUP

    def items(self, split: str) -> Sequence[list[str]]:
        files = [file for file, _ in RedCaps(self.folder).items(split)]
        return [files[n : n + self.group] for n in range(0, len(files) - self.group + 1, self.group)]

    def example(self, split: str, item: list[str]) -> dict[str, Any]:
        key = self.id(split, item[0].rsplit("/", 1)[-1].removesuffix(".jpg"))
        return {"id": key, **pasted([read_image(self.folder / file) for file in item], key)}
