"""Hiding patches of an image or a sound: which ones the encoder keeps, and which target tokens that leaves unseen.

Pure numpy; all chance comes from the generator that is handed in. Unified-IO 2, section 3.3 and figure 5 (c).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mio_jax.errors import MioError
from mio_jax.objectives.span_corruption import near


class Kept(NamedTuple):
    """What an encoder gets of one grid of patches, and what it does not.

    ids: int32 [keep], the patches to gather, with their place in the grid as position; those in sight come first, in
      random order.
    mask: bool [keep], False where a slot is left over.
    hidden: bool [patches], real patches that the encoder does not see.
    """

    ids: np.ndarray
    mask: np.ndarray
    hidden: np.ndarray


def keep_patches(valid: np.ndarray, rate: float, keep: int, rng: np.random.Generator) -> Kept:
    """Hides `rate` of the valid patches at random; what does not fit in `keep` slots is hidden as well.

    Args:
      valid: bool [patches], False for padding.
      rate: expected share of the valid patches that is hidden, before `keep` binds. At least one patch stays.
      keep: slots of the encoder, a fixed number, so that batches have one shape.

    Raises:
      MioError: no valid patch, or `keep` outside 1..patches.
    """
    valid = np.asarray(valid, bool)
    total = int(valid.sum())
    if not total:
        raise MioError("an image or sound without a valid patch cannot be masked; leave the example out")
    if not 1 <= keep <= len(valid):
        raise MioError(f"{keep} patches are to be kept of {len(valid)}; it must be 1 to {len(valid)}")
    shown = min(max(total - near(total * rate, rng), 1), keep)
    order = np.concatenate([rng.permutation(np.flatnonzero(valid)), rng.permutation(np.flatnonzero(~valid))])
    hidden = valid.copy()
    hidden[order[:shown]] = False
    return Kept(order[:keep].astype(np.int32), np.arange(keep) < shown, hidden)


def on_grid(values: np.ndarray, patches: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """`values` of patches, [rows * columns] in row-major order, read at the middle of every cell of another grid.

    With `Kept.hidden` this is the `task_mask` of a target whose tokens lie on `grid`: where it is True the token's
    content was hidden from the encoder, and the dynamic mask keeps the decoder from reading it off its own input.

    Returns:
      [grid rows * grid columns], row-major, in the dtype of `values`.

    Raises:
      MioError: `values` are not rows * columns of `patches`.
    """
    values = np.asarray(values)
    if values.shape != (patches[0] * patches[1],):
        raise MioError(f"a grid of {patches[0]} x {patches[1]} patches does not have values of shape {values.shape}")
    rows, columns = (
        ((2 * np.arange(n) + 1) * p // (2 * n)) for n, p in zip(grid, patches, strict=True)
    )  # the patch that holds the middle of a cell
    return values.reshape(patches)[rows[:, None], columns[None, :]].reshape(-1)


def hide_codes(count: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """bool [count]: `rate` of the codes of a sequence at random places; at least one, and not all of two."""
    if count < 1:
        raise MioError("an image or sound without codes cannot be masked; leave the example out")
    hidden = np.zeros(count, bool)
    hidden[rng.permutation(count)[: min(max(near(count * rate, rng), 1), max(count - 1, 1))]] = True
    return hidden
