"""Spans have the lengths and rates they are asked for, and what is hidden can be put back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.config_denoising import UL2, DenoiserConfig
from mio_jax.errors import MioError
from mio_jax.objectives.span_corruption import corrupt, draw_mask, restore, span_mask, suffix_mask

SENTINELS = tuple(range(900, 1000))


def runs(mask: np.ndarray) -> np.ndarray:
    """Lengths of the hidden spans."""
    edges = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


@pytest.mark.parametrize("denoiser", UL2, ids=[d.name for d in UL2])
def test_rate_and_mean_span(denoiser: DenoiserConfig) -> None:
    """Means of n = 400 masks of 512 tokens, within four standard errors of what was asked for."""
    n, length = 400, 512
    rng = np.random.default_rng(0)
    masks = [draw_mask(length, denoiser, rng) for _ in range(n)]
    rates = np.asarray([mask.mean() for mask in masks])
    assert rates.mean() == pytest.approx(denoiser.rate, abs=4 * max(rates.std(), 1 / length) / n**0.5)
    if denoiser.paradigm == "S":
        assert all(len(runs(mask)) == 1 and mask[-1] for mask in masks)
        # Uniform between none and twice the rate: a standard deviation of rate / sqrt(3).
        assert rates.std() == pytest.approx(denoiser.rate / 3**0.5, rel=0.1)
        return
    spans = np.asarray([len(runs(mask)) for mask in masks])
    wanted = length * denoiser.rate / denoiser.mean_span
    assert spans.mean() == pytest.approx(wanted, abs=4 * max(spans.std(), 0.5) / n**0.5)
    lengths = np.concatenate([runs(mask) for mask in masks])
    if denoiser.mean_span <= 8:
        # Random divisions: lengths fall off geometrically, their spread is sqrt(m^2 - m) less a little.
        m = denoiser.mean_span
        assert lengths.mean() == pytest.approx(m, rel=0.05)
        assert lengths.std() == pytest.approx((m * m - m) ** 0.5, rel=0.2)
        assert (lengths == 1).mean() == pytest.approx(1 / m, abs=0.06)


def test_every_place_is_hidden_about_as_often() -> None:
    """Of 4000 masks; a binomial's standard error is 0.006. The ends count too, which T5's own masks treat otherwise."""
    rng = np.random.default_rng(1)
    often = np.mean([span_mask(40, 0.15, 3.0, rng) for _ in range(4000)], axis=0)
    assert often[5:-5].mean() == pytest.approx(0.15, abs=0.02)
    assert 0.05 < often.min() <= often.max() < 0.25
    assert often[:5].mean() == pytest.approx(often[-5:].mean(), abs=0.02)


def test_short_sequences_keep_the_rate_on_average() -> None:
    """12 tokens at 0.15 are 1.8: always rounding would hide 2, a tenth too much. Standard error 0.0006."""
    rng = np.random.default_rng(2)
    assert np.mean([span_mask(12, 0.15, 3.0, rng).mean() for _ in range(3000)]) == pytest.approx(0.15, abs=0.003)


@given(st.integers(2, 60), st.sampled_from(UL2), st.integers(0, 10**6), st.integers(1, 9))
def test_something_is_hidden_and_something_shown(length: int, denoiser: DenoiserConfig, seed: int, most: int) -> None:
    mask = draw_mask(length, denoiser, np.random.default_rng(seed), most)
    assert mask.shape == (length,)
    assert 0 < mask.sum() < length
    assert 1 <= len(runs(mask)) <= most


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60))
def test_inputs_and_targets_restore_the_sequence(sequence: list[tuple[int, bool]]) -> None:
    tokens = np.asarray([token for token, _ in sequence], np.int32)
    hidden = np.asarray([there for _, there in sequence], bool)
    inputs, targets = corrupt(tokens, hidden, SENTINELS)
    np.testing.assert_array_equal(restore(inputs, targets, SENTINELS), tokens)
    spans = len(runs(hidden))
    assert inputs[np.isin(inputs, SENTINELS)].tolist() == list(SENTINELS[:spans])
    assert inputs[~np.isin(inputs, SENTINELS)].tolist() == tokens[~hidden].tolist()
    assert targets[~np.isin(targets, SENTINELS)].tolist() == tokens[hidden].tolist()
    assert len(inputs) + len(targets) == len(tokens) + 2 * spans
    assert inputs.dtype == targets.dtype == np.int32


def test_an_example_by_hand() -> None:
    tokens, hidden = np.asarray([1, 2, 3, 4, 5, 6]), np.asarray([1, 1, 0, 0, 1, 0], bool)
    inputs, targets = corrupt(tokens, hidden, SENTINELS)
    assert inputs.tolist() == [900, 3, 4, 901, 6]
    assert targets.tolist() == [900, 1, 2, 901, 5]


def test_the_same_generator_draws_the_same_mask() -> None:
    for denoiser in UL2:
        a, b, c = (draw_mask(200, denoiser, np.random.default_rng(seed)) for seed in (7, 7, 8))
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


def test_what_cannot_be_done_is_said() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(MioError, match="2 are needed"):
        span_mask(1, 0.5, 3.0, rng)
    with pytest.raises(MioError, match="2 are needed"):
        suffix_mask(0, 0.5, rng)
    with pytest.raises(MioError, match="2 hidden spans"):
        corrupt(np.arange(3), np.asarray([1, 0, 1], bool), (900,))
    with pytest.raises(MioError, match="already holds a sentinel"):
        corrupt(np.asarray([1, 900]), np.asarray([1, 0], bool), SENTINELS)
    for inputs, targets in (([900], [901, 1]), ([1], [900, 1]), ([900], [5, 900])):
        with pytest.raises(MioError, match="same sentinels"):
            restore(np.asarray(inputs), np.asarray(targets), SENTINELS)
