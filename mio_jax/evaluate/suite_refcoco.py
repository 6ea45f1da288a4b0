"""RefCOCO, RefCOCO+ and RefCOCOg from the folder of the set's tools: every expression of "val" is an example."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mio_jax.data.sources.refcoco import RefCoco, RefCocoG, RefCocoPlus
from mio_jax.errors import MioError
from mio_jax.evaluate.functions import function
from mio_jax.evaluate.suites import Data, Item, Suite, SuiteTask, register
from mio_jax.task_protocol import TaskAnswer, TaskInputs

SPLIT = "test"  # of the reader: the published "val"
SETS = {"refcoco": RefCoco, "refcoco_plus": RefCocoPlus, "refcocog": RefCocoG}
LAYOUT = """\
FOLDER/                          the "data" folder of refer
  refcoco/refs(unc).p, refcoco/instances.json      refcoco+/..., refcocog/refs(umd).p, ...
  images/mscoco/images/train2014/COCO_train2014_000000581857.jpg ..."""


def open_refcoco(data: Data) -> list[SuiteTask]:
    """The sets that are there, or those asked for. Raises MioError on another layout."""
    names = data.tasks or tuple(name for name, reader in SETS.items() if (data.folder / reader.part).is_file())
    if not names:
        raise MioError(f"{data.folder} has no {RefCoco.part}; it must be laid out as `mio eval --suite list` shows")
    return [
        SuiteTask(
            name, _items(SETS[name](data.folder)), _boxes, (function("refexp"),), "first box, IoU > 0.5; split val"
        )
        for name in names
    ]


def _items(source: Any) -> list[Item]:
    @functools.lru_cache(maxsize=1)  # expressions of one object follow each other
    def example(number: int) -> dict[str, Any]:
        found: dict[str, Any] = next(iter(source.examples(SPLIT, number, number + 1)))
        return found

    def inputs(number: int, expression: str) -> TaskInputs:
        return TaskInputs(text=expression, image=example(number)["image"])

    def target(number: int) -> np.ndarray:
        y1, x1, y2, x2 = example(number)["box"]
        return np.asarray([x1, y1, x2, y2])

    return [
        Item(f"{key}_{i}", "refexp", functools.partial(inputs, number, expression), functools.partial(target, number))
        for number, (key, _, _, expressions) in enumerate(source.items(SPLIT))
        for i, expression in enumerate(expressions)
    ]


def _boxes(answer: TaskAnswer) -> np.ndarray:
    return np.zeros((0, 4)) if answer.boxes is None else np.asarray(answer.boxes, np.float64)


REFCOCO = register(
    Suite(
        "refcoco", "RefCOCO, RefCOCO+, RefCOCOg: boxes of what expressions refer to", LAYOUT, tuple(SETS), open_refcoco
    )
)
