"""VQA v2 from a folder laid out as its site publishes it: questions and ten answers each about COCO's pictures."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from mio_jax.errors import MioError
from mio_jax.evaluate.functions import function
from mio_jax.evaluate.suites import Data, Item, Suite, SuiteTask, register
from mio_jax.task_protocol import TaskInputs
from mio_tokenizers.image.io import read_image

LAYOUT = """\
FOLDER/
  v2_OpenEnded_mscoco_val2014_questions.json   v2_mscoco_val2014_annotations.json
  val2014/COCO_val2014_000000000042.jpg ..."""
PART = "val2014"
PROTOCOL = "VQA normalisation 2, leave-one-out over the annotators"


def _json(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MioError(f"{name}: there is no {path}; the folder must be laid out as the set is published") from None
    except (OSError, ValueError) as error:
        raise MioError(f"{name}: {path} cannot be read ({error}); fetch it again") from error


def ask_about(picture: Path, question: str, options: tuple[str, ...] = ()) -> TaskInputs:
    """Raises MioError on a picture that cannot be read."""
    return TaskInputs(text=question, image=read_image(picture), options=options)


def questions(folder: Path, name: str, prefix: str, part: str = PART) -> list[Item]:
    """Questions about COCO's pictures with ten answers each, as VQA v2 ("v2_") and OK-VQA ("") publish them.

    Raises MioError on files that are not such.
    """
    asked = _json(folder / f"{prefix}OpenEnded_mscoco_{part}_questions.json", name)
    told = _json(folder / f"{prefix}mscoco_{part}_annotations.json", name)
    try:
        answers = {one["question_id"]: [a["answer"] for a in one["answers"]] for one in told["annotations"]}
        return [
            Item(
                str(one["question_id"]),
                "vqa",
                functools.partial(
                    ask_about, folder / part / f"COCO_{part}_{one['image_id']:012d}.jpg", one["question"]
                ),
                functools.partial(answers.get, one["question_id"]) if one["question_id"] in answers else None,
            )
            for one in asked["questions"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise MioError(f"{name}: the files of {part} in {folder} are not the published ones ({error!r})") from error


def open_vqav2(data: Data) -> list[SuiteTask]:
    """Questions of val2014 (or `--subset train2014`). Raises MioError on files that are not VQA's."""
    items = questions(data.folder, "vqav2", "v2_", data.subset or PART)
    return [SuiteTask("vqa", items, lambda answer: answer.text, (function("vqa"),), PROTOCOL)]


VQAV2 = register(Suite("vqav2", "VQA v2: short answers about COCO's pictures", LAYOUT, ("vqa",), open_vqav2))
