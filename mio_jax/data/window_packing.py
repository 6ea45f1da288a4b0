"""Window packing: rows filled to the brim from a window of waiting examples. Pure Python and numpy.

First-fit decides about one example at a time. Here up to `window` examples wait, and a row is made when the window is
full: the oldest of them opens it, and the sets of others whose sizes complete it are found all at once, by the
subset-sum recurrence over the bits of one large integer (bit s is set if some of the examples seen so far fill s).
The recurrence goes from old to new and stops at the first exact fill, so that a row is made of the oldest examples
that can fill it, and none waits for more than `window` rows.

Several budgets (say encoder and decoder tokens) share the same integer, one axis of a mixed-radix number each. Axes
are then counted in units of a few tokens, rounded up, and what the rounding left is won back by exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from mio_jax.data.packing import require_fit, token_sizes
from mio_jax.errors import MioError

Key = TypeVar("Key")
Sizes = tuple[int, ...]

CELLS = 20_000  # of the recurrence's table, at most: one budget is counted exactly up to here, two in 141 units each
EXCHANGES = 8


class WindowPacker(Generic[Key]):
    """Keeps up to `window` examples waiting; has the same methods as `packing.FirstFit`.

    What comes out depends only on the examples and their order. `size_of(example)` gives one size for every budget.
    """

    def __init__(self, budgets: Sequence[int], window: int, size_of: Callable[[Any], Sizes] = token_sizes) -> None:
        if not budgets or min(budgets) < 1 or window < 1:
            raise MioError(f"packing needs budgets and a window of at least 1, not {list(budgets)} and {window}")
        self._budgets, self._window, self._size_of = tuple(budgets), window, size_of
        self._table = _Table(self._budgets)
        self._waiting: list[tuple[Key, Any, Sizes]] = []

    def add(self, key: Key, example: Any) -> list[tuple[Key, Any]] | None:
        """Lets an example wait under `key`; the row that is full enough to leave, once the window is full.

        Raises MioError if the example alone is over a budget.
        """
        sizes = self._size_of(example)
        require_fit(sizes, self._budgets)
        self._waiting.append((key, example, sizes))
        return self._close() if len(self._waiting) >= self._window else None

    def _close(self) -> list[tuple[Key, Any]]:
        chosen = self._table.choose([sizes for _, _, sizes in self._waiting])
        row = [(self._waiting[i][0], self._waiting[i][1]) for i in chosen]
        leaving = set(chosen)
        self._waiting = [held for i, held in enumerate(self._waiting) if i not in leaving]
        return row

    def open_rows(self) -> list[list[Key]]:
        """The keys that wait, oldest first, as one list in a list: with the examples themselves, the whole state."""
        return [[key for key, _, _ in self._waiting]]

    def restore(self, rows: Sequence[Sequence[tuple[Key, Any]]]) -> None:
        """Lets these examples wait, in place of those that do."""
        self._waiting = [(key, example, self._size_of(example)) for row in rows for key, example in row]


class _Table:
    """Which of the waiting examples fill a row best, the first of them among them."""

    def __init__(self, budgets: Sizes) -> None:
        per_axis = int(CELLS ** (1 / len(budgets)) + 1e-9)
        self._budgets = budgets
        self._units = [-(-budget // per_axis) for budget in budgets]
        self._caps = [budget // unit for budget, unit in zip(budgets, self._units, strict=True)]
        # An axis has room for twice its capacity: a sum of two that are within it cannot reach into the next axis.
        self._strides = [1] * len(budgets)
        for axis in range(len(budgets) - 2, -1, -1):
            self._strides[axis] = self._strides[axis + 1] * 2 * (self._caps[axis + 1] + 1)
        self._within = self._box([0] * len(budgets))
        one_off = 0 if len(budgets) == 1 else 1
        self._full = self._box([cap - one_off for cap in self._caps])

    def _box(self, low: Sequence[int]) -> int:
        """The cells from `low` up to the capacities, on every axis, as bits."""
        box = 1
        for axis in range(len(low) - 1, -1, -1):
            slab, box = box, 0
            for at in range(max(low[axis], 0), self._caps[axis] + 1):
                box |= slab << (at * self._strides[axis])
        return box

    def _cell(self, sizes: Sizes) -> int:
        return sum(-(-s // u) * stride for s, u, stride in zip(sizes, self._units, self._strides, strict=True))

    def choose(self, waiting: Sequence[Sizes]) -> list[int]:
        """Indices in `waiting` that make the row, in order."""
        within, full = self._within, self._full
        reach = 1 << self._cell(waiting[0])
        if not reach & within:  # its rounded size is over a budget that its true size just meets
            return self._exchange([0], waiting)
        before: list[tuple[int, int]] = []  # (cells reachable without the example, its cell)
        for sizes in waiting[1:]:
            cell = self._cell(sizes)
            before.append((reach, cell))
            reach |= (reach << cell) & within
            if reach & full:
                break
        target = self._best(reach)
        chosen = []
        for index in range(len(before), 0, -1):
            reach, cell = before[index - 1]
            if not (reach >> target) & 1:
                chosen.append(index)
                target -= cell
        return self._exchange([0, *reversed(chosen)], waiting)

    def _best(self, reach: int) -> int:
        if len(self._budgets) == 1:
            return reach.bit_length() - 1
        reachable = np.frombuffer(reach.to_bytes(reach.bit_length() // 8 + 1, "little"), np.uint8)
        cells = np.flatnonzero(np.unpackbits(reachable, bitorder="little"))
        filled, rest = np.zeros(len(cells)), cells
        for cap, stride in zip(self._caps, self._strides, strict=True):
            filled += (rest // stride) / cap
            rest = rest % stride
        return int(cells[np.argmax(filled)])

    def _exchange(self, chosen: list[int], waiting: Sequence[Sizes]) -> list[int]:
        """Adds what still fits and exchanges members, but for the first, for better ones; a few times."""
        if len(self._budgets) == 1:
            return chosen  # already the best that there is
        sizes, budgets = np.asarray(waiting), np.asarray(self._budgets)
        worth = (sizes / budgets).sum(1)
        for _ in range(EXCHANGES):
            free = np.ones(len(sizes), bool)
            free[chosen] = False
            slack = budgets - sizes[chosen].sum(0)
            gain, swap = 0.0, (-1, -1)
            for place in range(len(chosen)):  # place 0 stands for adding one: the first example stays
                room = slack + sizes[chosen[place]] if place else slack
                fits = free & (sizes <= room).all(1)
                if not fits.any():
                    continue
                best = int(np.argmax(np.where(fits, worth, -1.0)))
                won = float(worth[best] - worth[chosen[place]]) if place else float(worth[best])
                if won > gain + 1e-12:
                    gain, swap = won, (place, best)
            place, best = swap
            if best < 0:
                break
            chosen = [*chosen, best] if not place else [*chosen[:place], best, *chosen[place + 1 :]]
        return sorted(chosen)
