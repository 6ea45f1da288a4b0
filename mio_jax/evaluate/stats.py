"""Paired comparison of a model with its own control, and the shuffles that make the control."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from mio_jax.errors import MioError


class Paired(NamedTuple):
    """Means over n examples, and the standard error of the mean of the differences."""

    value: float
    control: float
    stderr: float
    n: int

    @property
    def sigmas(self) -> float:
        """The difference in standard errors; infinite if every example differs by the same amount."""
        difference = self.value - self.control
        if self.stderr > 0:
            return difference / self.stderr
        return float(np.inf) * np.sign(difference) if difference else 0.0


def paired(values: np.ndarray, controls: np.ndarray) -> Paired:
    """Compares [n] scores with the same examples' control scores [n]. Raises MioError unless there are two or more."""
    values, controls = np.asarray(values, np.float64), np.asarray(controls, np.float64)
    if values.shape != controls.shape or values.ndim != 1 or values.size < 2:
        raise MioError(
            f"a paired comparison needs two equal lists of 2 or more scores, not {values.shape}, {controls.shape}"
        )
    difference = values - controls
    stderr = float(difference.std(ddof=1) / np.sqrt(difference.size))
    return Paired(float(values.mean()), float(controls.mean()), stderr, values.size)


def derangement(keys: Sequence[Hashable], seed: int) -> np.ndarray:
    """A random permutation p, int64 [n], with keys[p[i]] != keys[i] for every i.

    Raises:
      MioError: there is none, because one key makes up more than half of them.
    """
    n = len(keys)
    codes: dict[Hashable, int] = {}
    key = np.asarray([codes.setdefault(k, len(codes)) for k in keys], np.int64)
    counts = np.bincount(key) if n else np.zeros(1, np.int64)
    if n < 2 or (counts.max() > n // 2 and 2 * counts.max() > n):
        most = max(codes, key=lambda k: counts[codes[k]], default=None)
        raise MioError(f"cannot shuffle {n} examples so that all differ: {counts.max()} of them have {most!r}")
    rng = np.random.default_rng(seed)
    # Sorted by key (ties at random), a shift by the largest count moves every example to another key.
    order = np.lexsort((rng.random(n), rng.permutation(len(codes))[key]))
    p = np.empty(n, np.int64)
    p[order] = np.roll(order, -int(counts.max()))
    # Random swaps that keep the property make it an ordinary random choice rather than a fixed pairing of keys.
    for i, j in rng.integers(n, size=(20 * n, 2)):
        if key[p[j]] != key[i] and key[p[i]] != key[j]:
            p[i], p[j] = p[j], p[i]
    return p


def candidate_sets(n: int, size: int, seed: int) -> np.ndarray:
    """For each of n examples `size` of them to choose from, the true one first. int64 [n, size].

    Raises MioError if there are fewer than `size` examples.
    """
    if n < size:
        raise MioError(f"{size} candidates need as many examples, and there are {n}; lower eval.candidates")
    rng = np.random.default_rng(seed)
    sets = np.empty((n, size), np.int64)
    for i in range(n):
        others = rng.choice(n - 1, size - 1, replace=False)
        sets[i] = [i, *(others + (others >= i))]
    return sets


def reciprocal_ranks(scores: np.ndarray) -> np.ndarray:
    """1 / rank of the first column among all of [n, size] scores, higher is better. A tie counts against it."""
    scores = np.asarray(scores, np.float64)
    return 1.0 / (scores >= scores[:, :1]).sum(1)
