"""Quantities with units as shares of their range, the form in which location tokens write them.

The ranges are those of the published code of Unified-IO 2 (specification, section 12.2). The functions that would use
the three-dimensional ones are not published; what is made of them is said in `cuboid`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mio_jax.errors import MioError

RANGES: dict[str, tuple[float, float]] = {
    "position": (-50.0, 50.0),
    "location": (-0.1, 1.1),
    "dimension": (0.0, 6.0),
    "depth": (-0.001, 0.1),
    "angle": (0.0, 2 * math.pi),
    "camera angle": (-math.pi, math.pi),
    "camera radius": (-0.7, 0.7),
    "unit": (-1.0, 1.0),  # sines, cosines, entries of a rotation
}


def to_unit(values: Any, kind: str) -> np.ndarray:
    """Values of a quantity -> float64 in [0, 1], 0 and 1 being the ends of its range.

    Raises MioError on NaN or a value outside the range (by more than rounding).
    """
    low, high = RANGES[kind]
    values = np.asarray(values, np.float64)
    share = (values - low) / (high - low)
    wrong = ~((share >= -1e-9) & (share <= 1 + 1e-9))
    if wrong.any():
        raise MioError(f"{kind} {values[wrong].flat[0]:g} is outside {low:g} to {high:g} and cannot be written")
    return np.clip(share, 0.0, 1.0)


def from_unit(shares: Any, kind: str) -> np.ndarray:
    """Inverse of `to_unit`, float64."""
    low, high = RANGES[kind]
    return np.asarray(shares, np.float64) * (high - low) + low
