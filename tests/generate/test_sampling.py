"""Processors and draws against definitions written with sorts, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.generate.sampling import (
    REMOVED,
    SamplingConfig,
    argmax,
    draw,
    next_token,
    repetition_penalty,
    seen_table,
    top_k,
    top_p,
    uniforms,
)

VOCAB = 150  # not a multiple of the group size of the two-level sums
jit_top_p = jax.jit(top_p)
jit_draw = jax.jit(lambda scores, uniform: draw(jnp.exp(scores - scores.max(-1, keepdims=True)), uniform))


def top_p_by_sorting(scores: np.ndarray, p: float) -> np.ndarray:
    """The rule as published: in ascending order, an id goes while the mass up to and including it is at most 1 - p."""
    out = scores.copy()
    for row, kept in zip(scores.astype(np.float64), out, strict=True):
        mass = np.exp(row - row.max())
        order = np.argsort(row, kind="stable")
        goes = np.cumsum(mass[order]) / mass.sum() <= 1 - p
        goes[-1] = False
        kept[order[goes]] = REMOVED
    return out


@given(
    seed=st.integers(0, 2**32 - 1), p=st.sampled_from([0.05, 0.3, 0.7, 0.9, 0.99]), spread=st.sampled_from([0.1, 3.0])
)
def test_top_p_is_the_sorted_rule(seed: int, p: float, spread: float) -> None:
    scores = (np.random.default_rng(seed).normal(size=(3, VOCAB)) * spread).astype(np.float32)
    ours = np.asarray(jit_top_p(scores, np.float32(1 - p)))
    theirs = top_p_by_sorting(scores, p)
    differ = np.argwhere(ours != theirs)
    # Sums of float32 may put an id on the other side of the border: then at most one a row, the one at the border.
    for row, i in differ:
        mass = np.exp(scores[row].astype(np.float64) - scores[row].max())
        upto = mass[scores[row] <= scores[row, i]].sum() / mass.sum()
        assert upto == pytest.approx(1 - p, abs=1e-6)
    assert len({row for row, _ in differ}) == len(differ)


@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 4))
def test_top_p_takes_ties_apart_from_the_lowest_id_on(seed: int, levels: int) -> None:
    scores = np.random.default_rng(seed).integers(0, levels, (3, VOCAB)).astype(np.float32)
    # 0.61 of 150 equal ids is no whole number of them, so that rounding decides nothing.
    assert np.array_equal(np.asarray(jit_top_p(scores, np.float32(1 - 0.61))), top_p_by_sorting(scores, 0.61))


def test_top_p_keeps_the_highest_whatever_p() -> None:
    scores = np.zeros((2, VOCAB), np.float32)
    scores[0, 7] = 50
    kept = np.asarray(top_p(scores, np.float32(1 - 1e-9))) > REMOVED
    assert kept.sum(1).tolist() == [1, 1]
    assert kept[0, 7]
    assert kept[1, VOCAB - 1], "of equal ids the last in ascending order"


def test_top_p_and_removed_ids() -> None:
    scores = np.full((1, VOCAB), REMOVED, np.float32)
    scores[0, [3, 90]] = [1.0, 0.0]
    kept = np.asarray(top_p(scores, np.float32(1e-6))) > REMOVED
    assert np.flatnonzero(kept[0]).tolist() == [3, 90]


def test_top_k_keeps_ties_with_the_last() -> None:
    scores = np.asarray([[3.0, 1.0, 2.0, 2.0, 0.0]], np.float32)
    assert np.asarray(top_k(scores, 2))[0].tolist() == [3.0, np.float32(REMOVED), 2.0, 2.0, np.float32(REMOVED)]
    assert np.array_equal(np.asarray(top_k(scores, 99)), scores)


def test_repetition_penalty_and_history() -> None:
    ids = np.asarray([[4, 4, 1], [0, 2, 3]], np.int32)
    valid = np.asarray([[True, True, True], [False, True, True]])
    seen = np.asarray(seen_table(ids, valid, 5))
    assert [np.flatnonzero(row).tolist() for row in seen] == [[1, 4], [2, 3]]
    scores = np.asarray([[1.0, 2.0, -3.0, 4.0, -5.0]] * 2, np.float32)
    ours = np.asarray(repetition_penalty(scores, seen, 2.0))
    assert ours.tolist() == [[1.0, 1.0, -3.0, 4.0, -10.0], [1.0, 2.0, -6.0, 2.0, -5.0]]


@given(seed=st.integers(0, 2**32 - 1), removed=st.integers(0, VOCAB - 1))
def test_draw_inverts_the_cumulative_sum(seed: int, removed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(1, VOCAB)).astype(np.float32) * 2
    scores[0, rng.permutation(VOCAB)[:removed]] = REMOVED
    n = 4000
    even = ((np.arange(n) + 0.5) / n).astype(np.float32)
    tokens = np.asarray(jit_draw(np.repeat(scores, n, 0), even))
    p = np.exp(scores[0].astype(np.float64) - scores.max())
    p /= p.sum()
    assert np.all(np.diff(tokens) >= 0)
    assert np.abs(np.bincount(tokens, minlength=VOCAB) / n - p).max() < 2 / n
    assert np.all(p[tokens] > 0)


def test_draw_at_the_ends() -> None:
    scores = np.full((3, VOCAB), REMOVED, np.float32)
    scores[:, [5, 77, 140]] = 0
    last = np.nextafter(np.float32(1), np.float32(0))
    assert np.asarray(jit_draw(scores, np.asarray([0, 0.5, last], np.float32))).tolist() == [5, 77, 140]


def test_argmax_is_the_lowest_id_of_a_tie() -> None:
    scores = np.random.default_rng(0).integers(0, 3, (40, VOCAB)).astype(np.float32)
    assert np.array_equal(np.asarray(argmax(scores)), scores.argmax(-1))


def test_uniforms_belong_to_seed_and_step() -> None:
    seeds = np.asarray([1, 2, 3, 2**32 - 1], np.uint32)
    together = np.asarray(uniforms(seeds, np.int32(5)))
    alone = [float(uniforms(seeds[i : i + 1], np.int32(5))[0]) for i in range(4)]
    assert together.tolist() == alone
    assert len({*together.tolist(), *np.asarray(uniforms(seeds, np.int32(6))).tolist()}) == 8


def test_order_of_processors() -> None:
    """The penalty sees raw scores, the temperature what it left, and the grammar comes before top-k and top-p."""
    scores = np.full((1, VOCAB), -20.0, np.float32)
    scores[0, :4] = [4.0, 3.0, 2.0, 1.0]
    seen, allowed = np.zeros((2, 1, VOCAB), bool)
    seen[0, 1] = True
    allowed[0, 1:4] = True
    config = SamplingConfig(temperature=0.5, top_k=2, top_p=0.6, repetition_penalty=2.0)
    # Allowed are 1, 2, 3 with (3/2, 2, 1) / 0.5 = (3, 4, 2); top-k leaves 1 and 2; of these p(2) = 0.73 >= 0.6.
    tokens = {
        int(next_token(scores, config.plan, config.knobs, np.asarray([s], np.uint32), np.int32(0), seen, allowed)[0])
        for s in range(20)
    }
    assert tokens == {2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "finite"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": 4, "top_p": 0.9}, "beam search does not sample"),
    ],
)
def test_settings_out_of_range(changes: dict, words: str) -> None:
    with pytest.raises(MioError, match=words):
        SamplingConfig(**changes)


def test_only_the_plan_is_compiled_in() -> None:
    warm, hot = SamplingConfig(temperature=0.7, top_p=0.9), SamplingConfig(temperature=1.3, top_p=0.5)
    assert warm.plan == hot.plan
    assert SamplingConfig(temperature=0).plan == SamplingConfig(greedy=True, top_p=0.5).plan


def test_temperature_after_the_cut() -> None:
    """The original Unified-IO 2's order: top-p at temperature 1, then the temperature among what is kept."""
    scores = jnp.log(jnp.asarray([[0.5, 0.3, 0.15, 0.05]]))
    flat = {"temperature": 4.0, "top_p": 0.7}
    drawn = {}
    for last in (False, True):
        config = SamplingConfig(**flat, temperature_last=last)
        seeds = jnp.arange(400, dtype=jnp.uint32)
        many = jnp.tile(scores, (400, 1))
        drawn[last] = np.bincount(np.asarray(next_token(many, config.plan, config.knobs, seeds, 0)), minlength=4) / 400
    assert (drawn[False] > 0).sum() == 3  # at temperature 4 the first two ids have less than 0.7 together
    assert (drawn[True] > 0).sum() == 2
    kept = np.asarray([0.5, 0.3]) ** (1 / 4)
    np.testing.assert_allclose(drawn[True][:2], kept / kept.sum(), atol=0.08)
    plain = SamplingConfig(top_p=0.7)
    assert plain.plan == SamplingConfig(top_p=0.7, temperature_last=True).plan
