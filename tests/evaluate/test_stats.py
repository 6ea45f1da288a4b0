"""Paired comparisons and shuffles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.evaluate import stats


def test_paired_by_hand() -> None:
    result = stats.paired(np.asarray([1.0, 1.0, 0.0, 1.0]), np.asarray([0.0, 1.0, 0.0, 0.0]))
    assert (result.value, result.control, result.n) == (0.75, 0.25, 4)
    # Differences 1, 0, 0, 1: deviation sqrt(1/3), over sqrt(4).
    assert result.stderr == pytest.approx(np.sqrt(1 / 3) / 2)
    assert result.sigmas == pytest.approx(0.5 / (np.sqrt(1 / 3) / 2))


def test_paired_limits() -> None:
    assert stats.paired(np.ones(3), np.zeros(3)).sigmas == np.inf
    assert stats.paired(np.zeros(3), np.ones(3)).sigmas == -np.inf
    assert stats.paired(np.ones(3), np.ones(3)).sigmas == 0
    with pytest.raises(MioError, match="2 or more"):
        stats.paired(np.ones(1), np.ones(1))
    with pytest.raises(MioError, match="two equal lists"):
        stats.paired(np.ones(3), np.ones(2))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(0, 1000))
def test_derangement_changes_every_key(keys: list[int], seed: int) -> None:
    assume(2 * max(keys.count(k) for k in keys) <= len(keys))
    p = stats.derangement(keys, seed)
    assert sorted(p.tolist()) == list(range(len(keys)))
    assert all(keys[p[i]] != keys[i] for i in range(len(keys)))
    np.testing.assert_array_equal(p, stats.derangement(keys, seed))


def test_derangement_is_random() -> None:
    different = {tuple(stats.derangement(range(30), seed)) for seed in range(20)}
    assert len(different) == 20


@pytest.mark.parametrize("keys", [["a"], ["a", "a", "b"], []])
def test_impossible_shuffle(keys: list[str]) -> None:
    with pytest.raises(MioError, match="cannot shuffle"):
        stats.derangement(keys, 0)


def test_candidate_sets() -> None:
    sets = stats.candidate_sets(50, 8, seed=1)
    np.testing.assert_array_equal(sets[:, 0], np.arange(50))
    assert all(len(set(row)) == 8 for row in sets.tolist())
    assert sets.max() < 50
    with pytest.raises(MioError, match="candidates"):
        stats.candidate_sets(7, 8, seed=1)


def test_reciprocal_ranks_count_ties_against() -> None:
    scores = np.asarray([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [2.0, 2.0, 1.0]])
    np.testing.assert_allclose(stats.reciprocal_ranks(scores), [1.0, 1 / 3, 1 / 2])
