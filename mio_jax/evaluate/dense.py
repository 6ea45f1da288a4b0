"""Depth, surface normals and classes of every pixel against the truth, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mio_jax.config import require_choice
from mio_jax.errors import MioError
from mio_jax.evaluate.normals import valid_pixels, vectors

SCALINGS = ("none", "median", "least_squares")
IGNORED = 255  # a class that does not count


def depth_errors(
    predicted: np.ndarray, true: np.ndarray, *, maximum: float = 10.0, scaling: str = "none"
) -> dict[str, float]:
    """Metres [height, width] -> rmse, abs_rel, log10, delta1, delta2, delta3 over pixels with 0 < truth <= maximum.

    `scaling`: the prediction is first multiplied by one number: the ratio of the medians, or that of least squares.
    Predictions are clipped to [0.001, maximum]. Raises MioError if shapes differ or no pixel counts.
    """
    require_choice("scaling", scaling, SCALINGS)
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if predicted.shape != true.shape or true.ndim != 2:
        raise MioError(f"depths {list(predicted.shape)} for {list(true.shape)}; bring them to the true size")
    valid = np.isfinite(true) & (true > 0) & (true <= maximum)
    if not valid.any():
        raise MioError(f"no pixel of a depth map is between 0 and {maximum:g} m")
    p, t = predicted[valid], true[valid]
    if scaling == "median":
        p = p * (np.median(t) / max(np.median(p), 1e-9))
    elif scaling == "least_squares":
        p = p * ((p * t).sum() / max((p * p).sum(), 1e-9))
    p = np.clip(p, 1e-3, maximum)
    ratio = np.maximum(p / t, t / p)
    return {
        "rmse": float(np.sqrt(((p - t) ** 2).mean())),
        "abs_rel": float((np.abs(p - t) / t).mean()),
        "log10": float(np.abs(np.log10(p) - np.log10(t)).mean()),
        **{f"delta{k}": float((ratio < 1.25**k).mean()) for k in (1, 2, 3)},
    }


def depth_metrics(targets: Sequence[np.ndarray], predictions: Sequence[np.ndarray]) -> dict[str, float]:
    """SeqIO metric function: errors of each picture (no scaling, 10 m), then their means."""
    return _means([depth_errors(p, t) for p, t in _pairs("depth", targets, predictions)])


def normal_metrics(targets: Sequence[np.ndarray], predictions: Sequence[np.ndarray]) -> dict[str, float]:
    """SeqIO metric function of pictures uint8 [height, width, 3]: angles over the valid pixels of all, no rotation.

    mean and median in degrees, and shares within 11.25, 22.5 and 30 degrees.
    """
    angles = []
    for predicted, true in _pairs("surface normals", targets, predictions):
        if np.shape(predicted) != np.shape(true):
            raise MioError(
                f"normals {list(np.shape(predicted))} for {list(np.shape(true))}; resize to the true picture"
            )
        valid = valid_pixels(true)
        cosine = (vectors(predicted)[valid] * vectors(true)[valid]).sum(-1)
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    together = np.concatenate(angles)
    if not together.size:
        raise MioError("no pixel of the true normals is valid")
    within = {f"within_{limit:g}": float((together < limit).mean()) for limit in (11.25, 22.5, 30.0)}
    return {"mean_angle": float(together.mean()), "median_angle": float(np.median(together)), **within}


def class_metrics(targets: Sequence[np.ndarray], predictions: Sequence[np.ndarray]) -> dict[str, float]:
    """SeqIO metric function of class numbers int [height, width]: miou and pixel accuracy over the whole set.

    One confusion matrix for all pictures; a class that neither side has does not count, and 255 is ignored.
    """
    pairs = _pairs("classes", targets, predictions)
    flat_t = np.concatenate([np.asarray(t).reshape(-1) for _, t in pairs])
    flat_p = np.concatenate([np.asarray(p).reshape(-1) for p, _ in pairs])
    if flat_t.shape != flat_p.shape:
        raise MioError("predicted classes and true ones are of different sizes; resize to the true picture")
    kept = flat_t != IGNORED
    flat_t, flat_p = flat_t[kept].astype(np.int64), flat_p[kept].astype(np.int64)
    if not flat_t.size:
        raise MioError("no pixel has a true class")
    n = int(max(flat_t.max(), flat_p.max())) + 1
    confusion = np.bincount(flat_t * n + flat_p, minlength=n * n).reshape(n, n).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    ious = np.diag(confusion)[union > 0] / union[union > 0]
    return {"miou": float(ious.mean()), "pixel_accuracy": float(np.diag(confusion).sum() / confusion.sum())}


def _pairs(
    what: str, targets: Sequence[np.ndarray], predictions: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(targets) != len(predictions) or not len(targets):
        raise MioError(f"{what}: {len(predictions)} predictions for {len(targets)} targets")
    return list(zip(predictions, targets, strict=True))


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
