"""The streaming pairer: every example leaves once, in rows of one or two that keep the budgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.data.pairing import StreamingPairer
from mio_jax.errors import MioError

sizes = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), max_size=60)


def pairer(pool: int) -> StreamingPairer[int]:
    return StreamingPairer((20, 30), pool, lambda example: example)


@given(sizes, st.integers(1, 6))
def test_every_example_leaves_once_and_pairs_fit(examples, pool):
    packer = pairer(pool)
    rows = [row for row in (packer.add(n, e) for n, e in enumerate(examples)) if row is not None]
    waiting = [key for place in packer.open_rows() for key in place]
    assert sorted([key for row in rows for key, _ in row] + waiting) == list(range(len(examples)))
    assert len(packer.open_rows()) == pool
    for row in rows:
        assert 1 <= len(row) <= 2
        assert all(sum(e[k] for _, e in row) <= budget for k, budget in enumerate((20, 30)))


@given(sizes, st.integers(0, 60))
def test_a_restored_pairer_goes_on_alike(examples, cut):
    one, two = pairer(4), pairer(4)
    for n, e in enumerate(examples[:cut]):
        one.add(n, e)
    two.restore([[(key, examples[key]) for key in place] for place in one.open_rows()])
    for n, e in enumerate(examples[cut:], cut):
        assert one.add(n, e) == two.add(n, e)


def test_a_row_without_targets_does_not_leave():
    packer = pairer(2)
    assert packer.add(0, (9, 0)) is None
    assert packer.add(1, (9, 0)) is None
    assert packer.open_rows() == [[], []]


def test_what_cannot_be_done_is_said():
    with pytest.raises(MioError, match="21 x 1 tokens does not fit in a row of 20 x 30"):
        pairer(2).add(0, (21, 1))
    with pytest.raises(MioError, match="at least 1"):
        pairer(0)
