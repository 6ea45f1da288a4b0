"""Surface normals as pictures: the share of pixels whose direction is right (GRIT)."""

from __future__ import annotations

import math

import numpy as np

from mio_jax.config import require_choice
from mio_jax.errors import MioError

LIMIT = 11.25  # degrees
JUMP = 40.0  # degrees between neighbours in the truth: an edge, where a normal is not defined
INVALID = (0, 128, 201)  # greys that mark pixels without a normal
ROTATIONS = ("none", "least_squares", "ransac")


def vectors(picture: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3] -> directions of length 1, float64."""
    raw = (np.asarray(picture, np.float64) - 122.5) / 122.5
    return raw / np.maximum(np.linalg.norm(raw, axis=-1, keepdims=True), 1e-12)


def valid_pixels(picture: np.ndarray) -> np.ndarray:
    """bool [height, width]: pixels of a true picture that count: with a normal, and not beside a jump of over 40."""
    picture = np.asarray(picture)
    valid = ~np.logical_or.reduce([(picture == grey).all(axis=-1) for grey in INVALID])
    directions, least = vectors(picture), math.cos(math.radians(JUMP))
    for axis in (0, 1):
        ahead = np.take(directions, range(1, directions.shape[axis]), axis=axis)
        behind = np.take(directions, range(directions.shape[axis] - 1), axis=axis)
        jump = (ahead * behind).sum(axis=-1) < least
        pad = [(0, 0), (0, 0)]
        pad[axis] = (1, 0)
        valid &= ~np.pad(jump, pad)
        pad[axis] = (0, 1)
        valid &= ~np.pad(jump, pad)
    return valid


def best_rotation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] that brings directions [n, 3] nearest to others in the sense of least squares."""
    u, _, v = np.linalg.svd(source.T @ target)
    turn = np.diag([1.0, 1.0, np.linalg.det(u @ v)])
    return (u @ turn @ v).T


def _right(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    return (predicted * true).sum(axis=-1) > math.cos(math.radians(LIMIT))


def ransac_rotation(
    source: np.ndarray, target: np.ndarray, seed: int = 0, iterations: int = 500, consensus: int = 500
) -> np.ndarray:
    """The rotation through two random pairs of directions with which most of `consensus` random pixels are right.

    Each of `iterations` rotations is judged on the same pixels; the winner is fitted again to those that are right.
    """
    rng = np.random.default_rng(seed)
    judges = rng.choice(len(source), min(consensus, len(source)), replace=False)
    best, most = np.eye(3), -1
    for _ in range(iterations):
        pair = rng.choice(len(source), min(2, len(source)), replace=False)
        rotation = best_rotation(source[pair], target[pair])
        count = int(_right(source[judges] @ rotation.T, target[judges]).sum())
        if count > most:
            best, most = rotation, count
    right = _right(source @ best.T, target)
    return best_rotation(source[right], target[right]) if right.sum() >= 2 else best


def surface_normals(
    predicted: np.ndarray, true: np.ndarray, valid: np.ndarray | None = None, *, rotation: str = "least_squares"
) -> float:
    """Share of valid pixels whose predicted direction is within 11.25 degrees of the true one; 1 if none is valid.

    Pictures uint8 [height, width, 3]. The frame in which normals are given differs from set to set, so the prediction
    is first turned as a whole: not at all ("none"), by "least_squares" over the valid pixels as in GRIT's published
    evaluation, or by the robust fit of the Unified-IO 2 paper ("ransac"). `valid`: default `valid_pixels(true)`.
    """
    require_choice("rotation", rotation, ROTATIONS)
    if np.shape(predicted) != np.shape(true) or np.ndim(true) != 3 or np.shape(true)[-1] != 3:
        raise MioError(f"normals {list(np.shape(predicted))} for {list(np.shape(true))}; resize to the true picture")
    kept = valid_pixels(true) if valid is None else np.asarray(valid, bool)
    if not kept.any():
        return 1.0
    ours, theirs = vectors(predicted)[kept], vectors(true)[kept]
    if rotation != "none":
        find = best_rotation if rotation == "least_squares" else ransac_rotation
        ours = ours @ find(ours, theirs).T
    return float(_right(ours, theirs).mean())
