"""A value for every pixel as a picture that an image tokenizer can hold, and back (specification, section 12.3).

Pictures are uint8 [height, width, 3]. Reading averages over the channels where all of them mean the same, because a
generated picture is never quite grey. Writing refuses NaN and shapes that do not fit (MioError); every picture can be
read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.image.io import check_picture, mask_picture, picture_mask

NYU_MAXIMUM = 10.0  # metres: the farthest depth of the NYU set
INVALID_NORMAL = 128  # grey: the readers of normal maps skip it


class Normals(NamedTuple):
    """`vectors` float32 [height, width, 3] of length 1, `valid` bool [height, width]."""

    vectors: np.ndarray
    valid: np.ndarray


def _finite(array: np.ndarray, channels: int, what: str) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if array.ndim != 2 + bool(channels) or (channels and array.shape[2] != channels) or not array.size:
        wanted = f"[height, width, {channels}]" if channels else "[height, width]"
        raise MioError(f"{what} must be {wanted}, not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise MioError(f"{what} holds NaN or infinite values; fill or mask them first")
    return array


def _bytes(share: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)


def write_depth(depth: np.ndarray, maximum: float = NYU_MAXIMUM) -> np.ndarray:
    """Metres [height, width] -> grey, white at `maximum` (the data set's) and beyond: far is light."""
    if not maximum > 0:
        raise MioError(f"the maximum depth is {maximum}; it must be positive")
    depth = _finite(depth, 0, "a depth map")
    if depth.min() < 0:
        raise MioError(f"a depth map holds {depth.min():g} m; depths must not be negative")
    return np.repeat(_bytes(depth / maximum)[..., None], 3, axis=-1)


def read_depth(picture: np.ndarray, maximum: float = NYU_MAXIMUM) -> np.ndarray:
    """float32 metres [height, width]."""
    return check_picture(picture).astype(np.float32).mean(axis=-1) * np.float32(maximum / 255.0)


def write_normals(normals: Normals) -> np.ndarray:
    """(x, y, z) in [-1, 1] -> red, green, blue. Pixels that are not valid become grey."""
    vectors = _finite(normals.vectors, 3, "a normal map")
    if np.abs(vectors).max() > 1 + 1e-4:
        raise MioError(f"a normal map holds {np.abs(vectors).max():g}; the vectors must have length 1")
    valid = np.asarray(normals.valid, bool)
    if valid.shape != vectors.shape[:2]:
        raise MioError(f"valid is {list(valid.shape)} for normals {list(vectors.shape)}; it must be [height, width]")
    return np.where(valid[..., None], _bytes((vectors + 1) / 2), np.uint8(INVALID_NORMAL))


def read_normals(picture: np.ndarray) -> Normals:
    """Vectors of length 1; grey pixels (and black ones, which point nowhere a camera could see) are not valid."""
    picture = check_picture(picture)
    vectors = picture.astype(np.float32) / 127.5 - 1.0
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    valid = ~((picture == INVALID_NORMAL).all(-1) | (picture == 0).all(-1)) & (length[..., 0] > 1e-3)
    return Normals(np.where(valid[..., None], vectors / np.maximum(length, 1e-3), 0).astype(np.float32), valid)


def write_segmentation(mask: np.ndarray) -> np.ndarray:
    """bool [height, width] of one instance or class -> white on black."""
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2 or not mask.size:
        raise MioError(f"a mask must be bool [height, width], not {mask.dtype} {list(mask.shape)}")
    return mask_picture(mask)


def read_segmentation(picture: np.ndarray) -> np.ndarray:
    """bool [height, width]: where the mean of the channels is above one half."""
    return picture_mask(check_picture(picture))


def write_flow(flow: np.ndarray, maximum: float) -> np.ndarray:
    """Motion (x, y) in pixels [height, width, 2] -> red and green: 0 at the middle, +-`maximum` at the ends.

    Blue is in the middle everywhere. The published code has no flow; these are the linear scales of its normals.
    Motion beyond `maximum` is clipped.
    """
    if not maximum > 0:
        raise MioError(f"the maximum flow is {maximum} pixels; it must be positive")
    flow = _finite(flow, 2, "a flow map")
    share = np.concatenate([flow / (2 * maximum) + 0.5, np.full((*flow.shape[:2], 1), 0.5, np.float32)], axis=-1)
    return _bytes(share)


def read_flow(picture: np.ndarray, maximum: float) -> np.ndarray:
    """float32 [height, width, 2] in pixels."""
    return (check_picture(picture)[..., :2].astype(np.float32) / 255.0 - 0.5) * np.float32(2 * maximum)
