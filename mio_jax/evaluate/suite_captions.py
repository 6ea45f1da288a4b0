"""Captions and media made from captions: COCO's pictures, AudioCaps' sounds, from folders as they are published."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from mio_jax.data.sources.audiocaps import AudioCaps
from mio_jax.data.sources.coco import Coco
from mio_jax.errors import MioError
from mio_jax.evaluate import captions
from mio_jax.evaluate.functions import function
from mio_jax.evaluate.suites import Data, Item, Suite, SuiteTask, register
from mio_jax.task_protocol import TaskAnswer, TaskInputs

SPLIT = "test"  # COCO's val2017, AudioCaps' test
Example = dict[str, Any]


class Part(NamedTuple):
    """How examples of a source become a part of a suite; `metric` is of `functions`."""

    inputs: Callable[[Example], TaskInputs]
    target: Callable[[Example], Any]
    predict: Callable[[TaskAnswer], Any]
    metric: str
    protocol: str


COCO_PARTS = {
    "caption": Part(
        lambda example: TaskInputs(image=example["image"]),
        lambda example: example["captions"],
        lambda answer: answer.text,
        "captions",
        captions.PROTOCOL,
    ),
    "image_generation": Part(
        lambda example: TaskInputs(text=example["captions"][0]),
        lambda example: (example["image"], example["captions"][0]),
        lambda answer: answer.picture,
        "pictures",
        "one picture from each picture's first caption; FID by the given extractor",
    ),
}
AUDIOCAPS_PARTS = {
    "audio_caption": COCO_PARTS["caption"]._replace(inputs=lambda example: TaskInputs(audio=example["audio"])),
    "audio_generation": Part(
        lambda example: TaskInputs(text=example["captions"][0]),
        lambda example: example["audio"],
        lambda answer: answer.sound,
        "sounds",
        "one sound from each sound's first caption; FAD by the given extractor",
    ),
}


def _open(make: Callable[[Any], Any], parts: dict[str, Part], data: Data) -> list[SuiteTask]:
    """The first part by default: the others need a network of the user's, and are for `--tasks`."""
    unknown = [name for name in data.tasks if name not in parts]
    if unknown:
        raise MioError(f"this suite has no task {unknown[0]!r}; it has {', '.join(parts)}")
    source = make(data.folder)

    @functools.lru_cache(maxsize=1)  # inputs and target of one example are asked for in turn
    def example(number: int) -> Example:
        found: Example = next(iter(source.examples(SPLIT, number, number + 1)))
        return found

    def read(number: int, what: Callable[[Example], Any]) -> Any:
        return what(example(number))

    def items(name: str) -> list[Item]:
        part = parts[name]
        return [
            Item(str(i), name, functools.partial(read, i, part.inputs), functools.partial(read, i, part.target))
            for i in range(source.count(SPLIT))
        ]

    return [
        SuiteTask(
            name,
            items(name),
            parts[name].predict,
            (function(parts[name].metric, data.extractors),),
            parts[name].protocol,
        )
        for name in data.tasks or tuple(parts)[:1]
    ]


COCO = register(
    Suite(
        "coco",
        "COCO 2017: captions of val2017, and pictures made from them",
        "FOLDER/\n  annotations/captions_val2017.json   annotations/instances_val2017.json   val2017/...",
        tuple(COCO_PARTS),
        functools.partial(_open, Coco, COCO_PARTS),
    )
)
AUDIOCAPS = register(
    Suite(
        "audiocaps",
        "AudioCaps: captions of the test sounds, and sounds made from them",
        "FOLDER/\n  test.csv   test/Y{youtube_id}.wav ...",
        tuple(AUDIOCAPS_PARTS),
        functools.partial(_open, AudioCaps, AUDIOCAPS_PARTS),
    )
)
