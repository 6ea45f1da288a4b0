"""A person's 17 keypoints in COCO's order as text (specification of Unified-IO 2, sections 12.2 and 19.4)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.structured.extra_ids import Parsed, runs, write_point

_SIDES = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
KEYPOINTS = ("nose", *(f"{side} {part}" for part in _SIDES for side in ("left", "right")))
MISSING = "MISSING"


class Pose(NamedTuple):
    """`points` float32 [17, 2] of (y, x) in [0, 1], `visible` bool [17]."""

    points: np.ndarray
    visible: np.ndarray


class PieceTokenizer(Protocol):
    eos_id: int

    def encode(self, media: str) -> np.ndarray: ...


def write_keypoints(pose: Pose) -> str:
    """ "y x nose y x left eye ..."; an invisible part is "MISSING nose". MioError on a visible point outside [0, 1]."""
    points, visible = np.asarray(pose.points), np.asarray(pose.visible, bool)
    if points.shape != (len(KEYPOINTS), 2) or visible.shape != (len(KEYPOINTS),):
        raise MioError(f"a pose has points [17, 2] and visible [17], not {points.shape} and {visible.shape}")
    return " ".join(
        f"{write_point(point) if seen else MISSING} {name}"
        for point, seen, name in zip(points, visible, KEYPOINTS, strict=True)
    )


def read_keypoints(text: str) -> Parsed[Pose]:
    """The pose in a generated text. Parts that are not there, or are MISSING, get the mean of those that are.

    A run of other than two tokens, an unknown name or a second mention is dropped and counted; a text without any
    part gives points 0.5, 0.5.
    """
    points, visible = np.full((len(KEYPOINTS), 2), 0.5, np.float32), np.zeros(len(KEYPOINTS), bool)
    mentioned: set[str] = set()
    before, found = runs(text)
    dropped = 0

    def absent(words: str) -> int:
        """Takes "MISSING name MISSING name" and returns how many pieces of it make no sense."""
        wrong = 0
        for name in filter(None, (part.strip() for part in words.split(MISSING))):
            wrong += name not in KEYPOINTS or name in mentioned
            mentioned.add(name)
        return wrong

    head, mark, rest = before.partition(MISSING)
    dropped += bool(head.strip()) + (absent(rest) if mark else 0)
    for run in found:
        name, _, rest = run.label.partition(MISSING)
        name = name.strip()
        if len(run.values) == 2 and name in KEYPOINTS and name not in mentioned:
            points[KEYPOINTS.index(name)] = run.values
            visible[KEYPOINTS.index(name)] = True
            mentioned.add(name)
        else:
            dropped += 1
        dropped += absent(rest)
    if visible.any():
        points[~visible] = points[visible].mean(axis=0)
    return Parsed(Pose(points, visible), dropped)


def keypoint_schedule(tokenizer: PieceTokenizer) -> list[int | None]:
    """What decoding may write at each step: None for any location token, else the id that is forced.

    Two free tokens and the pieces of a name for each part, and EOS at last: a pose comes out whole.
    """
    steps: list[int | None] = []
    for name in KEYPOINTS:
        steps += [None, None, *(int(i) for i in tokenizer.encode(name))]
    return [*steps, int(tokenizer.eos_id)]
