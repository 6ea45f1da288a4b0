"""What the model said, read into what was asked for, in pixels of the user's own picture (specification 12, 19.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mio_jax.data.media.placement import Placement, undo_boxes, undo_image
from mio_jax.task_protocol import TaskAnswer
from mio_tokenizers.structured.actions import read_navigation, read_robot_steps
from mio_tokenizers.structured.dense import read_depth, read_segmentation
from mio_tokenizers.structured.extra_ids import read_boxes
from mio_tokenizers.structured.keypoints import KEYPOINTS, read_keypoints
from mio_tokenizers.structured.labelled import read_labelled_boxes

REPEATED = 0.8  # overlap from which a later box is taken for an earlier one said again
SEEN = 2.0  # COCO's mark of a part that is visible


@dataclass(frozen=True)
class View:
    """How the model saw the picture; `placement` is None where it saw none."""

    placement: Placement | None

    def boxes(self, shares: np.ndarray) -> np.ndarray:
        """(y1, x1, y2, x2) as shares of the padded square -> (x1, y1, x2, y2) in pixels of the picture."""
        assert self.placement is not None
        pixels = undo_boxes(np.asarray(shares, np.float32) * self.placement.size, self.placement.info)
        return pixels[:, [1, 0, 3, 2]]

    def points(self, shares: np.ndarray) -> np.ndarray:
        """(y, x) -> (x, y) in pixels."""
        return self.boxes(np.tile(shares, (1, 2)))[:, :2]

    def picture(self, square: np.ndarray) -> np.ndarray:
        """A picture that answers the one shown, at its size; one that answers none, as it is."""
        return square if self.placement is None else undo_image(square, self.placement.info)


Reader = Callable[[Any, View], TaskAnswer]


def text(said: str, view: View) -> TaskAnswer:
    return TaskAnswer(text=said.strip())


def boxes(said: str, view: View) -> TaskAnswer:
    """Boxes, whether or not names stand between them."""
    found, dropped = read_boxes(said)
    kept = distinct(found)
    return TaskAnswer(text=said.strip(), boxes=view.boxes(found[kept]), dropped=dropped)


def labelled_boxes(said: str, view: View) -> TaskAnswer:
    (found, labels), dropped = read_labelled_boxes(said)
    kept = distinct(found)
    names = tuple(labels[i] for i in kept)
    return TaskAnswer(text=said.strip(), boxes=view.boxes(found[kept]), labels=names, dropped=dropped)


def pose(said: str, view: View) -> TaskAnswer:
    """One person, or nobody where no part was said."""
    (points, visible), dropped = read_keypoints(said)
    poses = np.zeros((0, len(KEYPOINTS), 3), np.float32)
    if visible.any():
        marks = np.where(visible, SEEN, 0).astype(np.float32)
        poses = np.concatenate([view.points(points), marks[:, None]], axis=1)[None]
    return TaskAnswer(text=said.strip(), poses=poses, dropped=dropped)


def robot_steps(said: str, view: View) -> TaskAnswer:
    steps, dropped = read_robot_steps(said)
    return TaskAnswer(text=said.strip(), actions=tuple(step._asdict() for step in steps), dropped=dropped)


def navigation(said: str, view: View) -> TaskAnswer:
    words, dropped = read_navigation(said)
    return TaskAnswer(text=said.strip(), actions=tuple({"action": word} for word in words), dropped=dropped)


def picture(said: np.ndarray, view: View) -> TaskAnswer:
    return TaskAnswer(picture=view.picture(said))


def mask(said: np.ndarray, view: View) -> TaskAnswer:
    return TaskAnswer(masks=(read_segmentation(np.ascontiguousarray(view.picture(said))),))


def depth(said: np.ndarray, view: View) -> TaskAnswer:
    made = view.picture(said)
    return TaskAnswer(picture=made, depth=read_depth(np.ascontiguousarray(made)))


def sound(said: Any, view: View) -> TaskAnswer:
    return TaskAnswer(sound=said)


READERS: dict[str, Reader] = {
    "text": text,
    "boxes": boxes,
    "labelled_boxes": labelled_boxes,
    "pose": pose,
    "robot_steps": robot_steps,
    "navigation": navigation,
    "picture": picture,
    "mask": mask,
    "depth": depth,
    "sound": sound,
}


def distinct(found: np.ndarray, overlap: float = REPEATED) -> np.ndarray:
    """int [m]: the boxes [n, 4] that stay when each goes that overlaps an earlier one by more than `overlap`.

    Non-maximum suppression with scores that fall in the order of the text.
    """
    kept: list[int] = []
    areas = np.prod(found[:, 2:] - found[:, :2], axis=1)
    for i, box in enumerate(found):
        others = found[kept]
        edges = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
        inter = np.prod(np.clip(edges, 0, None), axis=1)
        union = areas[kept] + areas[i] - inter
        if not (inter > overlap * union).any():
            kept.append(i)
    return np.asarray(kept, np.int64)
