from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.data.packing import FirstFit, pack_row
from mio_jax.errors import MioError
from mio_jax.protocols import Example

LENGTH = 20
sizes = st.lists(st.integers(1, LENGTH), min_size=1, max_size=60)


def example(size: int, number: int = 0) -> Example:
    return Example(
        np.arange(size, dtype=np.int32) + 1000 * number + 1,
        np.full(size, number % 3, np.int32),
        np.full(size, 0.5, np.float32),
    )


@given(sizes, st.integers(1, 5))
def test_every_example_leaves_once_and_whole_and_rows_never_overflow(lengths, bins):
    packer: FirstFit[int] = FirstFit((LENGTH,), bins)
    rows = [packer.add(n, example(size, n)) for n, size in enumerate(lengths)]
    closed = [[key for key, _ in row] for row in rows if row]
    held = packer.open_rows()
    assert sorted(key for row in closed + held for key in row) == list(range(len(lengths)))
    assert len(held) <= bins
    assert all(sum(lengths[key] for key in row) <= LENGTH for row in closed + held)


@given(sizes, st.integers(1, 5))
def test_a_row_is_closed_only_for_an_example_that_fits_nowhere_and_is_the_fullest(lengths, bins):
    packer: FirstFit[int] = FirstFit((LENGTH,), bins)
    for n, size in enumerate(lengths):
        before = packer.open_rows()
        filled = [sum(lengths[key] for key in row) for row in before]
        closed = packer.add(n, example(size, n))
        if closed is None:
            continue
        assert len(before) == bins
        assert all(total + size > LENGTH for total in filled)
        assert sum(lengths[key] for key, _ in closed) == max(filled)


@given(sizes, st.integers(1, 5), st.data())
def test_a_restored_packer_goes_on_alike(lengths, bins, data):
    cut = data.draw(st.integers(0, len(lengths)))
    one: FirstFit[int] = FirstFit((LENGTH,), bins)
    for n in range(cut):
        one.add(n, example(lengths[n], n))
    two: FirstFit[int] = FirstFit((LENGTH,), bins)
    two.restore([[(key, example(lengths[key], key)) for key in row] for row in one.open_rows()])
    for n in range(cut, len(lengths)):
        a, b = one.add(n, example(lengths[n], n)), two.add(n, example(lengths[n], n))
        assert (a is None) == (b is None)
        assert a is None or [key for key, _ in a] == [key for key, _ in b]  # type: ignore[union-attr]


@given(st.lists(st.integers(1, 7), max_size=4))
def test_a_row_can_be_taken_apart_again(lengths):
    examples = [example(size, n) for n, size in enumerate(lengths)]
    if sum(lengths) > LENGTH:
        with pytest.raises(MioError, match="do not fit in a row of 20"):
            pack_row(examples, LENGTH)
        return
    row = pack_row(examples, LENGTH)
    for n, original in enumerate(examples, 1):
        here = row["segment_ids"] == n
        np.testing.assert_array_equal(row["tokens"][here], original.tokens)
        np.testing.assert_array_equal(row["modality_ids"][here], original.modality_ids)
        np.testing.assert_array_equal(row["loss_weights"][here], original.loss_weights)
        np.testing.assert_array_equal(row["positions"][here], np.arange(len(original.tokens)))
    padding = row["segment_ids"] == 0
    assert padding.sum() == LENGTH - sum(lengths)
    assert not row["loss_weights"][padding].any()
    assert {name: array.dtype.name for name, array in row.items()} == {
        "tokens": "int32",
        "positions": "int32",
        "segment_ids": "int32",
        "modality_ids": "int32",
        "loss_weights": "float32",
    }


def test_an_example_longer_than_a_row_is_refused():
    with pytest.raises(MioError, match="21 tokens does not fit in a row of 20"):
        FirstFit((LENGTH,), 2).add(0, example(21))


pairs = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), min_size=1, max_size=60)


@given(pairs, st.integers(1, 5))
def test_rows_of_two_budgets_never_overflow_either_and_the_fullest_is_closed(sizes, bins):
    packer: FirstFit[int] = FirstFit((20, 30), bins, lambda example: example)
    for n, (inputs, targets) in enumerate(sizes):
        before = [[sum(sizes[key][axis] for key in row) for axis in (0, 1)] for row in packer.open_rows()]
        closed = packer.add(n, (inputs, targets))
        assert all(
            sum(sizes[k][0] for k in row) <= 20 and sum(sizes[k][1] for k in row) <= 30 for row in packer.open_rows()
        )
        if closed is not None:
            assert all(a + inputs > 20 or b + targets > 30 for a, b in before)
            fill = sum(sizes[key][0] for key, _ in closed) / 20 + sum(sizes[key][1] for key, _ in closed) / 30
            assert fill == pytest.approx(max(a / 20 + b / 30 for a, b in before))


def test_an_example_over_one_of_two_budgets_is_refused():
    with pytest.raises(MioError, match="21 x 3 tokens does not fit in a row of 20 x 30"):
        FirstFit((20, 30), 2, lambda example: example).add(0, (21, 3))
