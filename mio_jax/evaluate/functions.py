"""Every metric function by name, SeqIO's way: (targets, predictions) -> {name: score}.

A metric that needs a package or a network says so in one line when it is asked for, and never gives another number.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mio_jax.errors import MioError
from mio_jax.evaluate import actions, answers, boxes, captions, dense, detection, distances, grit, words
from mio_jax.evaluate.pictures import iou, resize_mask
from mio_jax.evaluate.suites import MetricFn

Extractors = Mapping[str, Callable[..., Any]]


class Function(NamedTuple):
    """`make` takes the user's extractors; `about` says what is measured, `needs` what must be installed or given."""

    make: Callable[[Extractors], MetricFn]
    about: str
    needs: str = ""


def _mean(name: str, score: Callable[[Any, Any], float]) -> MetricFn:
    """The mean of a score of (prediction, target)."""

    def run(targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        if len(targets) != len(predictions) or not len(targets):
            raise MioError(f"{name}: {len(predictions)} predictions for {len(targets)} targets")
        return {name: float(np.mean([score(p, t) for p, t in zip(predictions, targets, strict=True)]))}

    return run


def _vqa(prediction: str, references: Sequence[str]) -> float:
    """The benchmark's leave-one-out accuracy where there are several annotators, else equality after normalisation."""
    score = answers.leave_one_out_score if len(references) > 1 else answers.vqa_score
    return score(prediction, references)


def _mask_iou(predicted: Sequence[np.ndarray], true: np.ndarray) -> float:
    """Overlap of all predicted masks together with the true one."""
    sized = [mask if mask.shape == true.shape else resize_mask(mask, *true.shape) for mask in predicted]
    return iou(np.logical_or.reduce([np.zeros_like(true), *sized]), true)


def _plain(metric: MetricFn) -> Callable[[Extractors], MetricFn]:
    return lambda extractors: metric


FUNCTIONS: dict[str, Function] = {
    "exact_match": Function(_plain(_mean("exact_match", answers.exact_match)), "equal to a reference, but for case"),
    "vqa": Function(_plain(_mean("vqa", _vqa)), "VQA accuracy, normalisation 2, leave-one-out"),
    "refexp": Function(_plain(_mean("refexp", boxes.refexp)), "first box, IoU > 0.5"),
    "captions": Function(captions.metric, "CIDEr-D, BLEU, ROUGE-L", "pip install 'mio_jax[eval]', and Java"),
    "detection": Function(_plain(detection.detection_metrics), "COCO's AP of boxes", "pip install 'mio_jax[eval]'"),
    "mask_iou": Function(_plain(_mean("mask_iou", _mask_iou)), "overlap of masks"),
    "depth": Function(_plain(dense.depth_metrics), "RMSE, AbsRel, log10, deltas; up to 10 m, no scaling"),
    "normals": Function(_plain(dense.normal_metrics), "angles between surface normals, no rotation"),
    "classes": Function(_plain(dense.class_metrics), "mIoU and pixel accuracy over the set"),
    "pictures": Function(
        distances.picture_metrics, "FID; inception and CLIP score", "--extractor fid=... (inception, clip)"
    ),
    "picture_similarity": Function(
        distances.similarity_metric, "cosine of embeddings (CLIP-I)", "--clip FOLDER, or --extractor clip_image=..."
    ),
    "wer": Function(words.wer_metric, "word error rate, Whisper's normaliser", "pip install 'mio_jax[eval]'"),
    "spoken_wer": Function(
        words.spoken_wer_metric, "word error rate of speech", "pip install 'mio_jax[eval]' and --recogniser"
    ),
    "sounds": Function(distances.sound_metrics, "FAD; IS and KL of sounds", "--extractor fad=... (audio_classes)"),
    "robot_steps": Function(_plain(actions.robot_metrics), "robot plans against the set's, step by step; no simulator"),
    "navigation": Function(_plain(actions.navigation_metrics), "lists of actions against the set's"),
    **{f"grit_{task}": Function(_plain(grit.metric(task)), f"GRIT's {task}") for task in grit.SCORES},
}


def function(name: str, extractors: Extractors | None = None) -> MetricFn:
    """A metric function. Raises MioError naming the nearest, or what it needs."""
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(FUNCTIONS)}"
        raise MioError(f"there is no metric {name!r}; {hint}")
    return FUNCTIONS[name].make(extractors or {})
