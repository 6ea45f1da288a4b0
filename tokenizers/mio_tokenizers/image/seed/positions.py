"""Position tables on another grid, as PyTorch resizes them: bicubic with a = -3/4, no antialiasing.

JAX's own cubic resize has a = -1/2 and would give other numbers.
"""

from __future__ import annotations

import math

import numpy as np

from mio_jax.errors import MioError

A = -0.75


def cubic(x: np.ndarray) -> np.ndarray:
    """The convolution kernel of bicubic interpolation."""
    x = np.abs(x)
    near = ((A + 2) * x - (A + 3)) * x * x + 1
    far = ((A * x - 5 * A) * x + 8 * A) * x - 4 * A
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resize_matrix(old: int, new: int) -> np.ndarray:
    """float64 [new, old]: weights of the old samples in each new one; borders repeat (corners are not aligned)."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(at).astype(int)
    matrix = np.zeros((new, old))
    for tap in range(-1, 3):
        weight = cubic(at - (first + tap))
        np.add.at(matrix, (np.arange(new), np.clip(first + tap, 0, old - 1)), weight)
    return matrix


def resize_positions(table: np.ndarray, grid: int, extra: int = 1) -> np.ndarray:
    """float [extra + old * old, D] -> [extra + grid * grid, D] in the same dtype; the first `extra` rows are kept.

    Raises:
      MioError: the rows behind them are of no square grid.
    """
    own, patches = table[:extra], table[extra:]
    old = math.isqrt(len(patches))
    if old * old != len(patches) or not old:
        raise MioError(f"a position table of {len(patches)} patches is of no square grid and cannot be resized")
    if old == grid:
        return table
    matrix = resize_matrix(old, grid)
    square = patches.reshape(old, old, -1).astype(np.float64)
    made = np.einsum("ai,bj,ijd->abd", matrix, matrix, square).reshape(grid * grid, -1)
    return np.concatenate([own, made.astype(table.dtype)])
