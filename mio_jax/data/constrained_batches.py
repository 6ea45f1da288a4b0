"""Batches of rows whose counts stay within bounds: history frames of a batch, or examples of a batch. Pure Python.

A model that computes the valid history frames of a batch together, or unpacks a batch into a fixed number of examples,
has room for so many of them and no more. A row that would be one too many waits for the next batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from mio_jax.errors import MioError

Row = TypeVar("Row")
Counts = tuple[int, ...]

REFILLS = ("prefix", "one")


class ConstrainedBatcher(Generic[Row]):
    """Gathers up to `rows` rows whose counts sum to at most `bounds`; those that do not fit wait, at most `pool`.

    A batch leaves when it has all of its rows, or when the pool is full: it is then shorter than `rows`, and the others
    are the caller's to fill with blanks. What waits opens the next batch: with refill "prefix" as many of the
    oldest as the bounds allow, with "one" the oldest alone, as the released code of Unified-IO 2 has it (section 15
    of the specification: it means to do the former).
    """

    def __init__(self, rows: int, pool: int, bounds: Sequence[int], refill: str = "prefix") -> None:
        if rows < 1 or pool < 1 or not bounds or min(bounds) < 0:
            raise MioError(f"batches need rows and a pool of at least 1 and bounds, not {rows}, {pool}, {list(bounds)}")
        if refill not in REFILLS:
            raise MioError(f"refill is {refill!r}; it must be one of {', '.join(REFILLS)}")
        self._rows, self._pool, self._bounds, self._refill = rows, pool, tuple(bounds), refill
        self._batch: list[tuple[Row, Counts]] = []
        self._waiting: list[tuple[Row, Counts]] = []

    def add(self, row: Row, counts: Counts) -> list[Row] | None:
        """Takes a row in, with a count for every bound; the batch that leaves for it, if one does.

        Raises MioError if the row alone is over a bound.
        """
        if len(counts) != len(self._bounds) or any(c > b for c, b in zip(counts, self._bounds, strict=True)):
            raise MioError(f"a row counts {list(counts)}, which no batch with bounds {list(self._bounds)} can hold")
        (self._batch if self._fits(counts) else self._waiting).append((row, counts))
        if len(self._batch) < self._rows and len(self._waiting) < self._pool:
            return None
        batch, self._batch = self._batch, []
        most = self._rows if self._refill == "prefix" else 1
        while self._waiting and len(self._batch) < most and self._fits(self._waiting[0][1]):
            self._batch.append(self._waiting.pop(0))
        return [row for row, _ in batch]

    def _fits(self, counts: Counts) -> bool:
        sums = [sum(column) for column in zip(counts, *(held for _, held in self._batch), strict=True)]
        return all(total <= bound for total, bound in zip(sums, self._bounds, strict=True))

    def held(self) -> tuple[list[Row], list[Row]]:
        """What has not left: the rows of the open batch, and those that wait, oldest first."""
        return [row for row, _ in self._batch], [row for row, _ in self._waiting]

    def restore(self, batch: Sequence[tuple[Row, Counts]], waiting: Sequence[tuple[Row, Counts]]) -> None:
        """Holds these rows, with their counts, in place of those that it does."""
        self._batch, self._waiting = list(batch), list(waiting)
