"""Unified-IO 2's streaming pairer: rows of at most two examples, the second the largest that still fits. Pure Python.

An example that comes is put together with the largest of the waiting ones that fits beside it. If none fits it waits,
and if there is no place left to wait, the largest of all leaves alone. Two examples a row are all that a model needs
that folds a batch of 2B into B rows (section 15 of the specification); `WindowPacker` fills rows better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from mio_jax.data.packing import require_fit, token_sizes
from mio_jax.errors import MioError

Key = TypeVar("Key")
Sizes = tuple[int, ...]


class StreamingPairer(Generic[Key]):
    """Keeps up to `pool` examples waiting for a partner; has the same methods as `packing.FirstFit`.

    What comes out depends only on the examples and their order. `size_of(example)` gives one size for every budget.
    """

    def __init__(self, budgets: Sequence[int], pool: int, size_of: Callable[[Any], Sizes] = token_sizes) -> None:
        if not budgets or min(budgets) < 1 or pool < 1:
            raise MioError(f"pairing needs budgets and a pool of at least 1, not {list(budgets)} and {pool}")
        self._budgets, self._size_of = tuple(budgets), size_of
        # Places, some of them empty: of waiting examples that are equally large, the one in the first place is taken.
        self._pool: list[tuple[Key, Any, Sizes] | None] = [None] * pool

    def add(self, key: Key, example: Any) -> list[tuple[Key, Any]] | None:
        """Takes an example in under `key`; the one or two that leave for it, the newer one first, if any do.

        Nothing leaves with sizes that are 0 in the last budget, the targets: there would be nothing to learn.

        Raises MioError if the example alone is over a budget.
        """
        sizes = self._size_of(example)
        require_fit(sizes, self._budgets)
        new = (key, example, sizes)
        held = [(place, item) for place, item in enumerate(self._pool) if item is not None]
        # `max` keeps the first of equals.
        partner = max((p for p, item in held if self._fit(new, item)), key=self._total, default=None)
        if partner is not None:
            row = [new, self._take(partner)]
        elif len(held) < len(self._pool):
            self._pool[self._pool.index(None)] = new
            return None
        else:
            largest = max((p for p, _ in held), key=self._total)
            if sum(new[2]) >= self._total(largest):
                row = [new]
            else:
                row = [self._take(largest)]
                self._pool[largest] = new
        return [(k, e) for k, e, _ in row] if any(sizes[-1] for _, _, sizes in row) else None

    def _fit(self, a: tuple[Key, Any, Sizes], b: tuple[Key, Any, Sizes]) -> bool:
        return all(x + y <= budget for x, y, budget in zip(a[2], b[2], self._budgets, strict=True))

    def _total(self, place: int) -> int:
        item = self._pool[place]
        assert item is not None
        return sum(item[2])

    def _take(self, place: int) -> tuple[Key, Any, Sizes]:
        item = self._pool[place]
        assert item is not None
        self._pool[place] = None
        return item

    def open_rows(self) -> list[list[Key]]:
        """For every place the key that waits there, or nothing: with the examples themselves, the whole state."""
        return [[] if item is None else [item[0]] for item in self._pool]

    def restore(self, rows: Sequence[Sequence[tuple[Key, Any]]]) -> None:
        """Lets these examples wait, in place of those that do."""
        self._pool = [(row[0][0], row[0][1], self._size_of(row[0][1])) if row else None for row in rows]
