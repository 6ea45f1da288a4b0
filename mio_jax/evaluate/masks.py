"""Masks found against masks there are: boundary overlap, and GRIT's score of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage

from mio_jax.errors import MioError
from mio_jax.evaluate.matching import assignment_score
from mio_jax.evaluate.pictures import iou, resize_mask

BOUNDARY_SHARE = 0.02  # of the picture's diagonal: the boundary's width


def boundary(mask: np.ndarray) -> np.ndarray:
    """bool [height, width] -> its pixels near the outside, the picture's edge counting as outside."""
    width = max(1, round(BOUNDARY_SHARE * float(np.hypot(*mask.shape))))
    padded = np.pad(mask, 1)
    eroded = scipy.ndimage.binary_erosion(padded, np.ones((3, 3), bool), iterations=width)[1:-1, 1:-1]
    return mask & ~eroded


def segmentation(predicted: Sequence[np.ndarray], true: Sequence[np.ndarray], *, stuff: bool = False) -> float:
    """GRIT's score of the masks of one category in one picture, by boundary overlap (see `assignment_score`).

    Masks are bool [height, width]; predicted ones are brought to the size of the true ones. `stuff` (sky, grass): what
    has no instances is merged on both sides first. Raises MioError on what is no mask.
    """
    for mask in (*predicted, *true):
        if np.asarray(mask).dtype != bool or np.ndim(mask) != 2:
            raise MioError(f"a mask must be bool [height, width], not {np.asarray(mask).dtype} {list(np.shape(mask))}")
    if true:
        predicted = [m if m.shape == true[0].shape else resize_mask(m, *true[0].shape) for m in predicted]
    if stuff:
        predicted, true = ([np.logical_or.reduce(list(masks))] if len(masks) else [] for masks in (predicted, true))
    edges, wanted = ([boundary(mask) for mask in masks] for masks in (predicted, true))
    similarity = [[iou(p, t) for t in wanted] for p in edges]
    return assignment_score(np.asarray(similarity, np.float64).reshape(len(edges), len(wanted)))
