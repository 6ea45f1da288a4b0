"""The GRIT metrics against the published evaluation's scores on random cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.evaluate.answers import normalise_answer
from mio_jax.evaluate.boxes import localization
from mio_jax.evaluate.keypoints import keypoint_score
from mio_jax.evaluate.masks import segmentation
from mio_jax.evaluate.normals import surface_normals

pytestmark = pytest.mark.golden_row("unified-io-2", "metrics", files=["metrics.json"])


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads((golden("unified-io-2") / "metrics.json").read_text(encoding="utf-8"))


def painted(boxes: list[list[int]], size: list[int]) -> list[np.ndarray]:
    masks = [np.zeros(size, bool) for _ in boxes]
    for mask, (y, x, h, w) in zip(masks, boxes, strict=True):
        mask[y : y + h, x : x + w] = True
    return masks


SCORES: dict[str, Callable[[dict[str, Any]], float]] = {
    "localization": lambda case: localization(case["pred"], case["gt"]),
    "keypoint": lambda case: keypoint_score(case["pred"], case["gt"]),
    "segmentation_boundary_iou": lambda case: segmentation(
        painted(case["pred_yxhw"], case["hw"]), painted(case["gt_yxhw"], case["hw"]), stuff=case["stuff"]
    ),
    "surface_normal_no_rotation": lambda case: surface_normals(
        np.asarray(case["pred"], np.uint8), np.asarray(case["gt"], np.uint8), np.asarray(case["valid"]), rotation="none"
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores(fixture: dict[str, Any], name: str) -> None:
    cases = fixture[name] if isinstance(fixture[name], list) else [fixture[name]]
    assert cases
    for number, case in enumerate(cases):
        assert SCORES[name](case) == pytest.approx(case["score"], rel=1e-7), f"{name} {number}"


def test_answers(fixture: dict[str, Any]) -> None:
    assert [normalise_answer(case["text"]) for case in fixture["vqa_preprocess"]] == [
        case["out"] for case in fixture["vqa_preprocess"]
    ]


def test_every_part_is_answered_for(fixture: dict[str, Any]) -> None:
    assert set(fixture) == {*SCORES, "vqa_preprocess"}
