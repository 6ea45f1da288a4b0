"""Packers side by side: ours, Grain's and SeqIO's own, on the same stream of lengths, and the best that there can be.

A stream is int [examples, budgets]. Every packer is fed all of it; the rows counted are those from a fifth of what the
stream can fill to four fifths, so that neither an empty start nor the flushed end counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from mio_jax.data.packing import FirstFit
from mio_jax.data.window_packing import WindowPacker
from mio_jax.errors import MioError

Rows = list[Sequence[float]]  # the fill of every row, by budget
Packer = Callable[[np.ndarray, Sequence[int]], Rows]


def ours_window(window: int) -> Packer:
    def pack(lengths: np.ndarray, budgets: Sequence[int]) -> Rows:
        packer: WindowPacker[int] = WindowPacker(budgets, window, lambda example: example)
        closed = (packer.add(n, tuple(map(int, sizes))) for n, sizes in enumerate(lengths))
        return [np.sum([sizes for _, sizes in row], axis=0) / budgets for row in closed if row]

    return pack


def ours_first_fit(bins: int) -> Packer:
    def pack(lengths: np.ndarray, budgets: Sequence[int]) -> Rows:
        [budget] = budgets  # one only, as the peers have it
        packer: FirstFit[int] = FirstFit((budget,), bins)
        closed = (packer.add(n, SimpleNamespace(tokens=range(size))) for n, size in enumerate(lengths[:, 0]))
        return [[sum(len(example.tokens) for _, example in row) / budget] for row in closed if row]

    return pack


def _names(budgets: Sequence[int]) -> list[str]:
    return [f"f{axis}" for axis in range(len(budgets))]


def _ones(lengths: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{f"f{axis}": np.ones(n, np.int32) for axis, n in enumerate(sizes)} for sizes in lengths]


def grain_packer(kind: str, bins: int) -> Packer:
    """`kind`: FirstFit or BestFit."""

    def pack(lengths: np.ndarray, budgets: Sequence[int]) -> Rows:
        import grain

        packed = getattr(grain.experimental, f"{kind}PackIterDataset")(
            grain.MapDataset.source(_ones(lengths)).to_iter_dataset(),
            length_struct=dict(zip(_names(budgets), budgets, strict=True)),
            num_packing_bins=bins,
        )
        return [[float((row[f"{name}_segment_ids"] > 0).mean()) for name in _names(budgets)] for row in packed]

    return pack


def seqio_packer(lengths: np.ndarray, budgets: Sequence[int]) -> Rows:
    from mio_jax.data.registry import _seqio

    seqio = _seqio()
    import tensorflow as tf

    features = dict(zip(_names(budgets), budgets, strict=True))
    signature = {name: tf.TensorSpec((None,), tf.int32) for name in features}
    dataset = tf.data.Dataset.from_generator(lambda: iter(_ones(lengths)), output_signature=signature)
    packed = seqio.utils.trim_and_pack_dataset(dataset, features)
    return [[float((row[f"{name}_segment_ids"] > 0).mean()) for name in features] for row in packed.as_numpy_iterator()]


def packers(window: int, bins: int, budgets: int) -> dict[str, Packer]:
    """By name; our first-fit knows a single budget."""
    ours: dict[str, Packer] = {f"mio_jax window {window}": ours_window(window)}
    if budgets == 1:
        ours[f"mio_jax first-fit {bins}"] = ours_first_fit(bins)
    peers: dict[str, Packer] = {f"grain {kind} {bins}": grain_packer(kind, bins) for kind in ("FirstFit", "BestFit")}
    return {**ours, **peers, "seqio": seqio_packer}


def mean_fill(rows: Rows, lengths: np.ndarray, budgets: Sequence[int]) -> list[float]:
    """By budget, over the rows in the middle of the stream."""
    fillable = float((lengths.sum(0) / np.asarray(budgets)).max())
    if len(rows) < 0.8 * fillable:
        raise MioError(f"{len(lengths)} examples gave {len(rows)} rows; give the packers more of them (--examples)")
    return [round(float(fill), 4) for fill in np.mean(rows[int(0.2 * fillable) : int(0.8 * fillable)], axis=0)]


def most_fill(lengths: np.ndarray, budget: int, rounds: int = 400) -> float:
    """No packer that leaves none of these examples out fills rows of `budget` better on average.

    (The middle of a stream may be a little above it: what fits badly is still waiting.)

    The fractional cutting-stock bound: a linear programme over the ways to fill a row, which are found as they are
    needed by a knapsack. It is a bound after any number of rounds (Farley), and is given back within 0.1 % of the
    optimum or after `rounds`.
    """
    from scipy.optimize import linprog

    sizes, counts = np.unique(lengths, return_counts=True)
    patterns = np.diag(budget // sizes).astype(float)
    bound = 1.0
    for _ in range(rounds):
        solved = linprog(np.ones(patterns.shape[1]), A_ub=-patterns, b_ub=-counts, method="highs")
        price = -solved.ineqlin.marginals
        worth, pattern = _knapsack(sizes, price, budget)
        rows = max(float(price @ counts) / worth, float(lengths.sum()) / budget)
        bound = min(bound, float(lengths.sum()) / (rows * budget))
        if solved.fun <= rows * 1.001:
            break
        patterns = np.column_stack([patterns, pattern])
    return bound


def _knapsack(sizes: np.ndarray, price: np.ndarray, budget: int) -> tuple[float, np.ndarray]:
    """The dearest that a row can hold, any number of each size, and how many of each it is."""
    worth, last = np.zeros(budget + 1), np.full(budget + 1, -1)
    for room in range(1, budget + 1):
        fits = sizes <= room
        values = worth[room - sizes[fits]] + price[fits]
        worth[room] = worth[room - 1]
        if values.size and values.max() > worth[room]:
            worth[room], last[room] = values.max(), int(np.flatnonzero(fits)[np.argmax(values)])
    pattern, room = np.zeros(len(sizes)), budget
    while room > 0:
        if last[room] < 0:
            room -= 1
        else:
            pattern[last[room]] += 1
            room -= int(sizes[last[room]])
    return float(worth[budget]), pattern
