"""The GRIT suite: each task's metric as SeqIO calls it, (targets, predictions) -> {name: mean}, and the overall score.

Numbers carry their protocol: the rules of GRIT's published evaluation, where they differ from COCO's or VQA's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.evaluate import answers, boxes, keypoints, masks, normals

# task -> score of (prediction, target) of one example.
SCORES: dict[str, Callable[[Any, Any], float]] = {
    "categorization": lambda prediction, target: float(prediction == target),
    "localization": boxes.localization,
    "vqa": answers.vqa_score,  # target: all annotators' answers
    "refexp": boxes.refexp,
    "segmentation": lambda prediction, target: masks.segmentation(prediction, target["masks"], stuff=target["stuff"]),
    "keypoint": keypoints.keypoint_score,
    "normal": normals.surface_normals,
}
DISTRIBUTIONS = ("same", "new")  # sources that training had, and those it had not


def metric(task: str) -> Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]:
    """SeqIO's metric function of a task. Raises MioError naming the tasks that there are."""
    if task not in SCORES:
        raise MioError(f"GRIT has no task {task!r}; it has {', '.join(SCORES)}")

    def run(targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        if len(targets) != len(predictions) or not len(targets):
            raise MioError(f"GRIT {task}: {len(predictions)} predictions for {len(targets)} targets")
        scores = [SCORES[task](p, t) for p, t in zip(predictions, targets, strict=True)]
        return {f"grit/{task}": float(np.mean(scores))}

    return run


def overall(scores: Mapping[tuple[str, str], float]) -> float:
    """The mean over all tasks and both kinds of source, {(task, "same" or "new"): score}; one that is missing counts 0.

    Raises MioError on a task or a kind that GRIT has not.
    """
    places = [(task, kind) for task in SCORES for kind in DISTRIBUTIONS]
    unknown = set(scores) - set(places)
    if unknown:
        raise MioError(f"GRIT has no {sorted(unknown)[0]}; tasks: {', '.join(SCORES)}; sources: same, new")
    return float(np.mean([scores.get(place, 0.0) for place in places]))
