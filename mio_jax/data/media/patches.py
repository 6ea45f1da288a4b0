"""Pictures as rows of patches, and the choice of some of them."""

from __future__ import annotations

import numpy as np

from mio_jax.data.media.resize import nearest_index
from mio_jax.errors import MioError


def to_patches(images: np.ndarray, patch: int) -> np.ndarray:
    """[..., h * patch, w * patch, c] -> [..., h * w, patch * patch * c], rows first. MioError if it does not divide."""
    *lead, height, width, channels = images.shape
    if height % patch or width % patch:
        raise MioError(f"an array of {height}x{width} does not divide into patches of {patch}x{patch}")
    grid = images.reshape(*lead, height // patch, patch, width // patch, patch, channels)
    grid = np.moveaxis(grid, -4, -3)
    return grid.reshape(*lead, (height // patch) * (width // patch), patch * patch * channels)


def patch_mask(mask: np.ndarray, patch: int) -> np.ndarray:
    """[..., height, width] -> int32 [..., patches]: the value at the middle of each patch."""
    height, width = mask.shape[-2:]
    rows, columns = (nearest_index(edge, edge // patch) for edge in (height, width))
    small = mask[..., rows, :][..., columns]
    return np.asarray(small.reshape(*mask.shape[:-2], -1), np.int32)


def patch_count(request: int | float, total: int) -> int:
    """How many of `total` patches are meant: a whole number, or a fraction of them. MioError outside 1..total."""
    count = int(request * total) if isinstance(request, float) else int(request)
    if not 1 <= count <= total:
        raise MioError(f"{request} of {total} patches; give a number in 1..{total}, or a fraction up to 1.0")
    return count


def choose_patches(mask: np.ndarray, count: int, rng: np.random.Generator | None) -> np.ndarray:
    """int32 [count]: positions of the patches that are kept, of a mask [patches].

    All of them in order; or random ones, those that are not masked before those that are. Raises MioError where a
    choice is needed and no generator given: which patches are seen must follow from the example.
    """
    if count == len(mask):
        return np.arange(count, dtype=np.int32)
    if rng is None:
        raise MioError(f"{count} of {len(mask)} patches are drawn at random: pass a generator, or take all of them")
    valid, masked = np.flatnonzero(mask), np.flatnonzero(mask == 0)
    return np.concatenate([rng.permutation(valid), rng.permutation(masked)])[:count].astype(np.int32)
