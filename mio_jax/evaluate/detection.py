"""Detection by COCO's own evaluation (`mio_jax[eval]`): average precision over overlaps of 0.50 to 0.95."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError

PROTOCOL = "pycocotools, boxes; scores fall in the order of the answer, for the model gives none"


def detection_metrics(
    targets: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """SeqIO metric function of {"boxes": [n, 4] of (x1, y1, x2, y2) in pixels, "labels": [n]} -> ap, ap50, ap75.

    Predictions may have "scores" [n]; without them an earlier box counts as surer. A predicted label that no target
    has is left out, as COCO's evaluation knows no such category. Raises MioError without pycocotools.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MioError(f"detection is scored with pycocotools ({error}): pip install 'mio_jax[eval]'") from None
    names = sorted({label for one in targets for label in one["labels"]})
    if len(targets) != len(predictions) or not names:
        raise MioError(f"detection: {len(predictions)} predictions for {len(targets)} targets with {len(names)} labels")
    number = {name: i for i, name in enumerate(names, 1)}
    images = [{"id": i} for i in range(1, len(targets) + 1)]
    truth = [
        {"id": 0, "image_id": i, "category_id": number[label], "iscrowd": 0, "area": _area(box), "bbox": _xywh(box)}
        for i, one in enumerate(targets, 1)
        for box, label in zip(one["boxes"], one["labels"], strict=True)
    ]
    for i, one in enumerate(truth, 1):
        one["id"] = i
    found = [
        {"image_id": i, "category_id": number[label], "bbox": _xywh(box), "score": float(score)}
        for i, one in enumerate(predictions, 1)
        for box, label, score in zip(one["boxes"], one["labels"], _scores(one), strict=True)
        if label in number
    ]
    if not found:
        return {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truth, "categories": [{"id": n} for n in number.values()]}
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(("ap", "ap50", "ap75"), map(float, run.stats[:3]), strict=True))


def _xywh(box: Any) -> list[float]:
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]


def _area(box: Any) -> float:
    return float(np.prod(_xywh(box)[2:]))


def _scores(one: Mapping[str, Any]) -> np.ndarray:
    n = len(one["boxes"])
    return np.asarray(one.get("scores", np.linspace(1, 0, n, endpoint=False) if n else ()), np.float64)
