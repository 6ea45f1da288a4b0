"""A row of a mixture: one set, its rate, and the kinds of task that it is trained in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mio_jax.errors import MioError


@dataclass(frozen=True)
class Row:
    """One set in one group of a mixture.

    Attributes:
      set: the record set, which is the source's name (`mio_jax.data.sources`), or of which there is no reader yet.
      title: as its authors call it.
      group: of the mixture; for instruction tuning a category.
      kinds: names in `kinds.KINDS`, which share the row's examples evenly; empty where the set cannot be read yet.
      rate: per cent of the mixture's examples.
      examples: about how many there are, from which rates within a category follow.
    """

    set: str
    title: str
    group: str
    kinds: tuple[str, ...] = ()
    rate: float = 0.0
    examples: float = 0.0


@dataclass(frozen=True)
class Category:
    """A category of instruction tuning: its rate in per cent, and how many sources the publication counts in it."""

    group: str
    rate: float
    sources: int


def by_root_of_size(rows: Sequence[Row], categories: Mapping[str, Category]) -> tuple[Row, ...]:
    """The rows with their rates: a category's rate is shared out by the square roots of the sizes of its sets.

    Raises MioError on a category without rows, rows without a category, and a set without a size.
    """
    totals = dict.fromkeys(categories, 0.0)
    for row in rows:
        if row.group not in totals or not row.examples > 0:
            raise MioError(f"the row of {row.set!r} has category {row.group!r} and {row.examples} examples")
        totals[row.group] += math.sqrt(row.examples)
    empty = [name for name, total in totals.items() if not total]
    if empty:
        raise MioError(f"no set is in the category {empty[0]!r}")
    return tuple(
        replace(row, rate=categories[row.group].rate * math.sqrt(row.examples) / totals[row.group]) for row in rows
    )


def rate_of(rows: Iterable[Row]) -> float:
    """Per cent that these rows make up together."""
    return sum(row.rate for row in rows)
