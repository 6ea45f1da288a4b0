"""Metrics of generated pictures: masks, and fixed pixel features that need no learned network.

Pictures are uint8 [n, height, width, 3], masks bool [n, height, width].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRID = 8  # colours and edges are pooled to GRID x GRID cells
SHAPE_GRID = 12  # and the outline, brought to one size and place, to this many
LEVELS = 5  # of each of red, green and blue in a palette
SMALLEST_INSIDE = 12  # pixels that peeling leaves at least
BACKGROUND_DISTANCE = 60.0  # RGB distance from the border's colour from which a pixel counts as drawn


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool arrays; two empty masks agree."""
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 1.0


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resize of a bool [h, w] mask."""
    rows = (np.arange(height) + 0.5) * mask.shape[0] / height
    columns = (np.arange(width) + 0.5) * mask.shape[1] / width
    return mask[rows.astype(int)][:, columns.astype(int)]


def background_of(pictures: np.ndarray) -> np.ndarray:
    """Median colour of the border, float32 [n, 3]."""
    top, bottom, left, right = pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]
    return np.median(np.concatenate([top, bottom, left, right], 1), axis=1).astype(np.float32)


def smooth(pictures: np.ndarray) -> np.ndarray:
    """Mean over 3 x 3 neighbours, float32: decoded pictures ripple, and a ripple is not something drawn."""
    x = np.pad(pictures.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    x = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return (x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]) / 9.0


def foreground_of(pictures: np.ndarray) -> np.ndarray:
    """What differs from the background, bool [n, height, width]."""
    difference = smooth(pictures) - background_of(pictures)[:, None, None]
    return np.sqrt((difference**2).sum(-1)) > BACKGROUND_DISTANCE


def _pool(x: np.ndarray, grid: int) -> np.ndarray:
    """Mean over cells: [n, height, width, channels] -> [n, grid, grid, channels]; sides must be multiples of `grid`."""
    n, height, width, channels = x.shape
    return x.reshape(n, grid, height // grid, grid, width // grid, channels).mean((2, 4))


def palette(pictures: np.ndarray) -> np.ndarray:
    """How much of each colour there is, wherever it is: float64 [n, LEVELS**3], square roots of shares.

    Every pixel is shared between the eight nearest of LEVELS**3 colours, so that a small change of colour moves the
    shares a little. Every second pixel of the smoothed picture is looked at.
    """
    n = len(pictures)
    x = smooth(pictures)[:, ::2, ::2].reshape(-1, 3) * ((LEVELS - 1) / 255.0)
    low = np.minimum(x.astype(np.int64), LEVELS - 2)
    share = (x - low).T
    sides = (1 - share, share)
    first = np.repeat(np.arange(n) * LEVELS**3, len(x) // n) + low @ np.asarray([LEVELS**2, LEVELS, 1])
    shares = np.zeros(n * LEVELS**3)
    for r, g, b in np.ndindex(2, 2, 2):
        weight = sides[r][0] * sides[g][1] * sides[b][2]
        shares += np.bincount(first + (r * LEVELS + g) * LEVELS + b, weight, minlength=shares.size)
    return np.sqrt(shares.reshape(n, -1) / (len(x) // n))


def blocks_of(pictures: np.ndarray) -> tuple[np.ndarray, ...]:
    """What a picture is like, float64 [n, F] each; sides are multiples of GRID.

    Mean colour of each cell, edge strength of each cell in two directions, share of drawn pixels of each cell, palette.
    """
    x = pictures.astype(np.float64) / 255.0
    grey = x.mean(-1)
    down = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    across = np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    blocks = (
        _pool(x, GRID),
        np.sqrt(_pool(np.stack([down, across], -1), GRID)),
        _pool(foreground_of(pictures)[..., None].astype(np.float64), GRID),
        palette(pictures),
    )
    return tuple(b.reshape(len(pictures), -1) for b in blocks)


@dataclass(frozen=True)
class FeatureSpace:
    """A fixed space of pixel features whose blocks weigh the same: each has unit spread over training pictures."""

    scales: tuple[float, ...]

    @classmethod
    def fit(cls, pictures: np.ndarray) -> FeatureSpace:
        return cls(tuple(float(1.0 / np.sqrt(max(b.var(0).sum(), 1e-12))) for b in blocks_of(pictures)))

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """float64 [n, F]."""
        return np.concatenate([b * s for b, s in zip(blocks_of(pictures), self.scales, strict=True)], 1)


@dataclass(frozen=True)
class ColourProbe:
    """The named colour nearest to the main colour of what is drawn."""

    names: tuple[str, ...]
    colours: np.ndarray  # float64 [names, 3]

    @classmethod
    def fit(cls, pictures: np.ndarray, labels: Sequence[str]) -> ColourProbe:
        names, label = tuple(sorted(set(labels))), np.asarray(labels)
        found = main_colour(pictures)
        return cls(names, np.stack([np.median(found[label == name], 0) for name in names]))

    def __call__(self, pictures: np.ndarray) -> list[str]:
        distance = ((main_colour(pictures)[:, None] - self.colours) ** 2).sum(-1)
        return [self.names[i] for i in distance.argmin(1)]


def main_colour(pictures: np.ndarray) -> np.ndarray:
    """Median colour of the inside of what is drawn (of the whole picture where nothing is), float64 [n, 3] in [0, 1].

    Up to two rings of pixels are peeled off first: edges mix with the background.
    """
    colours = []
    for picture, drawn in zip(smooth(pictures), foreground_of(pictures), strict=True):
        inside = drawn if drawn.any() else ~drawn
        for _ in range(2):
            padded = np.pad(inside, 1)
            peeled = inside & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
            if peeled.sum() < SMALLEST_INSIDE:
                break
            inside = peeled
        colours.append(np.median(picture[inside], 0))
    return np.stack(colours).astype(np.float64) / 255.0


def outline(pictures: np.ndarray) -> np.ndarray:
    """What is drawn, cropped to its bounding box and brought to one size: float64 [n, SHAPE_GRID**2 + 2].

    The two last are the share of the box that is filled, and the log of its proportions.
    """
    rows = []
    for drawn in foreground_of(pictures):
        ys, xs = np.nonzero(drawn)
        if ys.size == 0:
            rows.append(np.zeros(SHAPE_GRID**2 + 2))
            continue
        box = drawn[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        small = resize_mask(box, SHAPE_GRID, SHAPE_GRID).astype(np.float64)
        rows.append(np.concatenate([small.reshape(-1), [box.mean(), np.log(box.shape[0] / box.shape[1])]]))
    return np.stack(rows)
