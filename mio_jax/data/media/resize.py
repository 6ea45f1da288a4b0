"""Resizing with an antialiasing filter, as sparse matrices over rows and columns; no image library rounds in between.

With half-pixel centres and the filter stretched when shrinking, "bilinear" and the other filters equal TensorFlow's
`tf.image.resize(antialias=True)` and `jax.image.resize`; "area" and "nearest" equal TensorFlow's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import scipy.sparse

from mio_jax.errors import MioError

Kernel = Callable[[np.ndarray], np.ndarray]


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - x)


def _cubic(b: float, c: float) -> Kernel:
    """The family of Mitchell and Netravali: b = 0, c = 1/2 is Catmull and Rom's spline."""

    def kernel(x: np.ndarray) -> np.ndarray:
        near = ((12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + (6 - 2 * b)) / 6
        far = ((-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + (8 * b + 24 * c)) / 6
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return kernel


def _lanczos(radius: int) -> Kernel:
    return lambda x: np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0.0)


def _gaussian(x: np.ndarray) -> np.ndarray:
    return np.where(x < 1.5, np.exp(-2.0 * x * x), 0.0)  # deviation 1/2


# Name -> (kernel of the distance in source pixels, radius).
_FILTERS: dict[str, tuple[Kernel, float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic(0.0, 0.5), 2.0),
    "mitchell": (_cubic(1 / 3, 1 / 3), 2.0),
    "lanczos3": (_lanczos(3), 3.0),
    "lanczos5": (_lanczos(5), 5.0),
    "gaussian": (_gaussian, 1.5),
}
METHODS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchell")


def nearest_index(source: int, target: int) -> np.ndarray:
    """int64 [target]: for each pixel of an edge of `target` the pixel of `source` that holds its centre."""
    return np.minimum(((np.arange(target) + 0.5) * (source / target)).astype(np.int64), source - 1)


@functools.lru_cache(maxsize=256)
def _matrix(source: int, target: int, method: str, start: int, stop: int) -> scipy.sparse.csr_array:
    """Rows `start` to `stop` - 1 of the float32 matrix [target, source]; they sum to 1."""
    step = source / target
    rows = np.arange(start, stop)[:, None]
    if method == "nearest":
        taps = nearest_index(source, target)[start:stop, None]
        weights = np.ones(taps.shape)
    elif method == "area":
        low, high = rows * step, (rows + 1) * step
        taps = np.floor(low).astype(np.int64) + np.arange(int(np.ceil(step)) + 2)
        weights = np.maximum(0.0, np.minimum(taps + 1, high) - np.maximum(taps, low))
    else:
        kernel, radius = _FILTERS[method]
        stretch = max(step, 1.0)
        centre = (rows + 0.5) * step
        taps = np.ceil(centre - radius * stretch - 0.5).astype(np.int64) + np.arange(int(2 * radius * stretch) + 2)
        weights = kernel(np.abs((taps + 0.5 - centre) / stretch))
    weights = np.where((taps >= 0) & (taps < source), weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights != 0
    at = (np.broadcast_to(rows - start, taps.shape)[used], taps[used])
    return scipy.sparse.csr_array((weights[used].astype(np.float32), at), shape=(stop - start, source))


def _along(matrix: scipy.sparse.csr_array, images: np.ndarray, axis: int) -> np.ndarray:
    moved = np.moveaxis(images, axis, 0)
    out = matrix @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    return np.moveaxis(out.reshape(matrix.shape[0], *moved.shape[1:]), 0, axis)


def resize(
    images: np.ndarray,
    size: tuple[int, int],
    method: str = "bilinear",
    *,
    rows: slice | None = None,
    columns: slice | None = None,
) -> np.ndarray:
    """float32 [..., height, width, channels] -> float32 [..., *size, channels].

    `rows` and `columns` are those of the result that are wanted: a crop costs only what it shows. Filters with negative
    lobes leave the range of the input; nothing is clipped here. Raises MioError on an unknown method or an empty size.
    """
    if method not in METHODS:
        raise MioError(f"unknown resize method {method!r}; there are: {', '.join(METHODS)}")
    height, width = images.shape[-3:-1]
    if min(*size, height, width) < 1:
        raise MioError(f"a picture of {height}x{width} cannot be resized to {size[0]}x{size[1]}: an edge is empty")
    down = _matrix(height, size[0], method, *(rows or slice(None)).indices(size[0])[:2])
    across = _matrix(width, size[1], method, *(columns or slice(None)).indices(size[1])[:2])
    out = np.asarray(images, np.float32)
    # The axis that shrinks more goes first: the second pass then has less to do.
    for axis, matrix in sorted(((-3, down), (-2, across)), key=lambda pair: pair[1].shape[0] / pair[1].shape[1]):
        out = _along(matrix, out, axis % out.ndim)
    return np.ascontiguousarray(out)


def resize_nearest(
    arrays: np.ndarray,
    size: tuple[int, int],
    *,
    rows: slice | None = None,
    columns: slice | None = None,
) -> np.ndarray:
    """[height, width, ...] of any type -> [*size, ...]: for masks, labels and dense targets, whose values stay."""
    down, across = (nearest_index(s, t) for s, t in zip(arrays.shape[:2], size, strict=True))
    return arrays[down[rows or slice(None)]][:, across[columns or slice(None)]]
