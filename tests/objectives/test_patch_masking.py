"""Patches: how many are hidden, which the encoder keeps, and which target tokens are then unseen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.objectives.patch_masking import hide_codes, keep_patches, on_grid


@given(
    st.lists(st.booleans(), min_size=4, max_size=30), st.floats(0.05, 0.95), st.integers(1, 30), st.integers(0, 9999)
)
def test_kept_and_hidden_are_the_valid_patches(there: list[bool], rate: float, keep: int, seed: int) -> None:
    valid = np.asarray(there)
    keep = min(keep, len(valid))
    if not valid.any():
        with pytest.raises(MioError, match="without a valid patch"):
            keep_patches(valid, rate, keep, np.random.default_rng(seed))
        return
    ids, mask, hidden = keep_patches(valid, rate, keep, np.random.default_rng(seed))
    assert ids.shape == mask.shape == (keep,)
    assert len(set(ids.tolist())) == keep
    seen = np.zeros(len(valid), bool)
    seen[ids[mask]] = True
    np.testing.assert_array_equal(seen | hidden, valid)
    assert not (seen & hidden).any()
    assert seen.any()
    again = keep_patches(valid, rate, keep, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip((ids, mask, hidden), again, strict=True))


def test_the_share_that_is_hidden() -> None:
    """Means over 1500 draws; the standard error is under 0.001 for the share and 0.013 for a patch."""
    rng = np.random.default_rng(0)
    valid = np.arange(30) < 25
    drawn = np.asarray([keep_patches(valid, 0.75, 30, rng).hidden for _ in range(1500)])
    assert drawn[:, :25].mean() == pytest.approx(0.75, abs=0.004)
    assert np.abs(drawn[:, :25].mean(0) - 0.75).max() < 0.055
    assert keep_patches(valid, 0.1, 5, rng).hidden.sum() == 20, "what the encoder has no room for is hidden too"
    codes = [hide_codes(10, 0.75, rng) for _ in range(1500)]
    assert np.mean(codes) == pytest.approx(0.75, abs=0.006)
    assert all(0 < code.sum() < 10 for code in codes)
    assert hide_codes(1, 0.5, rng).tolist() == [True]


def test_a_target_grid_reads_the_patch_that_it_lies_on() -> None:
    """Unified-IO 2's grids: pixels decide, 16 x 16 patches of a 384 picture and 8 x 8 tokens of a 256 picture."""
    rng = np.random.default_rng(0)
    hidden = rng.random(24 * 24) < 0.5
    pixels = hidden.reshape(24, 24).repeat(16, 0).repeat(16, 1)
    middle = (np.arange(32) * 12 + 6)[:, None], (np.arange(32) * 12 + 6)[None, :]
    np.testing.assert_array_equal(on_grid(hidden, (24, 24), (32, 32)), pixels[middle].reshape(-1))
    np.testing.assert_array_equal(on_grid(np.arange(6), (3, 2), (3, 2)), np.arange(6))
    assert on_grid(np.arange(2), (1, 2), (2, 4)).tolist() == [0, 0, 1, 1] * 2
    assert on_grid(np.arange(16 * 8), (16, 8), (32, 16)).reshape(32, 16)[::2, ::2].tolist() == (
        np.arange(16 * 8).reshape(16, 8).tolist()
    )


def test_what_cannot_be_done_is_said() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(MioError, match="5 patches are to be kept of 4"):
        keep_patches(np.ones(4, bool), 0.5, 5, rng)
    with pytest.raises(MioError, match="3 x 3 patches"):
        on_grid(np.zeros(8), (3, 3), (6, 6))
    with pytest.raises(MioError, match="without codes"):
        hide_codes(0, 0.5, rng)
