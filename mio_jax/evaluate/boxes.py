"""Boxes found against boxes there are: GRIT's localisation, referring expressions.

Boxes are (x1, y1, x2, y2) in pixels.
"""

from __future__ import annotations

import numpy as np

from mio_jax.errors import MioError
from mio_jax.evaluate.matching import assignment_score

SLACK = 1e-6  # in the denominator of GRIT's overlap
REFEXP_OVERLAP = 0.5


def _checked(boxes: np.ndarray, what: str) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all()):
        raise MioError(f"{what} boxes must be finite numbers [n, 4], not {list(boxes.shape)}")
    return boxes.reshape(-1, 4)


def box_iou(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[n, 4] and [m, 4] -> overlap float64 [n, m] = intersection / (union + 1e-6). MioError on other shapes or NaN."""
    predicted, true = _checked(predicted, "predicted"), _checked(true, "true")
    low = np.maximum(predicted[:, None, :2], true[None, :, :2])
    high = np.minimum(predicted[:, None, 2:], true[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (predicted, true)]
    return inter / (areas[0][:, None] + areas[1][None] - inter + SLACK)


def localization(predicted: np.ndarray, true: np.ndarray) -> float:
    """GRIT's score of all boxes of one category in one picture (see `assignment_score`)."""
    return assignment_score(box_iou(predicted, true))


def refexp(predicted: np.ndarray, true: np.ndarray) -> float:
    """1 where the first predicted box [n, 4] overlaps the true one [4] by more than one half, else 0.

    Both in pixels of the original picture (`mio_jax.data.media.placement.undo_boxes`); no box at all is 0.
    """
    first = np.asarray(predicted, np.float64).reshape(-1, 4)[:1]
    return float(len(first) > 0 and box_iou(first, np.asarray(true)[None])[0, 0] > REFEXP_OVERLAP)
