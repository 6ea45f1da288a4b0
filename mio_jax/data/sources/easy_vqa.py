"""easy-VQA: 5,000 pictures of one coloured shape each, 48,248 questions, 13 answers; the authors' own split.

What a picture shows is not given as a label; it is read from the answers to the picture's own questions, by naming
("what color is the shape?" -> "teal") or by elimination (seven of eight colours denied). Pictures that their questions
do not determine keep an empty caption.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.sources.base import package_folder, require_split
from mio_jax.errors import MioError

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")


class Picture(NamedTuple):
    number: int
    path: str
    questions: tuple[tuple[str, str], ...]  # (question, answer)


def value_of(questions: tuple[tuple[str, str], ...], values: tuple[str, ...]) -> str:
    """The one of `values` (shapes or colours) that the answers leave possible, or "" if they leave several.

    Raises MioError where they contradict each other.
    """
    possible = set(values)
    for question, answer in questions:
        words = question.rstrip("?").split()
        asked = [v for v in values if v in words]
        if answer in values:
            possible &= {answer}
        elif answer in ("yes", "no") and asked:
            present = (answer == "yes") != ("not" in words or "no" in words)
            possible = possible & set(asked) if present else possible - set(asked)
        elif asked and question.startswith("what"):  # "what color is the circle?": it takes the shape for granted
            possible &= set(asked)
    if not possible:
        raise MioError(f"easy-vqa: the answers about one picture contradict each other: {questions}; reinstall it")
    return possible.pop() if len(possible) == 1 else ""


@functools.cache
def pictures(split: str) -> tuple[Picture, ...]:
    package_folder("easy_vqa", "easy-vqa")
    import easy_vqa

    train = split == "train"
    questions, answers, numbers = easy_vqa.get_train_questions() if train else easy_vqa.get_test_questions()
    paths = easy_vqa.get_train_image_paths() if train else easy_vqa.get_test_image_paths()
    grouped: dict[int, list[tuple[str, str]]] = {}
    for question, answer, number in zip(questions, answers, numbers, strict=True):
        grouped.setdefault(int(number), []).append((question, answer))
    return tuple(Picture(n, str(paths[n]), tuple(grouped[n])) for n in sorted(grouped))


class EasyVQA:
    """Pictures of 64 x 64 with the questions asked about them."""

    name = "easy_vqa"
    version = "1"
    licence = "MIT"
    attribution = "easy-VQA by Victor Zhou (pip: easy-vqa)"
    media: tuple[str, ...] = ("image",)
    splits: tuple[str, ...] = ("train", "test")

    def count(self, split: str) -> int:
        require_split(self, split)
        return len(pictures(split))

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """id, image, questions [(question, answer)], caption ("a teal triangle" or ""), meta/shape, meta/colour."""
        require_split(self, split)
        from PIL import Image

        for picture in pictures(split)[start:stop]:
            shape, colour = value_of(picture.questions, SHAPES), value_of(picture.questions, COLOURS)
            try:
                with Image.open(picture.path) as opened:
                    image = np.array(opened.convert("RGB"))
            except OSError as error:
                raise MioError(f"cannot read {picture.path}: {error}; reinstall easy-vqa") from error
            yield {
                "id": f"easy_vqa/{split}/{picture.number:05d}",
                "image": image,
                "questions": [list(pair) for pair in picture.questions],
                "caption": f"a {colour} {shape}" if shape and colour else "",
                "meta/shape": shape,
                "meta/colour": colour,
            }
