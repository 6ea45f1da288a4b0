"""From packers to batches of fixed shape: so many examples, and the row that each of them goes to.

A packer (`StreamingPairer`, or `WindowPacker` with two budgets) closes rows of several examples. A model that unpacks
its rows again wants a fixed number of examples in a batch, and a fixed number of rows: `PackedBatcher` gathers rows
until one of the two is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from mio_jax.data.constrained_batches import ConstrainedBatcher, Counts
from mio_jax.errors import MioError

Example = TypeVar("Example")


def assign_rows(counts: Sequence[int], slots: int) -> np.ndarray:
    """int32 [slots], the row of every example of a batch whose rows hold `counts` examples, in order; -1: a blank slot.

    Raises MioError if there are more examples than slots.
    """
    total = sum(counts)
    if total > slots:
        raise MioError(f"rows of {total} examples do not fit in a batch of {slots}")
    rows = np.full(slots, -1, np.int32)
    rows[:total] = np.repeat(np.arange(len(counts)), counts)
    return rows


class PackedBatcher(Generic[Example]):
    """Gathers packed rows: at most `rows` of them with at most `slots` examples together, and further `bounds`.

    A row with too many examples for the batch at hand waits for the next; `pool` rows can wait.
    """

    def __init__(self, rows: int, slots: int, pool: int = 10, bounds: Sequence[int] = ()) -> None:
        self._slots = slots
        self._batcher: ConstrainedBatcher[list[Example]] = ConstrainedBatcher(rows, pool, (slots, *bounds))

    def add(self, row: Sequence[tuple[Any, Example]], counts: Counts = ()) -> tuple[list[Example], np.ndarray] | None:
        """Takes in a row as a packer closes it, with its count for every further bound.

        Returns:
          The examples of the batch that leaves for it, if one does, and `assign_rows` of them.

        Raises:
          MioError: a row that no batch can hold.
        """
        batch = self._batcher.add([example for _, example in row], (len(row), *counts))
        if batch is None:
            return None
        return [example for held in batch for example in held], assign_rows([len(held) for held in batch], self._slots)
