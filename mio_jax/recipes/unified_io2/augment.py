"""Task augmentations: new questions out of annotations for others (specification, section 16.2, "Task augmentation").

Pure functions; boxes are float [4] as (y1, x1, y2, x2), shares of the square that the model sees. Those that change
what is drawn are in `mio_jax.data.media.dense_changes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mio_jax.data.media.dense_changes import inside as inside
from mio_jax.errors import MioError
from mio_tokenizers.structured.extra_ids import write_point, write_values

MOST_CLASSES = 4
NEAR = 1e-3  # of the square's edge: two places that differ by less are one

# property -> how a prompt names it
BOX_PROPERTIES = {
    "width": "the width",
    "height": "the height",
    "area": "the area",
    "centre": "the centre",
    "top_left": "the upper left corner",
    "bottom_right": "the lower right corner",
    "centre_and_size": "the centre, then height and width,",
}


def box_property(box: np.ndarray, name: str) -> str:
    """A property of a box as location tokens, or the box in another way of writing. MioError names the properties."""
    y1, x1, y2, x2 = (float(v) for v in box)
    centre = ((y1 + y2) / 2, (x1 + x2) / 2)
    if name in ("width", "height", "area"):
        return write_values([{"width": x2 - x1, "height": y2 - y1, "area": (x2 - x1) * (y2 - y1)}[name]])
    if name == "centre_and_size":
        return write_values([*centre, y2 - y1, x2 - x1])
    points = {"centre": centre, "top_left": (y1, x1), "bottom_right": (y2, x2)}
    if name not in points:
        raise MioError(f"a box has no property {name!r}; it has {', '.join(BOX_PROPERTIES)}")
    return write_point(points[name])


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Between the centres of two boxes, in shares of the square's diagonal: in [0, 1]."""
    middles = [(np.asarray(box, float)[:2] + np.asarray(box, float)[2:]) / 2 for box in (first, second)]
    apart = middles[0] - middles[1]
    return float(np.hypot(*apart) / np.sqrt(2))


def relation(first: np.ndarray, second: np.ndarray) -> str:
    """How the first box lies to the second: in it, around it, over it, or on the side where most lies between them."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if np.abs(a - b).max() < NEAR:
        return "in the same place as"
    if (a[:2] >= b[:2] - NEAR).all() and (a[2:] <= b[2:] + NEAR).all():
        return "inside"
    if (b[:2] >= a[:2] - NEAR).all() and (b[2:] <= a[2:] + NEAR).all():
        return "around"
    gaps = {
        "above": b[0] - a[2],
        "below": a[0] - b[2],
        "to the left of": b[1] - a[3],
        "to the right of": a[1] - b[3],
    }
    side = max(gaps, key=lambda name: gaps[name])
    return side if gaps[side] >= -NEAR else "overlapping"


def relations(boxes: Sequence[np.ndarray], labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """(label, relation, label) of every pair of boxes, each pair once. MioError where boxes and labels do not match."""
    if len(boxes) != len(labels):
        raise MioError(f"{len(boxes)} boxes with {len(labels)} labels; each box needs one")
    pairs = ((i, j) for i in range(len(boxes)) for j in range(i + 1, len(boxes)))
    return [(labels[i], relation(boxes[i], boxes[j]), labels[j]) for i, j in pairs]


def some_classes(labels: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """One to four of the different labels, in random order. Raises MioError where there is none."""
    known = list(dict.fromkeys(labels))
    if not known:
        raise MioError("a picture without objects has no classes to ask for")
    count = int(rng.integers(1, min(len(known), MOST_CLASSES) + 1))
    return tuple(known[i] for i in rng.permutation(len(known))[:count])


class Constraint(NamedTuple):
    """What a caption is asked to keep to, as words of a prompt, and the caption that does (without what is given)."""

    hint: str
    answer: str


def caption_constraint(caption: str, rng: np.random.Generator) -> Constraint:
    """A condition that the caption meets: its number of words, a word of it, or its beginning, which is then given.

    Raises MioError on an empty caption.
    """
    words = caption.split()
    if not words:
        raise MioError("an empty caption meets no condition")
    kinds = ["length", "word"] + (["prefix"] if len(words) > 3 else [])
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "length":
        return Constraint(f"with {len(words)} word{'s' if len(words) > 1 else ''}", caption)
    if kind == "word":
        longest = max(len(word) for word in words)
        known = [word.strip(".,;:!?") for word in words if len(word) > min(3, longest - 1)]
        return Constraint(f'with the word "{known[int(rng.integers(len(known)))]}"', caption)
    cut = int(rng.integers(1, len(words) // 2 + 1))
    return Constraint(f'that goes on from "{" ".join(words[:cut])}"', " ".join(words[cut:]))
