"""A picture of which one box is drawn anew: what is hidden from the encoder, and which codes are kept."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.task_protocol import Box, TaskAnswer, TaskInputs


class GivenPart(NamedTuple):
    """`hidden` bool [height, width] of the picture; `codes` int32 and `kept` bool [codes] of what is drawn."""

    hidden: np.ndarray
    codes: np.ndarray
    kept: np.ndarray


def given_part(image: np.ndarray, box: Box, tokenizer: Any, grid: tuple[int, int]) -> GivenPart:
    """The picture as the codes of its square; a code that shows any pixel of the box (x1, y1, x2, y2) is not kept.

    Raises MioError if the tokenizer makes another number of codes than the model's `grid`.
    """
    edge = _edge(tokenizer, grid[0] * grid[1])
    placement = pre.place(image, edge)
    square = np.rint(placement.image(pre.as_float(image)) * 255).astype(np.uint8)
    codes = np.asarray(tokenizer.encode(square), np.int32).reshape(-1)
    if len(codes) != grid[0] * grid[1]:
        raise MioError(f"the image tokenizer makes {len(codes)} codes of a picture, the model {grid[0]} x {grid[1]}")
    hidden = within(box, image.shape[:2])
    # A code's pixels are a cell of the square; nearest neighbours say which pixels of the picture those are.
    shown = placement.dense(hidden).reshape(grid[0], edge // grid[0], grid[1], edge // grid[1]).any(axis=(1, 3))
    if not shown.any():
        raise MioError("the box is so thin beside the picture that no code shows it: give a larger one")
    return GivenPart(hidden, codes, ~shown.reshape(-1))


@functools.lru_cache(maxsize=4)
def _edge(tokenizer: Any, codes: int) -> int:
    """Pixels of the edge of a picture that the tokenizer makes."""
    return int(np.asarray(tokenizer.decode(np.zeros(codes, np.int32))).shape[0])


def within(box: Box, size: tuple[int, ...]) -> np.ndarray:
    """bool [height, width]: pixels that a box covers any part of."""
    x1, y1, x2, y2 = box
    mask = np.zeros(size[:2], bool)
    mask[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = True
    return mask


def pasted(inputs: TaskInputs, answer: TaskAnswer) -> TaskAnswer:
    """The user's picture with the box taken from what was drawn."""
    assert inputs.image is not None
    assert inputs.box is not None
    assert answer.picture is not None
    hidden = within(inputs.box, inputs.image.shape[:2])
    return dataclasses.replace(answer, picture=np.where(hidden[..., None], answer.picture, inputs.image))
