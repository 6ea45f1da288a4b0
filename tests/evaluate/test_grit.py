"""GRIT's metrics by hand: perfect, empty, partly right; and the properties that a rule of thumb would miss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.evaluate import answers, boxes, grit, keypoints, masks, normals
from mio_jax.evaluate.matching import assignment_score

BOX = np.array([[10.0, 10, 20, 30]])
RNG = np.random.default_rng(0)


def test_assignment() -> None:
    assert assignment_score(np.zeros((0, 0))) == 1.0
    assert assignment_score(np.zeros((0, 2))) == 0.0
    assert assignment_score(np.zeros((2, 0))) == 0.0
    assert assignment_score(np.eye(3)) == 1.0
    assert assignment_score(np.array([[1.0], [0.0]])) == 0.5  # a prediction too many
    assert assignment_score(np.array([[1.0, 0.0]])) == 0.5  # a true one missed
    # The greedy pair (0.9) would leave 0.0 for the other.
    assert assignment_score(np.array([[0.9, 0.8], [0.8, 0.0]])) == pytest.approx(0.8)


def test_boxes() -> None:
    assert boxes.localization(BOX, BOX) == pytest.approx(1, abs=1e-6)
    assert boxes.localization([], []) == 1.0
    assert boxes.refexp([], BOX[0]) == 0.0
    half = BOX.copy()
    half[0, 3] = 20
    assert boxes.refexp(half, BOX[0]) == 0.0  # exactly one half is not enough
    half[0, 3] = 20.1
    assert boxes.refexp(half, BOX[0]) == 1.0
    assert boxes.refexp(np.concatenate([BOX + 50, BOX]), BOX[0]) == 0.0  # the first one counts
    for bad in ([[0, 0, 1]], [[0, 0, np.nan, 1]]):
        with pytest.raises(MioError, match="finite numbers"):
            boxes.localization(np.array(bad), BOX)


def test_keypoints() -> None:
    pose = np.concatenate([RNG.random((17, 2)) * 100, np.full((17, 1), 2)], axis=1)
    assert keypoints.keypoint_score([pose], [pose]) == 1.0
    unseen = pose.copy()
    unseen[3] = [1e6, 1e6, 0]
    assert keypoints.keypoint_score([pose], [unseen]) == 1.0  # what the truth does not show does not count
    none = pose.copy()
    none[:, 2] = 0
    assert keypoints.keypoint_score([pose], [none]) == 0.0
    eyes, hips = pose.copy(), pose.copy()
    eyes[1, 0] += 5
    hips[11, 0] += 5
    similarity = keypoints.keypoint_similarity([eyes, hips], [pose])[:, 0]
    assert similarity[0] < similarity[1] < 1  # eyes are known more exactly than hips
    with pytest.raises(MioError, match="17 parts"):
        keypoints.keypoint_score(np.zeros((1, 50)), [pose])


def test_masks() -> None:
    square = np.zeros((50, 50), bool)
    square[10:40, 10:40] = True
    hollow = square.copy()
    hollow[20:30, 20:30] = False
    assert masks.segmentation([square], [square]) == 1.0
    assert masks.boundary(square).sum() == 4 * 29
    assert masks.boundary(np.ones((10, 10), bool)).sum() == 36  # the picture's edge is an edge
    assert 0.4 < masks.segmentation([hollow], [square]) < 0.9
    left, right = square.copy(), square.copy()
    left[:, 25:], right[:, :25] = False, False
    assert masks.segmentation([left, right], [square]) < 0.5
    assert masks.segmentation([left, right], [square], stuff=True) == 1.0
    assert masks.segmentation([square[::2, ::2]], [square]) > 0.6  # brought to the true size
    assert masks.segmentation([], []) == 1.0
    assert masks.segmentation([], [square], stuff=True) == 0.0
    with pytest.raises(MioError, match="must be bool"):
        masks.segmentation([square.astype(float)], [square])


def test_normals_are_compared_up_to_a_rotation() -> None:
    direction = RNG.normal(size=(12, 12, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    true, turned = (np.rint(d * 122.5 + 122.5).astype(np.uint8) for d in (direction, direction @ turn.T))
    everywhere = np.ones((12, 12), bool)
    assert normals.surface_normals(true, true, everywhere, rotation="none") == 1.0
    assert normals.surface_normals(turned, true, everywhere, rotation="none") < 0.5
    assert normals.surface_normals(turned, true, everywhere) == 1.0
    spoilt = turned.copy()
    spoilt[:4] = RNG.integers(0, 255, (4, 12, 3))
    share = normals.surface_normals(spoilt, true, everywhere, rotation="ransac")
    assert 8 / 12 <= share < 0.75
    np.testing.assert_allclose(normals.best_rotation(direction[0], direction[0] @ turn.T), turn, atol=1e-9)


def test_pixels_without_a_normal_do_not_count() -> None:
    flat = np.full((6, 8, 3), [122, 122, 245], np.uint8)
    flat[0], flat[1, :, :], flat[2, 0] = 0, 128, 201
    flat[3:, 6:] = [245, 122, 122]  # a jump of 90 degrees between columns 5 and 6
    valid = normals.valid_pixels(flat)
    assert not valid[:2].any()
    assert not valid[2, 0]
    assert not valid[3:, 5:7].any()
    assert valid[4:, :5].all()
    assert normals.surface_normals(flat, np.zeros_like(flat)) == 1.0
    with pytest.raises(MioError, match="resize"):
        normals.surface_normals(flat[:2], flat)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("didnt", "didn't"), ("couldnt've", "couldn't've"), ("couldn'tve", "couldn't've"), ("couldntve", "couldntve"),
        ("somebody'd", "somebodyd"), ("Im", "im"), ("yall'd've", "y'all'd've"), ("twas", "'twas"), ("U.S.A.", "usa"),
        ("3.5", "3.5"), ("x-y", "x y"), ("x - y", "x y"), ("ten", "10"), ("1,000 dogs!", "1000 dogs"), ("", ""),
        ("What?\nno", "what no"),
    ],
)  # fmt: skip
def test_answers_are_normalised(text: str, wanted: str) -> None:
    assert answers.normalise_answer(text) == wanted


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_answer_can_be_normalised(text: str) -> None:
    assert answers.vqa_score(text, [text]) == 1.0


@pytest.mark.parametrize(("same", "counted", "left_out"), [(1, 1 / 3, 0.3), (2, 2 / 3, 0.6), (3, 1, 0.9), (4, 1, 1.0)])
def test_agreement(same: int, counted: float, left_out: float) -> None:
    references = ["two"] * same + ["five"] * (10 - same)
    assert answers.vqa_score("2", references) == pytest.approx(counted)
    assert answers.leave_one_out_score("2", references) == pytest.approx(left_out)


def test_exact_match() -> None:
    assert answers.exact_match(" Playing Violin", ["singing", "playing violin"]) == 1.0
    assert answers.exact_match("violin", ["playing violin"]) == 0.0


EXAMPLES: dict[str, tuple[Any, Any, Any]] = {  # target, right, wrong
    "categorization": ("cat", "cat", "Cat"),
    "localization": (BOX, BOX, BOX + 100),
    "vqa": (["yes"] * 10, "Yes.", "no"),
    "refexp": (BOX[0], BOX, BOX + 100),
    "segmentation": ({"masks": [np.eye(9, dtype=bool)], "stuff": False}, [np.eye(9, dtype=bool)], []),
    "keypoint": (np.tile([5.0, 9, 2], 17) * np.arange(51) % 60, np.tile([5.0, 9, 2], 17) * np.arange(51) % 60, []),
    "normal": (
        np.full((4, 4, 3), [122, 122, 245], np.uint8), np.full((4, 4, 3), [122, 122, 245], np.uint8), None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", grit.SCORES)
def test_seqio_functions(task: str) -> None:
    target, right, wrong = EXAMPLES[task]
    run: Callable[..., dict[str, float]] = grit.metric(task)
    assert run([target, target], [right, right]) == {f"grit/{task}": pytest.approx(1, abs=1e-6)}
    if wrong is not None:
        assert run([target, target], [right, wrong]) == {f"grit/{task}": pytest.approx(0.5, abs=1e-6)}
    with pytest.raises(MioError, match="1 predictions for 2"):
        run([target, target], [right])


def test_overall() -> None:
    everything = {(task, kind): 0.7 for task in grit.SCORES for kind in grit.DISTRIBUTIONS}
    assert grit.overall(everything) == pytest.approx(0.7)
    del everything["vqa", "new"]
    assert grit.overall(everything) == pytest.approx(0.7 * 13 / 14)
    for call in (lambda: grit.overall({("dance", "same"): 1.0}), lambda: grit.metric("dance")):
        with pytest.raises(MioError, match="GRIT has no"):
            call()
