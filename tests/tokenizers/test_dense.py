"""Depth, normals, masks and flow as pictures, both ways, within the eighth bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mio_jax.errors import MioError
from mio_tokenizers.structured import dense

quick = settings(max_examples=25, deadline=None)
SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=5)


@quick
@given(arrays(np.float32, SHAPES, elements=st.floats(0, 10, width=32)))
def test_depth(depth: np.ndarray) -> None:
    picture = dense.write_depth(depth)
    assert picture.dtype == np.uint8
    assert picture.shape == (*depth.shape, 3)
    np.testing.assert_allclose(dense.read_depth(picture), depth, atol=10 / 510 + 1e-5)


def test_far_is_white() -> None:
    assert dense.write_depth(np.array([[0.0, 10.0, 25.0]]))[0, :, 0].tolist() == [0, 255, 255]


@quick
@given(SHAPES, st.integers(0, 99))
def test_normals(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(*shape, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    valid = rng.random(shape) < 0.7
    vectors_read, valid_read = dense.read_normals(dense.write_normals(dense.Normals(vectors, valid)))
    np.testing.assert_array_equal(valid_read, valid)
    np.testing.assert_allclose(vectors_read[valid], vectors[valid], atol=0.02)
    assert not vectors_read[~valid].any()


@quick
@given(arrays(bool, SHAPES))
def test_segmentation(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(dense.read_segmentation(dense.write_segmentation(mask)), mask)


@quick
@given(SHAPES, st.integers(0, 99))
def test_flow(shape: tuple[int, int], seed: int) -> None:
    flow = np.random.default_rng(seed).uniform(-20, 20, (*shape, 2)).astype(np.float32)
    np.testing.assert_allclose(dense.read_flow(dense.write_flow(flow, 20.0), 20.0), flow, atol=20 / 255 + 1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dense.write_depth(np.array([[np.nan]])), "NaN"),
        (lambda: dense.write_depth(np.array([[-1.0]])), "negative"),
        (lambda: dense.write_depth(np.ones((1, 1)), 0.0), "positive"),
        (lambda: dense.write_depth(np.ones(3)), r"must be \[height, width\]"),
        (lambda: dense.write_normals(dense.Normals(np.ones((1, 1, 3)) * 2, np.ones((1, 1)))), "length 1"),
        (lambda: dense.write_normals(dense.Normals(np.ones((1, 1, 3)), np.ones((2, 1)))), "valid is"),
        (lambda: dense.write_segmentation(np.ones((1, 1))), "must be bool"),
        (lambda: dense.write_flow(np.ones((1, 1, 3)), 1.0), r"\[height, width, 2\]"),
        (lambda: dense.read_depth(np.ones((1, 1, 3))), "uint8"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(MioError, match=message):
        call()
