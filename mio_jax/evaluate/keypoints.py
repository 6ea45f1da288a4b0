"""Poses found against poses there are: object keypoint similarity, and GRIT's score over the people of a picture."""

from __future__ import annotations

import numpy as np

from mio_jax.errors import MioError
from mio_jax.evaluate.matching import assignment_score

# COCO's spread of annotations for each of the 17 parts.
SIGMAS = np.asarray([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
VARIANCES = (2 * SIGMAS) ** 2


def _poses(poses: np.ndarray, what: str) -> np.ndarray:
    poses = np.asarray(poses, np.float64)
    if poses.size % (3 * len(SIGMAS)) or not np.isfinite(poses).all():
        raise MioError(f"{what} poses must be finite x, y, visibility of 17 parts, not {list(poses.shape)}")
    return poses.reshape(-1, len(SIGMAS), 3)


def keypoint_similarity(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[n, 17, 3] and [m, 17, 3] of (x, y, visibility) -> similarity float64 [n, m], over parts visible in the truth.

    The scale is the area of the tight box around a true pose's visible parts. A true pose without any has similarity 0.
    """
    predicted, true = _poses(predicted, "predicted"), _poses(true, "true")
    out = np.zeros((len(predicted), len(true)))
    for column, pose in enumerate(true):
        seen = pose[:, 2] > 0
        if not seen.any():
            continue
        points = pose[seen, :2]
        area = np.prod(points.max(axis=0) - points.min(axis=0))
        squared = ((predicted[:, seen, :2] - points) ** 2).sum(axis=-1)
        out[:, column] = np.exp(-squared / (2 * VARIANCES[seen] * (area + np.spacing(1)))).mean(axis=-1)
    return out


def keypoint_score(predicted: np.ndarray, true: np.ndarray) -> float:
    """GRIT's score of the poses of one picture (see `assignment_score`)."""
    return assignment_score(keypoint_similarity(predicted, true))
