"""Picture metrics and probes on pictures drawn here."""

from __future__ import annotations

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.evaluate import pictures, probes

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230)}


def draw(shape: str, colour: str, rng: np.random.Generator) -> np.ndarray:
    """A shape of random size and place on white, with some noise."""
    y, x = np.mgrid[:32, :32]
    size, cy, cx = rng.integers(6, 11), rng.integers(11, 21), rng.integers(11, 21)
    inside = {
        "circle": (y - cy) ** 2 + (x - cx) ** 2 <= size**2,
        "square": (abs(y - cy) <= size) & (abs(x - cx) <= size),
        "triangle": (abs(x - cx) * 2 <= y - cy + size) & (y <= cy + size),
    }[shape]
    picture = np.where(inside[..., None], COLOURS[colour], 255).astype(np.float64)
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, list[str], list[str]]:
    rng = np.random.default_rng(0)
    shapes = [["circle", "square", "triangle"][i % 3] for i in range(180)]
    colours = [list(COLOURS)[i // 3 % 3] for i in range(180)]
    return np.stack([draw(s, c, rng) for s, c in zip(shapes, colours, strict=True)]), shapes, colours


def test_iou_by_hand() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert pictures.iou(a, b) == 1
    a[:2] = True
    assert pictures.iou(a, b) == 0
    b[1:3] = True
    assert pictures.iou(a, b) == pytest.approx(4 / 12)


def test_resize_mask() -> None:
    half = np.asarray([[True, True], [False, False]])
    np.testing.assert_array_equal(pictures.resize_mask(half, 4, 2), [[True] * 2] * 2 + [[False] * 2] * 2)
    np.testing.assert_array_equal(pictures.resize_mask(np.eye(4, dtype=bool), 2, 2), np.eye(2, dtype=bool))


def test_foreground_and_colour(drawn: tuple[np.ndarray, list[str], list[str]]) -> None:
    seen, _, colours = drawn
    foreground = pictures.foreground_of(seen)
    assert 0.05 < foreground.mean() < 0.5
    assert not pictures.foreground_of(np.full((1, 8, 8, 3), 250, np.uint8)).any()
    found = pictures.main_colour(seen)
    assert np.abs(found[0] - np.asarray(COLOURS[colours[0]]) / 255).max() < 0.05
    # Nothing drawn: the colour of everything.
    np.testing.assert_allclose(pictures.main_colour(np.full((1, 8, 8, 3), 51, np.uint8)), 0.2)


def test_probes_read_shape_and_colour_of_unseen_pictures(drawn: tuple[np.ndarray, list[str], list[str]]) -> None:
    seen, shapes, colours = drawn
    train, test = slice(0, 120), slice(120, None)
    colour = pictures.ColourProbe.fit(seen[train], colours[train])
    assert probes.accuracy(colour(seen[test]), colours[test]).mean() == 1
    features = pictures.outline(seen)
    for kind in (probes.RidgeProbe, probes.NeighbourProbe):
        probe = kind.fit(features[train], shapes[train])
        assert probes.accuracy(probe(features[test]), shapes[test]).mean() > 0.9
        assert probes.accuracy(probe(features[test]), shapes[test][1:] + shapes[test][:1]).mean() < 0.2


def test_probes_need_two_labels() -> None:
    with pytest.raises(MioError, match="two different labels"):
        probes.RidgeProbe.fit(np.ones((3, 2)), ["a", "a", "a"])


def test_rare_labels_are_found_too() -> None:
    rng = np.random.default_rng(0)
    labels = ["common"] * 95 + ["rare"] * 5
    features = rng.normal(0, 0.3, (100, 2)) + np.asarray([[label == "rare", 0.0] for label in labels])
    probe = probes.RidgeProbe.fit(features, labels, penalty=1.0)
    assert probe(np.asarray([[1.0, 0.0], [0.0, 0.0]])) == ["rare", "common"]


def test_palette_holds_shares_of_colours() -> None:
    half = np.zeros((1, 32, 32, 3), np.uint8)
    half[:, :16] = 255
    shares = pictures.palette(np.concatenate([half, half[:, ::-1]])) ** 2
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_allclose(shares[0], shares[1], atol=0.15)
    assert shares[0, 0] > 0.3  # black
    assert shares[0, -1] > 0.3  # white


def test_feature_space_brings_like_to_like(drawn: tuple[np.ndarray, list[str], list[str]]) -> None:
    seen, _, colours = drawn
    space = pictures.FeatureSpace.fit(seen)
    features = space(seen)
    assert np.isfinite(features).all()
    rng = np.random.default_rng(1)
    blurred = np.clip(pictures.smooth(seen) + rng.normal(0, 5, seen.shape), 0, 255).astype(np.uint8)
    distance = np.linalg.norm(space(blurred)[:, None] - features[None], axis=-1)
    assert (distance.argmin(1) == np.arange(len(seen))).mean() > 0.95
    same = np.asarray([[a == b for b in colours] for a in colours])
    np.fill_diagonal(distance, np.nan)
    assert np.nanmean(distance[same]) < np.nanmean(distance[~same])
