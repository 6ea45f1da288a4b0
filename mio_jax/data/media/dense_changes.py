"""New dense tasks out of annotated ones: other masks of the same picture, other pictures of the same normals.

Pure functions of arrays; the task augmentations of Unified-IO 2 (specification, section 16.2) that change what is
drawn. Sources apply them, because what is drawn becomes codes when records are made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mio_jax.errors import MioError

DIRECTIONS = {  # camera coordinates of normal maps: x to the right, y up, z towards the camera
    "left": (-1.0, 0.0, 0.0),
    "right": (1.0, 0.0, 0.0),
    "up": (0.0, 1.0, 0.0),
    "down": (0.0, -1.0, 0.0),
    "the camera": (0.0, 0.0, 1.0),
}
FACING = 0.7071  # cosine of 45 degrees: what deviates less faces a direction


def union(masks: Sequence[np.ndarray]) -> np.ndarray:
    """bool [height, width]: where any of the masks is. Raises MioError on none, or on masks of several sizes."""
    if not masks or len({mask.shape for mask in masks}) != 1:
        raise MioError(
            f"{len(masks)} masks of the sizes {sorted({m.shape for m in masks})}; they must be of one picture"
        )
    return np.logical_or.reduce([np.asarray(mask, bool) for mask in masks])


def complement(mask: np.ndarray) -> np.ndarray:
    """bool [height, width]: where the mask is not."""
    return ~np.asarray(mask, bool)


def inside(height: int, width: int, box: Sequence[float]) -> np.ndarray:
    """bool [height, width]: the pixels of a box [y1, x1, y2, x2]; at least one of those that it touches."""
    y1, x1, y2, x2 = box
    out = np.zeros((height, width), bool)
    top, left = int(np.clip(np.floor(y1), 0, height - 1)), int(np.clip(np.floor(x1), 0, width - 1))
    out[top : max(int(np.ceil(y2)), top + 1), left : max(int(np.ceil(x2)), left + 1)] = True
    return out


def within_box(mask: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The part of a mask that lies in a box."""
    mask = np.asarray(mask, bool)
    height, width = mask.shape
    return mask & inside(height, width, box)


def swapped_channels(picture: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """A picture of normals [height, width, 3] with its channels in another order, or a subset: the others become 0.

    `order` names for each channel which one it shows, -1 for none. Raises MioError on another number or name.
    """
    if len(order) != 3 or not set(order) <= {-1, 0, 1, 2}:
        raise MioError(f"an order of channels is three of 0, 1, 2 and -1, not {list(order)}")
    out = np.zeros_like(picture)
    for place, channel in enumerate(order):
        if channel >= 0:
            out[..., place] = picture[..., channel]
    return out


def facing(vectors: np.ndarray, valid: np.ndarray, direction: str) -> np.ndarray:
    """bool [height, width]: surfaces whose normal (float [height, width, 3] of length 1) points within 45 degrees of a
    direction. MioError names the directions."""
    if direction not in DIRECTIONS:
        raise MioError(f"surfaces do not face {direction!r}; the directions are {', '.join(DIRECTIONS)}")
    return (vectors @ np.asarray(DIRECTIONS[direction], np.float32) >= FACING) & np.asarray(valid, bool)
