"""Hiding spans of a token sequence, and giving them back: T5's span corruption with UL2's rates. Pure numpy.

All chance comes from the generator that is handed in. Shapes follow the example: rows of one shape are made by packing
or padding, behind this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mio_jax.config_denoising import DenoiserConfig
from mio_jax.errors import MioError


class Corrupted(NamedTuple):
    """int32 [n] each. `inputs`: a sentinel stands for every hidden span. `targets`: every sentinel, then its span."""

    inputs: np.ndarray
    targets: np.ndarray


def near(value: float, rng: np.random.Generator) -> int:
    """One of the two whole numbers around `value`, so that the mean is `value`.

    Rounding would hide nothing, or twice the rate, in all examples of the same few tokens.
    """
    return int(np.floor(value + rng.random()))


def span_mask(
    length: int, rate: float, mean_span: float, rng: np.random.Generator, most_spans: int | None = None
) -> np.ndarray:
    """Which tokens are hidden, bool [length]: spans at random places, `rate` of all tokens together.

    At least one token is hidden and one is not. The expected number of hidden tokens is length * rate and that of
    spans hidden / mean_span wherever those bounds do not bind; given both numbers, every division into spans and gaps
    is equally likely. (T5's masks always show the first token and hide the last; here both ends are free.)

    Args:
      length: at least 2.
      most_spans: no more spans than this (the sentinels there are); None: as many as come.

    Raises:
      MioError: a sequence of fewer than 2 tokens.
    """
    _require_two(length)
    hidden = min(max(near(length * rate, rng), 1), length - 1)
    shown = length - hidden
    most = min(hidden, shown + 1, hidden if most_spans is None else most_spans)
    spans = min(max(near(hidden / mean_span, rng), 1), max(most, 1))
    sizes = _divide(hidden, spans, rng)
    # The outer gaps may be empty, those between spans may not.
    gaps = _divide(shown + 2, spans + 1, rng)
    gaps[0] -= 1
    gaps[-1] -= 1
    runs = np.stack([gaps, np.append(sizes, 0)], axis=1).reshape(-1)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _divide(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """int [parts] of at least 1 that sum to `total`, every such division equally likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def suffix_mask(length: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """bool [length]: the end is hidden, on average `rate` of the tokens, every length around that equally likely.

    At least one token is hidden and one is not. Raises MioError on fewer than 2 tokens.
    """
    _require_two(length)
    half_width = min(length * rate, length - length * rate)
    hidden = near(rng.uniform(length * rate - half_width, length * rate + half_width), rng)
    return np.arange(length) >= length - min(max(hidden, 1), length - 1)


def draw_mask(
    length: int, denoiser: DenoiserConfig, rng: np.random.Generator, most_spans: int | None = None
) -> np.ndarray:
    """What `denoiser` hides of a sequence, bool [length]. Raises MioError on fewer than 2 tokens."""
    if denoiser.paradigm == "S":
        return suffix_mask(length, denoiser.rate, rng)
    return span_mask(length, denoiser.rate, denoiser.mean_span, rng, most_spans)


def _require_two(length: int) -> None:
    if length < 2:
        raise MioError(f"a sequence of {length} tokens cannot be split into a hidden and a visible part; 2 are needed")


def corrupt(tokens: np.ndarray, hidden: np.ndarray, sentinels: Sequence[int]) -> Corrupted:
    """Replaces every run of hidden tokens by the next sentinel.

    Args:
      tokens: int32 [length], none of them a sentinel.
      hidden: bool [length].
      sentinels: ids, used in this order.

    Raises:
      MioError: more runs than sentinels, or tokens that already hold one.
    """
    tokens, hidden = np.asarray(tokens, np.int32), np.asarray(hidden, bool)
    if np.isin(tokens, sentinels).any():
        raise MioError("a sequence that is to be corrupted already holds a sentinel; it would not be told from a span")
    begins = hidden & ~np.concatenate([[False], hidden[:-1]])
    runs = int(begins.sum())
    if runs > len(sentinels):
        raise MioError(f"{runs} hidden spans need as many sentinels, and there are {len(sentinels)}; provide more")
    marks = np.asarray(sentinels[:runs], np.int32)
    inputs = tokens.copy()
    inputs[begins] = marks
    starts = np.flatnonzero(begins)
    # A sentinel goes before the first token of its span; positions count hidden tokens only.
    at = np.concatenate([[0], np.cumsum(hidden)]).astype(int)[starts]
    return Corrupted(inputs[~hidden | begins], np.insert(tokens[hidden], at, marks))


def restore(inputs: np.ndarray, targets: np.ndarray, sentinels: Sequence[int]) -> np.ndarray:
    """The sequence that `corrupt` took apart, int32 [length].

    Raises MioError where the two do not belong together: a sentinel in one that the other lacks, or another order.
    """
    inputs, targets = np.asarray(inputs, np.int32), np.asarray(targets, np.int32)
    holes, marks = np.flatnonzero(np.isin(inputs, sentinels)), np.flatnonzero(np.isin(targets, sentinels))
    if not np.array_equal(inputs[holes], targets[marks]) or (len(targets) and not (len(marks) and marks[0] == 0)):
        raise MioError("inputs and targets do not hold the same sentinels in the same order")
    spans = np.split(targets, marks)[1:]
    pieces: list[np.ndarray] = []
    at = 0
    for hole, span in zip(holes.tolist(), spans, strict=True):
        pieces += [inputs[at:hole], span[1:]]
        at = int(hole) + 1
    return np.concatenate([*pieces, inputs[at:]])
