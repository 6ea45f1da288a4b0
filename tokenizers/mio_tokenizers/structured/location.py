"""Boxes, points and single values as location tokens: each coordinate is one of `bins` levels of [0, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.base import fingerprint_of

# Two corners, the smaller coordinates first, in x, y or y, x order; 0 is left or top, 1 right or bottom.
COORDINATES = {"box": 4, "point": 2, "value": 1}


class LocationTokenizer:
    """float32 [n, coordinates] in [0, 1] <-> int32 [n * coordinates], item by item.

    Bin b covers [b, b + 1) / bins, the last one 1.0 too; `decode` gives the middle of the bin, so that the error is at
    most half a bin. With `ends`, as in Unified-IO 2, level q covers [q, q + 1) / (bins - 1), the last one only 1.0, and
    `decode` gives its lower end, so that 0 and 1 come back exactly. Either way encoding what was decoded gives the same
    tokens.
    """

    modality = "structured"

    def __init__(self, bins: int = 1000, kind: str = "box", *, ends: bool = False) -> None:
        if bins < 1 + ends:
            raise MioError(f"location tokenizer: {bins} bins; there must be at least {1 + ends}")
        if kind not in COORDINATES:
            raise MioError(f"location tokenizer: kind {kind!r}; it must be one of {', '.join(COORDINATES)}")
        self.vocab_size = bins
        self.kind = kind
        self.ends = ends
        self.coordinates = COORDINATES[kind]

    @property
    def fingerprint(self) -> str:
        settings = {"bins": self.vocab_size, "kind": self.kind}
        return fingerprint_of("location", {**settings, "ends": True} if self.ends else settings)

    def encode(self, media: Any) -> np.ndarray:
        """Raises MioError on another shape, values that are NaN or outside [0, 1], or x2, y2 below x1, y1."""
        values = np.asarray(media)
        if values.dtype.kind not in "fiu":
            raise MioError(f"{self.kind}: coordinates must be numbers, not {values.dtype}")
        values = values.astype(np.float64)
        if values.ndim != 2 or values.shape[1] != self.coordinates:
            raise MioError(
                f"{self.kind}: coordinates must have the shape [n, {self.coordinates}], not {list(values.shape)}"
            )
        wrong = ~((values >= 0) & (values <= 1))  # true for NaN
        if wrong.any():
            item = int(np.argmax(wrong.any(axis=1)))
            raise MioError(
                f"{self.kind} {item} has the coordinate {values[item][wrong[item]][0]}; all must be in [0, 1] "
                "(divide pixels by the picture's width and height)"
            )
        if self.kind == "box":
            reversed_ = (values[:, 2:] < values[:, :2]).any(axis=1)
            if reversed_.any():
                item = int(np.argmax(reversed_))
                raise MioError(f"box {item} is {values[item].tolist()}; x2 and y2 must not be below x1 and y1")
        if self.ends:  # the product in float32, which decides the level of a value that lies on a limit
            levels = np.trunc(values.astype(np.float32) * np.float32(self.vocab_size - 1))
            return levels.astype(np.int32).reshape(-1)
        bins = np.minimum(np.floor(values * self.vocab_size), self.vocab_size - 1)
        return bins.astype(np.int32).reshape(-1)

    def decode(self, tokens: Any) -> np.ndarray:
        """Middles (with `ends`, lower ends) of the bins, float32 [n, coordinates].

        Raises MioError on ids outside or an incomplete item.
        """
        ids = np.asarray(tokens)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise MioError(f"location tokens must be whole numbers in one row, not {ids.dtype} {list(ids.shape)}")
        if len(ids) % self.coordinates:
            raise MioError(
                f"{len(ids)} location tokens make no whole number of {self.kind} items of {self.coordinates}"
            )
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
            bad = ids[(ids < 0) | (ids >= self.vocab_size)][0]
            raise MioError(f"location token {bad} is outside 0..{self.vocab_size - 1}")
        shift, parts = (0.0, self.vocab_size - 1) if self.ends else (0.5, self.vocab_size)
        return ((ids.astype(np.float64) + shift) / parts).astype(np.float32).reshape(-1, self.coordinates)
