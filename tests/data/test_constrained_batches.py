"""Constrained batches: bounds hold, every row leaves once, and none is overtaken for ever."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.data.constrained_batches import REFILLS, ConstrainedBatcher
from mio_jax.errors import MioError

counts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=60)


@given(counts, st.integers(1, 5), st.integers(1, 6), st.sampled_from(REFILLS))
def test_every_row_leaves_once_within_the_bounds(rows, size, pool, refill):
    batcher: ConstrainedBatcher[int] = ConstrainedBatcher(size, pool, (12, 7), refill)
    batches = [b for b in (batcher.add(n, c) for n, c in enumerate(rows)) if b is not None]
    opened, waiting = batcher.held()
    assert sorted([*itertools.chain(*batches), *opened, *waiting]) == list(range(len(rows)))
    assert len(waiting) < pool
    for batch in [*batches, opened]:
        assert len(batch) <= size
        assert all(sum(rows[n][k] for n in batch) <= bound for k, bound in enumerate((12, 7)))
    assert all(batches)


@given(counts, st.integers(0, 60))
def test_a_restored_batcher_goes_on_alike(rows, cut):
    one: ConstrainedBatcher[int] = ConstrainedBatcher(3, 4, (12, 7))
    for n, c in enumerate(rows[:cut]):
        one.add(n, c)
    two: ConstrainedBatcher[int] = ConstrainedBatcher(3, 4, (12, 7))
    two.restore(*([(n, rows[n]) for n in part] for part in one.held()))
    for n, c in enumerate(rows[cut:], cut):
        assert one.add(n, c) == two.add(n, c)


def test_a_prefix_opens_the_next_batch_where_the_released_code_takes_one():
    """Bound 10: 9, 4 and 5 wait behind 8; the intended way then starts with 9 alone, and next with 4 and 5 together."""
    made = {}
    for refill in REFILLS:
        batcher: ConstrainedBatcher[str] = ConstrainedBatcher(3, 3, (10,), refill)
        out = [batcher.add(name, (count,)) for name, count in (("a8", 8), ("b4", 4), ("c5", 5), ("d9", 9))]
        made[refill] = [b for b in out if b], batcher.held()
    assert made["prefix"] == ([["a8"]], (["b4", "c5"], ["d9"]))
    assert made["one"] == ([["a8"]], (["b4"], ["c5", "d9"]))


def test_what_cannot_be_done_is_said():
    with pytest.raises(MioError, match="which no batch"):
        ConstrainedBatcher(2, 2, (10,)).add("x", (11,))
    with pytest.raises(MioError, match="refill is 'all'"):
        ConstrainedBatcher(2, 2, (10,), "all")
    with pytest.raises(MioError, match="at least 1"):
        ConstrainedBatcher(0, 2, (10,))
