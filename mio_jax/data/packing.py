"""First-fit packing: several whole examples in one row, kept apart by segment ids. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from mio_jax.errors import MioError

Key = TypeVar("Key")

PAD_TOKEN = 0  # what stands in padding; it has segment 0 and weight 0, so the id does not matter to a model
ROW_DTYPES = {
    "tokens": np.int32,
    "positions": np.int32,
    "segment_ids": np.int32,
    "modality_ids": np.int32,
    "loss_weights": np.float32,
}


@dataclass
class _Bin(Generic[Key]):
    room: int
    held: list[tuple[Key, Any]] = field(default_factory=list)


class FirstFit(Generic[Key]):
    """Keeps up to `bins` rows of `length` tokens open; an example goes into the first that has room.

    When none has, the fullest row is closed and handed out, and the example opens a new one. What comes out
    depends only on the examples and their order.
    """

    def __init__(self, length: int, bins: int) -> None:
        self._length, self._limit = length, bins
        self._bins: list[_Bin[Key]] = []

    def add(self, key: Key, example: Any) -> list[tuple[Key, Any]] | None:
        """Puts an example (with `tokens` [n]) away under `key`; the row that had to be closed for it, if one had to.

        Raises MioError if it is longer than a row.
        """
        size = len(example.tokens)
        if size > self._length:
            raise MioError(f"an example of {size} tokens does not fit in a row of {self._length}")
        closed = None
        target = next((row for row in self._bins if row.room >= size), None)
        if target is None:
            if len(self._bins) == self._limit:
                # The oldest of the fullest: `min` keeps the first.
                closed = self._bins.pop(min(range(len(self._bins)), key=lambda i: self._bins[i].room)).held
            target = _Bin(self._length)
            self._bins.append(target)
        target.room -= size
        target.held.append((key, example))
        return closed

    def open_rows(self) -> list[list[Key]]:
        """What the open rows hold, in order: with the examples themselves, the whole state."""
        return [[key for key, _ in row.held] for row in self._bins]

    def restore(self, rows: Sequence[Sequence[tuple[Key, Any]]]) -> None:
        """Opens rows that hold these examples, in place of those that are open."""
        self._bins = [_Bin(self._length - sum(len(example.tokens) for _, example in row), list(row)) for row in rows]


def pack_row(examples: Sequence[Any], length: int) -> dict[str, np.ndarray]:
    """Examples (tokens, modality_ids, loss_weights, each [n]) one after the other in arrays of [length].

    Segment ids count from 1 and are 0 in the padding; positions begin at 0 in every segment.
    """
    row = {name: np.zeros(length, dtype) for name, dtype in ROW_DTYPES.items()}
    row["tokens"][:] = PAD_TOKEN
    at = 0
    for number, example in enumerate(examples, 1):
        stop = at + len(example.tokens)
        if stop > length:
            raise MioError(f"examples of {stop} tokens together do not fit in a row of {length}")
        row["tokens"][at:stop] = example.tokens
        row["positions"][at:stop] = np.arange(stop - at)
        row["segment_ids"][at:stop] = number
        row["modality_ids"][at:stop] = example.modality_ids
        row["loss_weights"][at:stop] = example.loss_weights
        at = stop
    return row
