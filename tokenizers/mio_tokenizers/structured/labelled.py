"""Boxes with names: lists of what is in a picture, and an object followed through frames.

Specification of Unified-IO 2, section 12.2; the rules of reading are those of `extra_ids`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.structured.extra_ids import LOCATION, Parsed, Run, proper_box, runs, write_box

FRAMES = 8  # marks <image_history_1> .. <image_history_8>
_FRAME = re.compile(r"<image_history_([1-8])>")


def _name(label: str) -> str:
    name = " ".join(label.split())
    if not name or LOCATION.search(name) or _FRAME.search(name):
        raise MioError(f"the label {label!r} of a box cannot be written; it needs words and no tokens")
    return name


def write_labelled_boxes(boxes: np.ndarray, labels: Sequence[str], rng: np.random.Generator | None = None) -> str:
    """Boxes [n, 4] as (y1, x1, y2, x2) in [0, 1] -> "y1 x1 y2 x2 label y1 x1 ..."; in random order if `rng` is given.

    Raises MioError where boxes and labels do not match or one of them cannot be written.
    """
    if len(boxes) != len(labels):
        raise MioError(f"{len(boxes)} boxes with {len(labels)} labels; each box needs one")
    order = np.arange(len(boxes)) if rng is None else rng.permutation(len(boxes))
    return " ".join(f"{write_box(boxes[i])} {_name(labels[i])}" for i in order)


def _boxes(found: Sequence[Run]) -> tuple[np.ndarray, list[str], int]:
    good = [run for run in found if proper_box(run.values) and run.label]
    boxes = np.stack([run.values for run in good]) if good else np.zeros((0, 4), np.float32)
    return boxes, [run.label for run in good], len(found) - len(good)


def read_labelled_boxes(text: str) -> Parsed[tuple[np.ndarray, list[str]]]:
    """(float32 [n, 4], labels). A run of other than four tokens, crossed corners or a missing label is dropped."""
    before, found = runs(text)
    boxes, labels, dropped = _boxes(found)
    return Parsed((boxes, labels), dropped + bool(before))


def write_track(boxes: np.ndarray, label: str) -> str:
    """Boxes [frames, 4] of one object in the history frames 1, 2, ... -> the track for a prompt.

    "<image_history_1> y1 x1 y2 x2 label <image_history_2> ...". Raises MioError on more than 8 frames.
    """
    if not 1 <= len(boxes) <= FRAMES:
        raise MioError(f"a track of {len(boxes)} frames; it has 1 to {FRAMES}, as many as there are history marks")
    name = _name(label)
    return " ".join(f"<image_history_{k}> {write_box(box)} {name}" for k, box in enumerate(boxes, 1))


def read_track(text: str) -> Parsed[tuple[dict[int, np.ndarray], list[str]]]:
    """({frame number: box float32 [4]}, labels, one a frame). A frame without one well-formed box is dropped."""
    pieces = _FRAME.split(text)
    boxes: dict[int, np.ndarray] = {}
    labels: list[str] = []
    dropped = int(bool(pieces[0].strip()))
    for number, part in zip(map(int, pieces[1::2]), pieces[2::2], strict=True):
        before, found = runs(part)
        one, names, _ = _boxes(found)
        if before or len(found) != 1 or len(one) != 1 or number in boxes:
            dropped += 1
            continue
        boxes[number] = one[0]
        labels.append(names[0])
    return Parsed((boxes, labels), dropped)
