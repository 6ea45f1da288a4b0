"""First-fit packing: several whole examples in one row, kept apart by segment ids. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    room: tuple[int, ...]  # of every budget
    held: list[tuple[Key, Any]] = field(default_factory=list)


def token_sizes(example: Any) -> tuple[int, ...]:
    """The one size of a decoder-only example."""
    return (len(example.tokens),)


class FirstFit(Generic[Key]):
    """Keeps up to `bins` rows of these budgets open; an example goes into the first that has room.

    When none has, the fullest row (by the mean of its budgets) is closed and handed out, and the example opens a new
    one. What comes out depends only on the examples and their order. `size_of(example)` gives a size for each budget.
    """

    def __init__(
        self, budgets: Sequence[int], bins: int, size_of: Callable[[Any], tuple[int, ...]] = token_sizes
    ) -> None:
        self._budgets, self._limit, self._size_of = tuple(budgets), bins, size_of
        self._bins: list[_Bin[Key]] = []

    def add(self, key: Key, example: Any) -> list[tuple[Key, Any]] | None:
        """Puts an example away under `key`; the row that had to be closed for it, if one had to.

        Raises MioError if it is longer than a row.
        """
        size = self._size_of(example)
        require_fit(size, self._budgets)
        closed = None
        target = next((row for row in self._bins if _within(size, row.room)), None)
        if target is None:
            if len(self._bins) == self._limit:
                # The oldest of the fullest: `min` keeps the first.
                closed = self._bins.pop(min(range(len(self._bins)), key=lambda i: self._share(self._bins[i].room))).held
            target = _Bin(self._budgets)
            self._bins.append(target)
        target.room = _less(target.room, size)
        target.held.append((key, example))
        return closed

    def _share(self, room: tuple[int, ...]) -> float:
        return sum(left / budget for left, budget in zip(room, self._budgets, strict=True))

    def open_rows(self) -> list[list[Key]]:
        """What the open rows hold, in order: with the examples themselves, the whole state."""
        return [[key for key, _ in row.held] for row in self._bins]

    def restore(self, rows: Sequence[Sequence[tuple[Key, Any]]]) -> None:
        """Opens rows that hold these examples, in place of those that are open."""
        self._bins = []
        for row in rows:
            room = self._budgets
            for _, example in row:
                room = _less(room, self._size_of(example))
            self._bins.append(_Bin(room, list(row)))


def _within(sizes: Sequence[int], room: Sequence[int]) -> bool:
    return all(size <= left for size, left in zip(sizes, room, strict=True))


def _less(room: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(left - size for left, size in zip(room, sizes, strict=True))


def require_fit(sizes: Sequence[int], budgets: Sequence[int]) -> None:
    """Raises MioError if one example is over a budget of a row."""
    if len(sizes) != len(budgets) or not _within(sizes, budgets):
        raise MioError(f"an example of {shown(sizes)} tokens does not fit in a row of {shown(budgets)}")


def shown(sizes: Sequence[int]) -> str:
    """(12, 30) -> `12 x 30`."""
    return " x ".join(map(str, sizes))


@dataclass(frozen=True)
class SequenceRows:
    """Rows of one sequence of `length` tokens, as a decoder-only model reads them."""

    length: int

    @property
    def budgets(self) -> tuple[int, ...]:
        return (self.length,)

    def sizes(self, example: Any) -> tuple[int, ...]:
        return token_sizes(example)

    def row(self, examples: Sequence[Any]) -> dict[str, np.ndarray]:
        return pack_row(examples, self.length)


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
