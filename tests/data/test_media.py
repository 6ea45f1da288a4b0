"""Resizing, placing, patches and frames: against JAX and by what must hold for any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.data.media import METHODS, fit, random_placement, resize, resize_nearest
from mio_jax.data.media.patches import choose_patches, patch_count, patch_mask, to_patches
from mio_jax.data.media.placement import undo_boxes, undo_image
from mio_jax.data.media.video import frame_times, sound_segments, trim_black_bars
from mio_jax.errors import MioError

quick = settings(max_examples=30, deadline=None)
EDGE = st.integers(1, 40)


@pytest.mark.parametrize(("method", "name"), [("bilinear", "linear"), ("bicubic", "cubic"), ("lanczos3", "lanczos3"),
                                              ("lanczos5", "lanczos5")])  # fmt: skip
@pytest.mark.parametrize(("source", "target"), [((9, 14), (20, 5)), ((17, 6), (4, 13)), ((8, 8), (8, 8))])
def test_filters_equal_jax(method: str, name: str, source: tuple[int, int], target: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random((*source, 3)).astype(np.float32)
    wanted = jax.image.resize(picture, (*target, 3), name, antialias=True)
    # JAX takes the radius of its Lanczos and cubic filters as we do; what differs is summation.
    np.testing.assert_allclose(resize(picture, target, method), wanted, atol=3e-6)


@quick
@given(EDGE, EDGE, EDGE, EDGE, st.sampled_from(METHODS))
def test_a_flat_picture_stays_flat(h: int, w: int, oh: int, ow: int, method: str) -> None:
    out = resize(np.full((h, w, 2), 0.3, np.float32), (oh, ow), method)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, np.full((oh, ow, 2), 0.3), atol=1e-6)


@quick
@given(EDGE, EDGE, EDGE, EDGE, st.sampled_from(METHODS), st.integers(0, 9))
def test_a_crop_is_part_of_the_whole_and_frames_are_resized_alike(
    h: int, w: int, oh: int, ow: int, method: str, seed: int
) -> None:
    frames = np.random.default_rng(seed).random((2, h, w, 3)).astype(np.float32)
    whole = resize(frames, (oh, ow), method)
    part = resize(frames, (oh, ow), method, rows=slice(oh // 3, oh // 3 + 4), columns=slice(ow // 2, None))
    np.testing.assert_allclose(part, whole[:, oh // 3 : oh // 3 + 4, ow // 2 :], atol=1e-6)
    np.testing.assert_allclose(resize(frames[1], (oh, ow), method), whole[1], atol=1e-6)


@quick
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
def test_area_is_the_mean_of_blocks(h: int, w: int, by: int) -> None:
    picture = np.random.default_rng(h).random((h * by, w * by, 1)).astype(np.float32)
    wanted = picture.reshape(h, by, w, by, 1).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(picture, (h, w), "area"), wanted, atol=1e-6)


@quick
@given(EDGE, EDGE, EDGE, EDGE)
def test_nearest_takes_values_as_they_are(h: int, w: int, oh: int, ow: int) -> None:
    labels = np.arange(h * w).reshape(h, w)
    out = resize_nearest(labels, (oh, ow))
    assert out.dtype == labels.dtype
    assert out.shape == (oh, ow)
    np.testing.assert_allclose(resize(labels[..., None].astype(np.float32), (oh, ow), "nearest")[..., 0], out)


SIZES = st.integers(1, 90)


@quick
@given(SIZES, SIZES, st.integers(0, 999), st.booleans())
def test_what_a_placement_does(h: int, w: int, seed: int, augment: bool) -> None:
    rng = np.random.default_rng(seed)
    placement = random_placement(h, w, 32, rng) if augment else fit(h, w, 32)
    picture = rng.random((h, w, 3)).astype(np.float32)
    square, mask = placement.image(picture), placement.mask
    assert square.shape == (32, 32, 3)
    assert square.min() >= 0
    assert square.max() <= 1
    assert not square[mask == 0].any()
    ones = placement.dense(np.ones((h, w), np.int32))
    np.testing.assert_array_equal(ones, mask)
    assert 1 <= placement.shown[0] <= 32
    assert 1 <= placement.shown[1] <= 32
    if not augment:
        assert max(placement.shown) >= 31
        assert abs(placement.pad[0] * 2 + placement.shown[0] - 32) <= 1


@quick
@given(SIZES, SIZES, st.integers(0, 999), st.booleans())
def test_boxes_go_with_the_picture_and_back(h: int, w: int, seed: int, augment: bool) -> None:
    rng = np.random.default_rng(seed)
    placement = random_placement(h, w, 32, rng) if augment else fit(h, w, 32)
    corners = np.sort(rng.random((5, 2, 2)), axis=1) * [h, w]
    boxes = corners.reshape(5, 4).astype(np.float32)
    moved, kept = placement.boxes(boxes)
    assert len(moved) == kept.sum()
    assert ((moved >= 0) & (moved <= 32)).all()
    back = undo_boxes(moved, placement.info)
    inside = ((moved > 0) & (moved < 32)).all(axis=1)  # the others were clipped
    np.testing.assert_allclose(back[inside], boxes[kept][inside], atol=1e-3 * max(h, w))


@quick
@given(st.integers(4, 60), st.integers(4, 60))
def test_pictures_come_back_to_their_size(h: int, w: int) -> None:
    picture = np.zeros((h, w, 3), np.float32)
    picture[: h // 2] = 1
    placement = fit(h, w, 64)
    back = undo_image(placement.image(picture), placement.info)
    assert back.shape == (h, w, 3)
    assert np.abs(back - picture).mean() < 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit(20_000, 20_000, 384), "20000x20000 pixels"),
        (lambda: fit(0, 4, 384), "0x4"),
        (lambda: fit(10, 10, 32).boxes(np.array([[0, 0, 20, 5]])), "box 0"),
        (lambda: fit(10, 10, 32).boxes(np.array([[0, 0, 5, 5], [5, 5, 2, 9]])), "box 1"),
        (lambda: fit(10, 10, 32).boxes(np.array([[0, np.nan, 5, 5]])), "box 0"),
        (lambda: fit(10, 10, 32).image(np.zeros((9, 10, 3))), "resize it"),
        (lambda: resize(np.zeros((2, 2, 1)), (2, 2), "box"), "unknown resize method"),
        (lambda: resize(np.zeros((2, 2, 1)), (0, 2)), "an edge is empty"),
        (lambda: undo_image(np.zeros((8, 8, 3)), np.array([0, 0, 1, 9, 9, 0.1, 0, 1, 0, 9, 9])), "a crop"),
        (lambda: to_patches(np.zeros((5, 4, 1)), 4), "does not divide"),
        (lambda: patch_count(0, 9), "0 of 9"),
        (lambda: patch_count(1.5, 9), "fraction up to 1.0"),
        (lambda: choose_patches(np.ones(4), 2, None), "pass a generator"),
        (lambda: frame_times(0.0, 5, None), "must be positive"),
        (lambda: sound_segments(np.zeros(2), 16000, 5), "cannot be cut"),
        (lambda: trim_black_bars(np.zeros((2, 3, 3))), "must be uint8"),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(MioError, match=message):
        call()


def test_thin_and_tiny_pictures_are_shown() -> None:
    for shape in ((1, 1), (1, 20_000), (20_000, 1)):
        placement = fit(*shape, 384)
        assert placement.mask.any()
        assert placement.image(np.ones((*shape, 3), np.float32)).max() == 1.0
        random_placement(*shape, 384, np.random.default_rng(0)).image(np.ones((*shape, 3), np.float32))


@quick
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_patches_are_tiles(rows: int, columns: int, patch: int, channels: int) -> None:
    image = np.arange(2 * rows * columns * patch**2 * channels).reshape(2, rows * patch, columns * patch, channels)
    patches = to_patches(image, patch)
    for i in range(rows):
        for j in range(columns):
            tile = image[1, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch].reshape(-1)
            np.testing.assert_array_equal(patches[1, i * columns + j], tile)
    mask = np.arange(rows * columns * patch**2).reshape(rows * patch, columns * patch)
    at = patch // 2
    np.testing.assert_array_equal(patch_mask(mask, patch), mask[at::patch, at::patch].reshape(-1))


@quick
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0.05, 1), st.integers(0, 99))
def test_valid_patches_come_first(mask: list[bool], share: float, seed: int) -> None:
    row = np.asarray(mask, np.int32)
    count = max(1, int(share * len(row)))
    ids = choose_patches(row, count, np.random.default_rng(seed))
    assert len(set(ids.tolist())) == count
    assert row[ids].sum() == min(count, row.sum())
    if count == len(row):
        assert ids.tolist() == list(range(count))


def test_frames_and_bars() -> None:
    np.testing.assert_allclose(frame_times(10.0, 5, None), [1, 3, 5, 7, 9])
    drawn = frame_times(10.0, 5, np.random.default_rng(0))
    assert ((drawn >= np.arange(5) * 2) & (drawn < np.arange(1, 6) * 2)).all()
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    frames[0, 4:16, 2:29] = 200
    assert trim_black_bars(frames).shape == (2, 12, 27, 3)
    assert trim_black_bars(np.zeros((1, 20, 30, 3), np.uint8)).shape == (1, 8, 12, 3)  # 30 % on each side
    frames[1] = 15
    assert trim_black_bars(frames).shape == (2, 12, 27, 3)
    parts = sound_segments(np.arange(11), 16000, 3)
    assert [len(p) for p in parts] == [3, 4, 4]
    assert np.concatenate(parts).tolist() == list(range(11))
