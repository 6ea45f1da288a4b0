"""Masks as COCO writes them: {"size": [height, width], "counts": "..."}, run lengths down the columns as letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError

FIRST = 48  # the letter "0" stands for five zero bits
BITS, MORE, SIGN = 0x1F, 0x20, 0x10


def runs_of(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a bool [height, width], column by column; the first run is of False, and may be 0."""
    flat = np.asarray(mask, bool).reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """bool [height, width] -> COCO's compressed form. MioError on anything else."""
    if np.asarray(mask).dtype != bool or np.ndim(mask) != 2:
        raise MioError(f"a mask must be bool [height, width], not {np.asarray(mask).dtype} {list(np.shape(mask))}")
    counts = runs_of(mask)
    letters = []
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count  # from the fourth run on, what differs from the one before last
        more = True
        while more:
            part, x = x & BITS, x >> 5
            more = x != -1 if part & SIGN else x != 0
            letters.append(chr((part | MORE if more else part) + FIRST))
    return {"size": [int(edge) for edge in mask.shape], "counts": "".join(letters)}


def decode_mask(stored: Mapping[str, Any]) -> np.ndarray:
    """COCO's compressed form, or with `counts` a list of run lengths -> bool [height, width].

    Raises MioError where the runs do not make up the mask.
    """
    try:
        height, width = (int(edge) for edge in stored["size"])
        counts = stored["counts"]
        runs = _read(counts) if isinstance(counts, str) else [int(count) for count in counts]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MioError(f"this is no run-length mask of COCO's: {error!r}") from None
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise MioError(f"a mask of {height}x{width} whose runs make up {sum(runs)} pixels; the file is damaged")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(height, width, order="F")


def _read(letters: str) -> list[int]:
    runs: list[int] = []
    at = 0
    while at < len(letters):
        x, shift, more = 0, 0, True
        while more:
            part = ord(letters[at]) - FIRST
            x |= (part & BITS) << shift
            more, at, shift = bool(part & MORE), at + 1, shift + 5
            if not more and part & SIGN:
                x |= -1 << shift
        runs.append(x + runs[-2] if len(runs) > 2 else x)
    return runs


def decode_masks(stored: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    return [decode_mask(one) for one in stored]
