"""Metric functions by hand: dense maps, distances of feature sets, run-length masks, captions, detection."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.evaluate import captions, dense, detection, distances
from mio_jax.evaluate.functions import FUNCTIONS, function
from mio_jax.evaluate.rle import decode_mask, encode_mask
from mio_tokenizers.base import Audio

RNG = np.random.default_rng(0)


def test_functions_take_targets_first_as_seqio_calls_them() -> None:
    assert function("exact_match")([["Cat", "kitten"], ["dog"]], [" cat", "cow"]) == {"exact_match": 0.5}
    ten = ["2"] * 3 + ["3"] * 7
    assert function("vqa")([ten], ["two"])["vqa"] == pytest.approx(
        0.9
    )  # leaving one out: 7 of 10 times 3/3, 3 times 2/3
    assert function("vqa")([["a red one"]], ["red one"]) == {"vqa": 1.0}
    assert function("refexp")([[0, 0, 10, 10]], [[[0, 0, 10, 6]]]) == {"refexp": 1.0}
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    halves = [mask & (np.arange(4) < 2), mask & (np.arange(4) >= 2)]
    assert function("mask_iou")([mask, mask], [halves, []]) == {"mask_iou": 0.5}
    assert function("grit_refexp")([[0, 0, 10, 10]], [[]]) == {"grit/refexp": 0.0}
    for name in FUNCTIONS.keys() - {"pictures", "sounds"}:
        with pytest.raises(MioError):
            function(name)([], [])
    with pytest.raises(MioError, match="did you mean 'captions'"):
        function("caption")


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    for line in filter(None, code.splitlines()):
        if line.startswith("from"):
            exec(line, names)
        else:
            assert all(0.7 < value <= 1 for value in eval(line, names).values())
    for name in FUNCTIONS:
        assert f"`{name}`" in page or (name.startswith("grit_") and "`grit_*`" in page), name


def test_depth_errors() -> None:
    true = np.asarray([[1.0, 2.0], [4.0, 0.0]])
    assert dense.depth_errors(true, true)["rmse"] == 0.0
    twice = dense.depth_errors(2 * true, true)
    assert twice["rmse"] == pytest.approx(np.sqrt((1 + 4 + 16) / 3))  # the pixel without a depth does not count
    assert twice["abs_rel"] == pytest.approx(1.0)
    assert twice["log10"] == pytest.approx(np.log10(2))
    assert (twice["delta1"], twice["delta3"]) == (0.0, 0.0)
    assert dense.depth_errors(1.2 * true, true)["delta1"] == 1.0
    for scaling in ("median", "least_squares"):
        assert dense.depth_errors(2 * true, true, scaling=scaling)["rmse"] == pytest.approx(0, abs=1e-12)
    assert dense.depth_metrics([true, true], [true, 2 * true])["abs_rel"] == pytest.approx(0.5)
    with pytest.raises(MioError, match="no pixel"):
        dense.depth_errors(true, 0 * true)
    with pytest.raises(MioError, match="bring them to the true size"):
        dense.depth_errors(true[:1], true)


def test_angles_of_normals() -> None:
    up = np.zeros((4, 4, 3), np.uint8) + np.asarray([122, 122, 245], np.uint8)
    tilted = np.zeros((4, 4, 3), np.uint8) + np.asarray([245, 122, 245], np.uint8)
    same = dense.normal_metrics([up], [up])
    assert same["mean_angle"] == pytest.approx(0, abs=1e-4)
    apart = dense.normal_metrics([up, up], [tilted, up])
    assert apart["mean_angle"] == pytest.approx(22.5, abs=0.2)
    assert (apart["within_11.25"], apart["within_30"]) == (0.5, 0.5)
    with pytest.raises(MioError, match="no pixel"):
        dense.normal_metrics([np.zeros((4, 4, 3), np.uint8)], [up])


def test_one_confusion_matrix_for_the_whole_set() -> None:
    one, two = np.asarray([[0, 0], [1, 255]]), np.asarray([[1, 1], [1, 1]])
    # class 0: 1 right of 2 true and 1 said; class 1: 1 + 4 right, 1 said too often
    found = dense.class_metrics([one, two], [np.asarray([[0, 1], [1, 0]]), two])
    assert found["miou"] == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert found["pixel_accuracy"] == pytest.approx(6 / 7)
    with pytest.raises(MioError, match="no pixel"):
        dense.class_metrics([np.full((2, 2), 255)], [two])


def test_frechet_distance_of_known_gaussians() -> None:
    a = RNG.normal(size=(4000, 3))
    assert distances.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert distances.frechet_distance(a, a + np.asarray([3, 0, 0])) == pytest.approx(9, rel=1e-9)
    # the same mean, covariances S and 4 S: tr(S + 4 S - 2 * 2 S) = tr S
    mean = a.mean(0)
    trace = np.trace(np.cov(a, rowvar=False))
    assert distances.frechet_distance(a, mean + 2 * (a - mean)) == pytest.approx(trace, rel=1e-9)
    b = RNG.normal(size=(900, 3)) @ RNG.normal(size=(3, 3))
    assert distances.frechet_distance(a, b) == pytest.approx(distances.frechet_distance(b, a), rel=1e-9)
    with pytest.raises(MioError, match="2 or more"):
        distances.frechet_distance(a[:1], b)
    with pytest.raises(MioError, match="NaN"):
        distances.frechet_distance(a * np.nan, b)


def test_scores_of_probabilities() -> None:
    sure = np.eye(4)
    assert distances.inception_score(sure) == pytest.approx(4, rel=1e-6)
    assert distances.inception_score(np.full((4, 4), 0.25)) == pytest.approx(1)
    assert distances.paired_divergence(sure, sure) == pytest.approx(0, abs=1e-9)
    assert distances.paired_divergence(sure, np.full((4, 4), 0.25)) == pytest.approx(np.log(4), rel=1e-6)


def test_networks_of_the_users() -> None:
    pictures = RNG.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    given = {
        "fid": lambda x: x.mean((1, 2)) / 255,
        "inception": lambda x: np.full((len(x), 5), 0.2),
        "clip": lambda x, texts: np.asarray([0.3 if text == "a" else -1.0 for text in texts]),
    }
    targets = [(picture, "a" if i < 3 else "b") for i, picture in enumerate(pictures)]
    scores = distances.picture_metrics(given)(targets, list(pictures))
    assert scores["fid"] == pytest.approx(0, abs=1e-9)
    assert scores["inception_score"] == pytest.approx(1)
    assert scores["clip_score"] == pytest.approx(15)  # cosines below 0 count as 0
    sounds = [Audio(RNG.normal(size=50).astype(np.float32), 16000) for _ in range(4)]
    hear = {
        "fad": lambda some: np.stack([[s.samples.mean(), s.samples.std()] for s in some]),
        "audio_classes": lambda some: np.full((len(some), 3), 1 / 3),
    }
    heard = distances.sound_metrics(hear)(sounds, sounds)
    assert heard == pytest.approx({"fad": 0, "audio_inception_score": 1, "audio_kl": 0}, abs=1e-9)
    with pytest.raises(MioError, match=r"FID needs a network that is not here: give --extractor fid=MODULE:FUNCTION"):
        function("pictures")
    with pytest.raises(MioError, match=r"FAD needs a network that is not here: give --extractor fad="):
        function("sounds")
    with pytest.raises(MioError, match=r"an extractor gave \[3\] for 1 examples"):
        distances.picture_metrics({"fid": lambda x: np.zeros(3)})(targets, list(pictures))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_masks_come_back(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    stored = encode_mask(mask)
    assert np.array_equal(decode_mask(stored), mask)


def test_masks_as_coco_writes_them() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:6] = True
    stored = encode_mask(mask)
    assert stored == {"size": [5, 7], "counts": ";32000004"}  # as pycocotools 2.0.11 writes it
    assert np.array_equal(decode_mask({"size": [5, 7], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 6]}), mask)
    pycoco = pytest.importorskip("pycocotools.mask")
    theirs = pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert stored["counts"] == theirs["counts"].decode()
    with pytest.raises(MioError, match="runs make up 3 pixels"):
        decode_mask({"size": [2, 2], "counts": [1, 2]})
    with pytest.raises(MioError, match="no run-length mask"):
        decode_mask({"counts": "x"})


def test_captions_by_the_package() -> None:
    pytest.importorskip("pycocoevalcap")
    truth = [["a cat sits on the mat", "the cat is on a mat"], ["two dogs run", "dogs are running in a field"]]
    perfect = captions.caption_metrics(truth, [some[0] for some in truth])
    crossed = captions.caption_metrics(truth, [truth[1][0], truth[0][0]])
    assert perfect["bleu1"] == pytest.approx(1.0)
    assert perfect["rouge_l"] == pytest.approx(1.0)
    assert perfect["cider"] > 2 > 0.1 > crossed["cider"]


def test_captions_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(MioError, match=r"pip install 'mio_jax\[eval\]'"):
        captions.caption_metrics([["a"], ["b"]], ["a", "b"])
    for targets, said, message in (
        ([["a"]], ["a"], "two or more"),
        ([["a"], []], ["a", "b"], "example 1 has no list"),
        ([["a"], "b"], ["a", "b"], "example 1 has no list"),
    ):
        with pytest.raises(MioError, match=message):
            captions.caption_metrics(targets, said)


def test_captions_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MioError, match="install a Java runtime"):
        captions.caption_metrics([["a"], ["b"]], ["a", "b"])


def found(*boxes: list[float], labels: str = "") -> dict[str, Any]:
    return {"boxes": [list(map(float, box)) for box in boxes], "labels": labels.split()}


def test_detection_by_the_package() -> None:
    pytest.importorskip("pycocotools")
    truth = [found([0, 0, 50, 50], [60, 60, 100, 100], labels="cat dog"), found([10, 10, 90, 90], labels="cat")]
    assert detection.detection_metrics(truth, truth)["ap"] == pytest.approx(1.0)
    none = detection.detection_metrics(truth, [found(), found()])
    assert none == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    near = [found([0, 0, 50, 40], [60, 60, 100, 100], labels="cat dog"), found([10, 10, 90, 90], labels="cat")]
    close = detection.detection_metrics(truth, near)
    assert close["ap50"] == pytest.approx(1.0)
    assert 0.5 < close["ap"] < 1.0
    other = detection.detection_metrics(truth, [found([0, 0, 9, 9], labels="zebra"), *truth[1:]])
    assert 0 < other["ap"] < 1


def test_detection_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MioError, match=r"pip install 'mio_jax\[eval\]'"):
        detection.detection_metrics([found([0, 0, 1, 1], labels="cat")], [found()])
