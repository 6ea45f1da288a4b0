"""The bound and the fills that `benchmarks/loader.py` reports are what they say they are."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.packers import mean_fill, most_fill, ours_first_fit, ours_window
from mio_jax.errors import MioError


@pytest.mark.parametrize(
    ("lengths", "budget", "most"),
    [
        ([149] * 40, 384, 2 * 149 / 384),  # two fit, and a rest that no third can use
        ([192] * 40, 384, 1.0),
        ([200] * 40 + [184] * 40, 384, 1.0),  # one of each
        ([200] * 60 + [184] * 20, 384, (60 * 200 + 20 * 184) / (60 * 384)),  # forty of the long ones stay alone
        ([130, 120, 100] * 20, 240, 350 * 20 / (240 * 30)),  # 20 rows of 130 + 100 and 10 of 120 + 120
    ],
)
def test_the_bound_is_the_best_that_there_is(lengths, budget, most):
    found = most_fill(np.asarray(lengths), budget)
    assert found == pytest.approx(most, abs=2e-3)


def test_no_packer_is_above_the_bound_when_nothing_waits():
    rng = np.random.default_rng(0)
    lengths = np.ceil(rng.lognormal(np.log(110), 0.3, 400)).astype(int).clip(max=384)[:, None]
    bound = most_fill(lengths[:, 0], 384)
    for pack in (ours_window(1), ours_first_fit(1)):  # nearly nothing is held back at the end
        fills = [fill[0] for fill in pack(lengths, (384,))]
        assert np.mean(fills) < bound + 1e-3
    assert 0.9 < bound <= 1


def test_a_stream_too_short_for_its_window_is_refused():
    lengths = np.full((100, 1), 90)
    rows = ours_window(90)(lengths, (384,))
    with pytest.raises(MioError, match="100 examples gave"):
        mean_fill(rows, lengths, (384,))
