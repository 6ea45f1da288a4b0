"""A suite of your own: a folder with examples.jsonl and the media that it names, of any of the recipe's tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.media.video_reader import open_video
from mio_jax.errors import MioError
from mio_jax.evaluate.actions import step_rows
from mio_jax.evaluate.functions import function
from mio_jax.evaluate.suites import Data, Item, Suite, SuiteTask, register
from mio_jax.task_protocol import INPUTS, TaskAnswer, TaskInputs, as_box
from mio_tokenizers.audio.io import read_audio
from mio_tokenizers.image.io import picture_mask, read_image

EXAMPLES = "examples.jsonl"
LAYOUT = """\
FOLDER/
  examples.jsonl    a line each: {"task": "vqa", "image": "a.png", "text": "How many?", "target": ["2", "two"]}
                    inputs: text, image, audio, video, box [x1, y1, x2, y2], options, negative; files lie beside it
                    targets: answers or captions (a list), transcripts, boxes (a list), files of masks, normals,
                    pictures, sounds, of depth a 16-bit grey picture in millimetres; of robot_plan steps
                    {"kind": "pick", "start": [x, y], "start_turn": 0, "end": [x, y], "end_turn": 90} in metres and
                    degrees, of navigation actions
                    group: scores are given for each of them too, such as VIMA's levels"""


class Rule(NamedTuple):
    """How the answers of a task are scored: the metric, what it takes of an answer, how a target is read."""

    metric: str
    predict: Callable[[TaskAnswer], Any]
    target: Callable[[Path, Any], Any]


def _texts(folder: Path, value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value]


def _boxes(folder: Path, value: Any) -> np.ndarray:
    return np.asarray(value, np.float64).reshape(-1, 4)


def _depth(folder: Path, value: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(folder / value) as opened:
            return np.asarray(opened, np.float64) / 1000
    except (OSError, ValueError) as error:
        raise MioError(f"{folder / value} is no picture of depths: {error}") from error


def _found(answer: TaskAnswer) -> np.ndarray:
    return np.zeros((0, 4)) if answer.boxes is None else np.asarray(answer.boxes, np.float64)


def _said(answer: TaskAnswer) -> str:
    return answer.text


def _sound(folder: Path, value: str) -> Any:
    return read_audio(folder / value)


def _moves(answer: TaskAnswer) -> list[str]:
    return [move["action"] for move in answer.actions or ()]


SAID = Rule("exact_match", _said, _texts)
CAPTIONS = Rule("captions", _said, _texts)
ANSWERS = Rule("vqa", _said, _texts)
MASKS = Rule(
    "mask_iou", lambda answer: list(answer.masks or ()), lambda folder, value: picture_mask(read_image(folder / value))
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(("categorization", "box_categorization", "video_tagging", "audio_tagging", "instruction"), SAID),
    **dict.fromkeys(("caption", "video_caption", "audio_caption", "region_caption"), CAPTIONS),
    **dict.fromkeys(("vqa", "video_qa"), ANSWERS),
    **dict.fromkeys(("segmentation_box", "segmentation_class", "semantic_segmentation", "refexp_segmentation"), MASKS),
    "refexp": Rule("refexp", _found, lambda folder, value: _boxes(folder, value)[0]),
    "sound_localization": Rule("refexp", _found, lambda folder, value: _boxes(folder, value)[0]),
    "localization": Rule("grit_localization", _found, _boxes),
    "detection": Rule(
        "detection",
        lambda answer: {"boxes": _found(answer), "labels": list(answer.labels)},
        lambda folder, value: {"boxes": _boxes(folder, value["boxes"]), "labels": list(value["labels"])},
    ),
    "keypoint": Rule(
        "grit_keypoint",
        lambda answer: np.zeros((0, 17, 3)) if answer.poses is None else np.asarray(answer.poses, np.float64),
        lambda folder, value: np.asarray(value, np.float64).reshape(-1, 17, 3),
    ),
    "depth": Rule("depth", lambda answer: answer.depth, _depth),
    "surface_normals": Rule("normals", lambda answer: answer.picture, lambda folder, value: read_image(folder / value)),
    "image_generation": Rule(
        "pictures",
        lambda answer: answer.picture,
        lambda folder, value: (read_image(folder / value["image"]), str(value.get("text", ""))),
    ),
    "audio_generation": Rule("sounds", lambda answer: answer.sound, _sound),
    "robot_plan": Rule(
        "robot_steps", lambda answer: step_rows(answer.actions or ()), lambda folder, value: step_rows(value)
    ),
    "navigation": Rule("navigation", _moves, lambda folder, value: [str(one).lower() for one in value]),
    "transcription": Rule("wer", _said, lambda folder, value: str(value)),
    "speech": Rule("spoken_wer", lambda answer: answer.sound, lambda folder, value: str(value)),
}


def open_folder(data: Data) -> list[SuiteTask]:
    """A part for each task that the examples name. Raises MioError on a line that says too little."""
    path = data.folder / EXAMPLES
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MioError(f"there is no {path}; `mio eval --suite list` shows what is to be in it") from None
    parts: dict[str, list[Item]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            task, item = _item(data.folder, line, number)
            parts.setdefault(task, []).append(item)
    if not parts:
        raise MioError(f"{path} has no examples")
    chosen = {name: items for name, items in parts.items() if name in (data.tasks or parts)}
    return [
        SuiteTask(
            name, items, RULES[name].predict, (function(RULES[name].metric, data.extractors),), RULES[name].metric
        )
        for name, items in chosen.items()
    ]


def _item(folder: Path, line: str, number: int) -> tuple[str, Item]:
    where = f"{folder / EXAMPLES}, line {number}"
    try:
        example = json.loads(line)
        task = example["task"]
    except (ValueError, KeyError, TypeError) as error:
        raise MioError(f"{where} is no JSON object with a task: {error!r}") from None
    if task not in RULES:
        raise MioError(f"{where}: task {task!r} has no metric; those that have one: {', '.join(RULES)}")
    unknown = set(example) - {*INPUTS, "task", "id", "target", "group"}
    if unknown:
        raise MioError(f"{where} has {sorted(unknown)[0]!r}; inputs are {', '.join(INPUTS)}")

    def inputs() -> TaskInputs:
        return TaskInputs(
            text=str(example.get("text", "")),
            image=read_image(folder / example["image"]) if "image" in example else None,
            audio=read_audio(folder / example["audio"]) if "audio" in example else None,
            video=open_video(folder / example["video"]) if "video" in example else None,
            box=as_box(example["box"]) if "box" in example else None,
            options=tuple(map(str, example.get("options", ()))),
            negative=str(example.get("negative", "")),
        )

    def target() -> Any:
        try:
            return RULES[task].target(folder, example["target"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise MioError(f"{where}: its target is none for task {task!r} ({error!r})") from None

    group = str(example.get("group", ""))
    return task, Item(str(example.get("id", number)), task, inputs, target if "target" in example else None, group)


FOLDER = register(
    Suite("folder", "examples of your own, of any task that has a metric", LAYOUT, tuple(RULES), open_folder)
)
