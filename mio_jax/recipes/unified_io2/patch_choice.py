"""Which patches of a medium the encoder is given, and which codes of a target that leaves unseen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mio_jax.errors import MioError
from mio_jax.objectives.patch_masking import keep_patches, on_grid


@dataclass(frozen=True)
class PatchChoice:
    """Patches drawn from `seed`: `rate` of those that are there are hidden, and those that find no slot are too."""

    seed: int
    rate: float = 0.0


def choose(
    features: dict[str, np.ndarray], choice: PatchChoice | None, slots: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of the patches that the encoder gets, and bool [patches], those that it does not.

    Args:
      features: `input`, `mask`, `pos_ids` of all patches, in their order.
      choice: None: all of them.

    Raises:
      MioError: no choice, and fewer slots than patches.
    """
    mask = features["mask"].astype(bool)
    if choice is None:
        if slots < len(mask):
            raise MioError(f"{len(mask)} patches have {slots} slots (data.patch_share), and none were drawn for them")
        return features, np.zeros(len(mask), bool)
    kept = keep_patches(mask, choice.rate, slots, np.random.default_rng(choice.seed))
    ids = kept.ids[kept.mask]
    return {name: values[ids] for name, values in features.items()}, kept.hidden


def count(patches: int, choice: PatchChoice | None, slots: int) -> int:
    """Of so many patches, how many the encoder gets at most."""
    rate = 0.0 if choice is None else choice.rate
    return min(slots, max(patches - math.floor(patches * rate), 1))


def task_mask(hidden: np.ndarray, patches: tuple[int, int], codes: tuple[int, int], layers: int = 1) -> np.ndarray:
    """int32 [codes]: 1 where the content of a target code was hidden from the encoder.

    Args:
      hidden: bool [patches], in rows.
      layers: of the codes of a sound. With several, the columns of its grid are no bands of pitch: every layer tells
        something of the whole time, which counts as hidden where most of its patches are.
    """
    if layers > 1:
        times = hidden.reshape(patches).mean(axis=1) > 0.5
        return np.repeat(on_grid(times, (patches[0], 1), (codes[0], 1)), codes[1]).astype(np.int32)
    return on_grid(hidden, patches, codes).astype(np.int32)
