from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.data import window_packing
from mio_jax.data.window_packing import WindowPacker
from mio_jax.errors import MioError

BUDGETS = (20, 33)


def two(example):
    return example.sizes


one_budget = st.lists(st.tuples(st.integers(1, 20)), min_size=1, max_size=60)
two_budgets = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 33)), min_size=1, max_size=60)
streams = st.one_of(st.tuples(st.just((20,)), one_budget), st.tuples(st.just(BUDGETS), two_budgets))
# 20,000: counted exactly. 30: five cells an axis, where rounding matters and examples are rounded over a budget.
cells = st.sampled_from([20_000, 30])


def packer(budgets, window, table_cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_packing, "CELLS", table_cells if len(budgets) > 1 else 20_000)
        return WindowPacker(budgets, window, two)


def feed(to, sizes, first=0):
    rows = [to.add(first + n, SimpleNamespace(sizes=s)) for n, s in enumerate(sizes)]
    return [None if row is None else [key for key, _ in row] for row in rows]


@given(streams, st.integers(1, 12), cells)
def test_every_example_leaves_once_and_whole_and_no_row_is_over_a_budget(stream, window, table_cells):
    budgets, sizes = stream
    one = packer(budgets, window, table_cells)
    closed = [row for row in feed(one, sizes) if row is not None]
    [waiting] = one.open_rows()
    assert sorted(itertools.chain(*closed, waiting)) == list(range(len(sizes)))
    assert len(waiting) < window
    for row in closed:
        assert (np.sum([sizes[key] for key in row], axis=0) <= budgets).all()


@given(streams, st.integers(1, 12), cells)
def test_a_row_begins_with_the_oldest_example_and_none_waits_for_more_rows_than_the_window(stream, window, table_cells):
    budgets, sizes = stream
    one = packer(budgets, window, table_cells)
    waited = dict.fromkeys(range(len(sizes)), 0)
    for n, size in enumerate(sizes):
        [before] = one.open_rows()
        [row] = feed(one, [size], n)
        if row is None:
            continue
        assert row[0] == [*before, n][0]
        assert row == sorted(row)
        for key in one.open_rows()[0]:
            waited[key] += 1
    assert max(waited.values()) < window


@given(streams, st.integers(1, 12), cells, st.data())
def test_a_restored_packer_goes_on_alike(stream, window, table_cells, data):
    budgets, sizes = stream
    cut = data.draw(st.integers(0, len(sizes)))
    one, two_ = (packer(budgets, window, table_cells) for _ in range(2))
    feed(one, sizes[:cut])
    two_.restore([[(key, SimpleNamespace(sizes=sizes[key])) for key in row] for row in one.open_rows()])
    assert feed(one, sizes[cut:], cut) == feed(two_, sizes[cut:], cut)
    assert one.open_rows() == two_.open_rows()


def best_fill(sizes, budget):
    """The fullest that a row with the first example can be: all subsets."""
    rest = range(1, len(sizes))
    sets = itertools.chain.from_iterable(itertools.combinations(rest, n) for n in range(len(sizes)))
    totals = (sizes[0] + sum(sizes[i] for i in chosen) for chosen in sets)
    return max(total for total in totals if total <= budget)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=9))
def test_with_one_budget_no_choice_fills_the_row_better(sizes):
    one = WindowPacker((20,), len(sizes), two)
    row = feed(one, [(size,) for size in sizes])[-1]
    assert sum(sizes[key] for key in row) == best_fill(sizes, 20)


@given(two_budgets.filter(lambda sizes: len(sizes) > 1), cells)
def test_nothing_that_still_fits_is_left_waiting(sizes, table_cells):
    one = packer(BUDGETS, len(sizes), table_cells)
    row = feed(one, sizes)[-1]
    slack = np.subtract(BUDGETS, np.sum([sizes[key] for key in row], axis=0))
    left = [sizes[key] for key in one.open_rows()[0] if any(sizes[key])]
    assert not any((np.asarray(size) <= slack).all() for size in left)


def lengths(mean, spread, budget, n, rng):
    drawn = rng.lognormal(np.log(mean) - spread**2 / 2, spread, 3 * n)
    return np.ceil(drawn[(drawn > 3) & (drawn < budget)][:n]).astype(int)


@pytest.mark.parametrize("budget", [864, 1280])
def test_rows_of_log_normal_lengths_are_98_percent_full(budget):
    sizes = [(int(n),) for n in lengths(budget / 3, 0.6, budget, 1200, np.random.default_rng(0))]
    rows = [row for row in feed(WindowPacker((budget,), 128, two), sizes) if row is not None]
    assert np.mean([sum(sizes[key][0] for key in row) / budget for row in rows]) > 0.98


def test_an_example_over_a_budget_is_refused():
    with pytest.raises(MioError, match="21 x 3 tokens does not fit in a row of 20 x 33"):
        WindowPacker(BUDGETS, 4, two).add(0, SimpleNamespace(sizes=(21, 3)))
    with pytest.raises(MioError, match="of at least 1"):
        WindowPacker((0,), 4)
