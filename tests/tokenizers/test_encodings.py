"""Structured values as text: what is written is read back, and what a model may write instead never raises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mio_jax.errors import MioError
from mio_tokenizers.structured import KEYPOINTS, actions, cuboid, extra_ids, keypoints, labelled
from mio_tokenizers.structured.location import LocationTokenizer
from mio_tokenizers.structured.ranges import RANGES, from_unit, to_unit

LEVEL = 1 / 999
UNIT = st.floats(0, 1, width=32)
LABELS = st.text("abc de", min_size=1).map(str.split).map(" ".join).filter(bool)
quick = settings(max_examples=40, deadline=None)


def boxes(count: int) -> st.SearchStrategy[np.ndarray]:
    raw = arrays(np.float32, (count, 2, 2), elements=UNIT)
    return raw.map(lambda a: np.sort(a, axis=1).reshape(count, 4))


@quick
@given(arrays(np.float32, 5, elements=UNIT))
def test_values(values: np.ndarray) -> None:
    text = extra_ids.write_values(values)
    (read,), dropped = extra_ids.read_values(text, 5)
    assert dropped == 0
    assert (read <= values + 1e-6).all()  # levels are cut, not rounded
    np.testing.assert_allclose(read, values, atol=LEVEL + 1e-6)
    assert extra_ids.write_values(read) == text


def test_every_level_comes_back_as_it_is() -> None:
    tokenizer = LocationTokenizer(1000, "value", ends=True)
    levels = np.arange(1000, dtype=np.int32)
    np.testing.assert_array_equal(tokenizer.encode(tokenizer.decode(levels)), levels)
    ids = 999 - levels + 32000
    np.testing.assert_array_equal(extra_ids.ids_to_values(ids, 32000), tokenizer.decode(levels)[:, 0])
    assert tokenizer.fingerprint != LocationTokenizer(1000, "value").fingerprint
    assert [extra_ids.value_of(200), extra_ids.value_of(1199)] == [0.0, 1.0]


@quick
@given(st.integers(1, 4).flatmap(lambda n: st.tuples(boxes(n), st.lists(LABELS, min_size=n, max_size=n))), st.data())
def test_labelled_boxes(case: tuple[np.ndarray, list[str]], data: st.DataObject) -> None:
    made, labels = case
    seed = data.draw(st.none() | st.integers(0, 9))
    text = labelled.write_labelled_boxes(made, labels, None if seed is None else np.random.default_rng(seed))
    (read, names), dropped = labelled.read_labelled_boxes(text)
    assert dropped == 0
    order = sorted(zip(map(tuple, np.trunc(made * np.float32(999))), labels, strict=True))
    assert sorted(zip(map(tuple, np.rint(read * 999)), names, strict=True)) == order
    assert seed is not None or names == labels


@quick
@given(boxes(3))
def test_tracks(made: np.ndarray) -> None:
    text = labelled.write_track(made, "a red car")
    (found, labels), dropped = labelled.read_track(text)
    assert (list(found), labels, dropped) == ([1, 2, 3], ["a red car"] * 3, 0)
    np.testing.assert_allclose(np.stack(list(found.values())), made, atol=LEVEL + 1e-6)


@quick
@given(arrays(np.float32, (17, 2), elements=UNIT), arrays(bool, 17))
def test_poses(points: np.ndarray, visible: np.ndarray) -> None:
    text = keypoints.write_keypoints(keypoints.Pose(points, visible))
    pose, dropped = keypoints.read_keypoints(text)
    assert dropped == 0
    np.testing.assert_array_equal(pose.visible, visible)
    np.testing.assert_allclose(pose.points[visible], points[visible], atol=LEVEL + 1e-6)
    if visible.any():
        np.testing.assert_allclose(
            pose.points[~visible], np.tile(pose.points[visible].mean(0), (17 - visible.sum(), 1))
        )


@quick
@given(st.floats(-math.pi, math.pi), st.floats(-math.pi, math.pi), st.floats(-0.7, 0.7))
def test_camera_moves(theta: float, phi: float, radius: float) -> None:
    (move,), dropped = actions.read_camera(actions.write_camera(actions.CameraMove(theta, phi, radius)))
    assert dropped == 0
    assert move.theta == pytest.approx(theta, abs=2 * math.pi * LEVEL)
    assert math.cos(move.phi - phi) == pytest.approx(1, abs=1e-4)
    assert move.radius == pytest.approx(radius, abs=1.4 * LEVEL)


@quick
@given(st.lists(st.tuples(UNIT, st.floats(-5, 4), st.floats(0.1, 9)), min_size=1, max_size=7))
def test_actions_of_any_robot(raw: list[tuple[float, float, float]]) -> None:
    low = [a for _, a, _ in raw]
    high = [a + width for _, a, width in raw]
    values = [a + share * width for share, a, width in raw]
    clipped = np.clip(values, low, high)
    text = actions.write_action(clipped, low, high)
    (read,), dropped = actions.read_action(text, low, high)
    assert dropped == 0
    assert (np.abs(read - clipped) <= (LEVEL + 1e-6) * np.subtract(high, low)).all()
    assert actions.read_action(f"{text} <extra_id_300>", low, high).dropped == (len(raw) > 1)


@quick
@given(st.lists(st.tuples(st.booleans(), UNIT, UNIT, st.floats(0, 359), UNIT, UNIT, st.floats(0, 359)), max_size=3))
def test_robot_steps(raw: list[Any]) -> None:
    def place(x: float, y: float) -> tuple[float, float]:
        return (0.25 + 0.5 * x, -0.5 + y)

    steps = [actions.RobotStep("push" if p else "pick", place(a, b), c, place(d, e), f) for p, a, b, c, d, e, f in raw]
    text = actions.write_robot_steps(steps)
    read, dropped = actions.read_robot_steps(text)
    assert (dropped, [s.kind for s in read]) == (0, [s.kind for s in steps])
    assert [s.end_effector for s in read] == [int(s.kind == "push") for s in steps]
    for ours, true in zip(read, steps, strict=True):
        np.testing.assert_allclose([*ours.start, *ours.end], [*true.start, *true.end], atol=LEVEL + 1e-6)
        assert (ours.start_turn, ours.end_turn) == pytest.approx((true.start_turn, true.end_turn), abs=360 * LEVEL)


@quick
@given(st.lists(st.sampled_from(actions.NAVIGATION)), arrays(np.float64, 3, elements=st.floats(-50, 50)))
def test_navigation(words: list[str], place: np.ndarray) -> None:
    assert actions.read_navigation(actions.write_navigation(words)) == (words, 0)
    (read,), dropped = actions.read_state(actions.write_state(place))
    assert dropped == 0
    np.testing.assert_allclose(read, place, atol=100 * LEVEL + 1e-5)


@quick
@given(st.floats(-0.5, 0.5), st.floats(-0.4, 0.4), st.floats(1, 60), arrays(np.float64, 4, elements=st.floats(-1, 1)))
def test_cuboids(x: float, y: float, z: float, turn: np.ndarray) -> None:
    camera = cuboid.Camera(600.0, (320.0, 240.0), 480.0)
    q = turn / np.linalg.norm(turn) if np.linalg.norm(turn) > 0.1 else np.array([1.0, 0, 0, 0])
    w, a, b, c = q
    rotation = np.array([
        [1 - 2 * (b * b + c * c), 2 * (a * b - c * w), 2 * (a * c + b * w)],
        [2 * (a * b + c * w), 1 - 2 * (a * a + c * c), 2 * (b * c - a * w)],
        [2 * (a * c - b * w), 2 * (b * c + a * w), 1 - 2 * (a * a + b * b)],
    ])  # fmt: skip
    true = cuboid.Cuboid(np.array([x * z, y * z, z]), np.array([0.5, 1.7, 4.2]), rotation)
    u, v = 320 + 600 * x, 240 + 600 * y
    box = (v - 40, u - 30, v + 50, u + 70)
    text = cuboid.write_cuboid(true, box, camera)
    assert len(text.split()) == cuboid.TOKENS
    (read,), dropped = cuboid.read_cuboids(text, box, camera)
    assert dropped == 0
    np.testing.assert_allclose(read.centre, true.centre, atol=0.2 + 0.005 * z)  # a level of depth is a tenth of a metre
    np.testing.assert_allclose(read.size, true.size, rtol=0.02, atol=0.01)
    np.testing.assert_allclose(read.rotation, rotation, atol=0.02)
    np.testing.assert_allclose(read.rotation.T @ read.rotation, np.eye(3), atol=1e-9)


READERS: tuple[Callable[[str], Any], ...] = (
    extra_ids.read_boxes,
    extra_ids.read_points,
    labelled.read_labelled_boxes,
    labelled.read_track,
    keypoints.read_keypoints,
    actions.read_camera,
    actions.read_robot_steps,
    actions.read_navigation,
    actions.read_state,
    lambda text: cuboid.read_cuboids(text, (0, 0, 9, 9), cuboid.Camera(500, (5, 5), 10)),
)
PIECES = ["<extra_id_300>", "<extra_id_900>", "<extra_id_1300>", "<extra_id_5>", "<extra_id_20", "nose", "MISSING", " "]
PIECES += ["(", ")", "0:", "pick from", "and place to", "<image_history_2>", "<image_history_9>", "cat", ",", "stop"]


@quick
@given(st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join) | st.text())
def test_nothing_a_model_writes_raises(text: str) -> None:
    for read in READERS:
        assert read(text).dropped >= 0


def test_malformed_pieces_are_dropped_and_counted() -> None:
    a, b = "<extra_id_300>", "<extra_id_900>"
    (found, labels), dropped = labelled.read_labelled_boxes(
        f"well {a} {a} {b} {b} cat {a} {b} {b} dog {b} {b} {a} {a} x"
    )
    assert (len(found), labels, dropped) == (1, ["cat"], 3)  # words before, three tokens, crossed corners
    assert labelled.read_labelled_boxes(f"{a} {a} {b} {b}").dropped == 1  # no label
    read, dropped = extra_ids.read_boxes(f"{a} {a} {b} {b} {a} and {b} {b} {a} {a}")
    assert (read.shape, dropped) == ((1, 4), 2)
    found, dropped = extra_ids.boxes_in_ids([5, 100, 100, 90, 90, 100, 7], 90)
    np.testing.assert_allclose(found, [[989 / 999, 989 / 999, 1, 1]], rtol=1e-6)
    assert dropped == 1
    pose, dropped = keypoints.read_keypoints(f"{a} {b} nose {a} {b} nose {a} tail MISSING left eye {b} {b} right eye")
    assert (dropped, pose.visible.sum()) == (2, 2)
    np.testing.assert_allclose(pose.points[KEYPOINTS.index("left eye")], pose.points[[0, 2]].mean(0))
    assert actions.read_camera(f"( {a} {a} {b} ) ( {a} {a} {b} {b} )")[1] == 1
    assert actions.read_robot_steps(f"0: pick from ( {a} {a} {b} ) and push to ( {a} {a} {b} )") == ([], 1)
    assert actions.read_navigation("move ahead, dance, STOP") == (["move ahead", "stop"], 1)
    (frames, _), dropped = labelled.read_track(f"<image_history_1> {a} {a} {b} {b} car <image_history_2> {a} car")
    assert (list(frames), dropped) == ([1], 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: extra_ids.write_values([0.2, 1.2]), "coordinate 1.2"),
        (lambda: extra_ids.write_box([0.5, 0, 0.2, 1]), "must not be below"),
        (lambda: extra_ids.write_point([math.nan, 0]), "nan"),
        (lambda: extra_ids.value_of(199), "no location token"),
        (lambda: extra_ids.ids_to_values([5], 32000), "id 5 is no location token"),
        (lambda: labelled.write_labelled_boxes(np.zeros((2, 4)), ["a"]), "2 boxes with 1 labels"),
        (lambda: labelled.write_labelled_boxes(np.zeros((1, 4)), [" "]), "needs words"),
        (lambda: labelled.write_labelled_boxes(np.zeros((1, 4)), ["<extra_id_300>"]), "no tokens"),
        (lambda: labelled.write_track(np.zeros((9, 4)), "a"), "1 to 8"),
        (lambda: keypoints.write_keypoints(keypoints.Pose(np.zeros((3, 2)), np.ones(3, bool))), r"points \[17, 2\]"),
        (lambda: actions.write_camera(actions.CameraMove(0, 0, 0.8)), "camera radius 0.8 is outside"),
        (lambda: actions.write_robot_steps([actions.RobotStep("pick", (9, 0), 0, (0.5, 0), 0)]), "off the table"),
        (lambda: actions.write_robot_steps([actions.RobotStep("lift", (0.5, 0), 0, (0.5, 0), 0)]), "pick or push"),
        (lambda: actions.write_action([0.2], [-0.1], [0.1]), r"\[0.2\] is off its ranges"),
        (lambda: actions.write_action([math.nan], [-0.1], [0.1]), "off its ranges"),
        (lambda: actions.write_action([0.2, 0.1], [-0.1], [0.1]), "needs a range"),
        (lambda: actions.write_navigation(["fly"]), "unknown navigation action 'fly'"),
        (lambda: actions.write_state([0, 0, math.nan]), "position nan is outside"),
    ],
)
def test_what_cannot_be_written_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(MioError, match=message):
        call()


@pytest.mark.parametrize("kind", RANGES)
def test_ranges_invert(kind: str) -> None:
    low, high = RANGES[kind]
    values = np.linspace(low, high, 7)
    np.testing.assert_allclose(from_unit(to_unit(values, kind), kind), values, atol=1e-12)
    for outside in (low - 0.01, high + 0.01):
        with pytest.raises(MioError, match=kind):
            to_unit(outside, kind)
