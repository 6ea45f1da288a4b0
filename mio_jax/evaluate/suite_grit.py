"""GRIT from a folder laid out as its site publishes it: seven tasks of pictures, sources known and new.

The published samples have no answers: then predictions are written in the form that GRIT's server takes. Samples with
answers, as its evaluation reads them ("input", "output", "meta"), are scored here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.data.media.resize import resize_nearest
from mio_jax.errors import MioError
from mio_jax.evaluate import grit
from mio_jax.evaluate.rle import decode_masks, encode_mask
from mio_jax.evaluate.suites import Data, Item, MetricFn, Suite, SuiteTask, register
from mio_jax.task_protocol import TaskAnswer, TaskInputs, as_box
from mio_tokenizers.image.io import read_image

LAYOUT = """\
FOLDER/
  images/...                           pictures, by the samples' image_id
  samples/ablation/TASK.json           samples/test/TASK.json
  output_options/coco_categories.json  nyuv2_categories.json, open_images_categories.json
  normals/...                          true surface normals, where you have them"""
SUBSETS = ("ablation", "test")
STUFF = "(Stuff)"  # in the query of a segmentation whose thing has no instances
PROTOCOL = {
    "categorization": "exact string",
    "localization": "Hungarian matching on IoU; sum / (predicted + missed)",
    "vqa": "VQA normalisation 2; min(1, matches / 3) over all ten, not leave-one-out",
    "refexp": "first box, IoU > 0.5",
    "segmentation": "Hungarian matching on boundary IoU",
    "keypoint": "Hungarian matching on OKS; the area is that of the labelled points' box",
    "normal": "share within 11.25 degrees after one least-squares rotation",
}


def open_grit(data: Data) -> list[SuiteTask]:
    """The tasks whose samples there are, or those asked for. Raises MioError on another layout."""
    samples = data.folder / "samples"
    there = [name for name in SUBSETS if (samples / name).is_dir()]
    if not there:
        raise MioError(
            f"{data.folder} has no samples/ablation or samples/test; it must be laid out as GRIT is published"
        )
    subset = data.subset or there[0]
    if subset not in there:
        raise MioError(f"{samples} has {' and '.join(there)}, not {subset!r}; give --subset {there[0]}")
    names = data.tasks or tuple(name for name in grit.SCORES if (samples / subset / f"{name}.json").is_file())
    if not names:
        raise MioError(f"{samples / subset} has none of {', '.join(grit.SCORES)} (.json)")
    return [
        SuiteTask(name, _items(data.folder, subset, name), PREDICT[name], (_metric(name),), PROTOCOL[name])
        for name in names
    ]


def _items(folder: Path, subset: str, task: str) -> list[Item]:
    path = folder / "samples" / subset / f"{task}.json"
    samples = _json(path)
    try:
        return [_item(folder, task, sample) for sample in samples]
    except (KeyError, TypeError, AttributeError) as error:
        raise MioError(f"{path} is not as GRIT publishes it ({error!r} in a sample)") from error


def _item(folder: Path, task: str, sample: Mapping[str, Any]) -> Item:
    given = sample.get("input", sample)
    query, box, options = given.get("task_query"), given.get("task_bbox"), given.get("output_options")
    kind, words = task, str(query or "")
    if task == "categorization" and box:
        kind = "box_categorization"
    stuff = task == "segmentation" and STUFF in words
    if stuff:
        kind, words = "stuff_segmentation", words.replace(STUFF, "").strip()
    known = tuple(_json(folder / "output_options" / f"{options}.json")) if options else ()

    def inputs() -> TaskInputs:
        return TaskInputs(
            text="" if task == "keypoint" else words,
            image=read_image(folder / "images" / given["image_id"]),
            box=None if box is None else as_box(box),
            options=known,
        )

    truth = sample.get("output")
    meta = sample.get("meta", {})
    group = "distorted" if meta.get("is_distorted") else {True: "new", False: "same"}.get(meta.get("is_new_source"), "")
    target = None if truth is None else functools.partial(TARGET[task], folder, truth, stuff)
    return Item(str(given["example_id"]), kind, inputs, target, group)


def _boxes(folder: Path, truth: Mapping[str, Any], stuff: bool) -> np.ndarray:
    return np.asarray(truth["bboxes"], np.float64).reshape(-1, 4)


TARGET: dict[str, Any] = {
    "categorization": lambda folder, truth, stuff: truth["words"][0],
    "localization": _boxes,
    "vqa": lambda folder, truth, stuff: list(truth["words"]),
    "refexp": lambda folder, truth, stuff: _boxes(folder, truth, stuff)[0],
    "segmentation": lambda folder, truth, stuff: {"masks": decode_masks(truth["masks"]), "stuff": stuff},
    "keypoint": lambda folder, truth, stuff: np.asarray(truth["points"], np.float64).reshape(-1, 17, 3),
    "normal": lambda folder, truth, stuff: read_image(folder / "normals" / truth["out_image_name"]),
}


def _no_boxes(answer: TaskAnswer) -> np.ndarray:
    return np.zeros((0, 4)) if answer.boxes is None else np.asarray(answer.boxes, np.float64)


PREDICT: dict[str, Any] = {
    "categorization": lambda answer: answer.text,
    "localization": _no_boxes,
    "vqa": lambda answer: answer.text,
    "refexp": _no_boxes,
    "segmentation": lambda answer: list(answer.masks or ()),
    "keypoint": lambda answer: np.zeros((0, 17, 3)) if answer.poses is None else np.asarray(answer.poses, np.float64),
    "normal": lambda answer: answer.picture,
}


def _metric(task: str) -> MetricFn:
    """GRIT's metric; normals are brought to the size of the true picture first."""
    score = grit.metric(task)
    if task != "normal":
        return score

    def normals(targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        sized = [resize_nearest(p, t.shape[:2]) for p, t in zip(predictions, targets, strict=True)]
        return score(targets, sized)

    return normals


def _json(path: Path) -> Any:
    return _read_json(str(path))


@functools.lru_cache(maxsize=16)
def _read_json(path: str) -> Any:
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MioError(f"there is no {path}; the folder must be laid out as GRIT is published") from None
    except (OSError, ValueError) as error:
        raise MioError(f"{path} cannot be read ({error}); fetch it again") from error
    if not isinstance(read, list):
        raise MioError(f"{path} is no list; GRIT's samples and answer options are lists")
    return read


def overall(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """GRIT's own mean over tasks and sources, where there are sources: a task or a source that is missing counts 0."""
    places = {
        (task, group): values[f"grit/{task}"]
        for task, groups in scores.items()
        for group, values in groups.items()
        if group in grit.DISTRIBUTIONS
    }
    return {"grit/overall": grit.overall(places)} if places else {}


def submission(folder: Path, task: SuiteTask, predictions: Mapping[str, Any]) -> None:
    """TASK.json and normals/ as GRIT's server takes them. The confidence is 1, for none is measured."""
    from PIL import Image

    rows: list[dict[str, Any]] = []
    for name, value in predictions.items():
        row: dict[str, Any] = {"example_id": name, "confidence": 1.0}
        if task.name in ("categorization", "vqa"):
            row["words"] = value
        elif task.name in ("localization", "refexp"):
            row["bboxes"] = np.rint(value).astype(int).tolist()
        elif task.name == "segmentation":
            row["masks"] = [encode_mask(mask) for mask in value]
        elif task.name == "keypoint":
            row["points"] = np.rint(value).astype(int).reshape(len(value), -1).tolist()
        else:
            row["normal"] = f"{name}.png"
            path = folder / "normals" / row["normal"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(value).save(path)
        rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{task.name}.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")


GRIT = register(
    Suite(
        "grit",
        "GRIT: categories, boxes, answers, expressions, masks, poses and surface normals of pictures",
        LAYOUT,
        tuple(grit.SCORES),
        open_grit,
        overall,
        submission,
    )
)
