"""Location tokens: exact at bin centres, at most half a bin off elsewhere, and clear about bad boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mio_jax.errors import MioError
from mio_tokenizers import Tokenizer, load
from mio_tokenizers.structured import LocationTokenizer

UNIT = st.floats(0, 1, width=32)


@given(bins=st.integers(1, 2000), data=st.data())
def test_tokens_survive_decoding_and_encoding(bins: int, data: st.DataObject) -> None:
    tokenizer = LocationTokenizer(bins, "point")
    tokens = data.draw(arrays(np.int32, st.integers(0, 6).map(lambda n: 2 * n), elements=st.integers(0, bins - 1)))
    centres = tokenizer.decode(tokens)
    assert centres.dtype == np.float32
    assert centres.shape == (len(tokens) // 2, 2)
    np.testing.assert_array_equal(tokenizer.encode(centres), tokens)


@given(bins=st.integers(1, 2000), points=arrays(np.float32, (5, 2), elements=UNIT))
def test_error_is_at_most_half_a_bin(bins: int, points: np.ndarray) -> None:
    tokenizer = LocationTokenizer(bins, "point")
    tokens = tokenizer.encode(points)
    assert tokens.dtype == np.int32
    assert tokens.min() >= 0
    assert tokens.max() < bins
    assert np.abs(tokenizer.decode(tokens) - points).max() <= 0.5 / bins + 1e-6


def test_boxes_in_their_order_and_both_edges() -> None:
    tokenizer = load("location:10")
    assert isinstance(tokenizer, Tokenizer)
    boxes = np.array([[0.0, 0.05, 1.0, 0.999], [0.31, 0.2, 0.31, 0.95]], np.float32)
    assert tokenizer.encode(boxes).tolist() == [0, 0, 9, 9, 3, 2, 3, 9]
    np.testing.assert_allclose(tokenizer.decode(np.array([0, 3, 9, 3])), [[0.05, 0.35, 0.95, 0.35]], atol=1e-7)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0.1, 0.2, 0.3, 1.0001]], r"box 0 has the coordinate 1.0001; all must be in \[0, 1\]"),
        ([[0, 0, 1, 1], [0.1, np.nan, 0.3, 0.4]], "box 1 has the coordinate nan"),
        ([[-0.1, 0.2, 0.3, 0.4]], "coordinate -0.1"),
        ([[0.5, 0.2, 0.3, 0.4]], "x2 and y2 must not be below"),
        ([[0.5, 0.2]], r"must have the shape \[n, 4\], not \[1, 2\]"),
        ([["a", "b", "c", "d"]], "must be numbers"),
    ],
)
def test_bad_boxes_are_named(boxes: list, message: str) -> None:
    with pytest.raises(MioError, match=message):
        LocationTokenizer(100).encode(boxes)


@pytest.mark.parametrize(
    ("tokens", "message"), [([0, 1, 2], "no whole number of box items"), ([0, 1, 2, 100], "outside 0..99")]
)
def test_bad_tokens_are_named(tokens: list[int], message: str) -> None:
    with pytest.raises(MioError, match=message):
        LocationTokenizer(100).decode(np.asarray(tokens))


def test_fingerprint_tells_settings_apart() -> None:
    prints = {LocationTokenizer(b, k).fingerprint for b in (10, 11) for k in ("box", "point")}
    assert len(prints) == 4
    assert LocationTokenizer(10).fingerprint == load("location:10").fingerprint


@pytest.mark.parametrize("spec", ["location:", "location:ten", "location:0", "location:10:line"])
def test_bad_specs_are_refused(spec: str) -> None:
    with pytest.raises(MioError):
        load(spec)
