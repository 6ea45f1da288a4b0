"""Questions about pictures that need what was said before, or a reason.

VisDial  FOLDER/visdial_1.0_train.json, visdial_1.0_val.json, train2014/COCO_train2014_..., val2014/COCO_val2014_...
         (both of "train"), VisualDialog_val2018/VisualDialog_val2018_000000185565.jpg
VCR      FOLDER/train.jsonl, val.jsonl, vcr1images/lsmdc_.../....jpg and ....json
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from mio_jax.data.sources.files import names_in, one_space, read_json, read_json_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import within
from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image


class VisDial(FolderSource):
    """id, image, caption, turns [[question, answer], ...]."""

    name = "visdial"
    licence = "CC BY 4.0; the pictures are Flickr users', under their own terms"
    attribution = "Visual Dialog v1.0 by Das et al., visualdialog.org"
    seen = ("image",)
    parts: ClassVar[dict[str, tuple[str, ...]]] = {"train": ("train2014", "val2014"), "test": ("VisualDialog_val2018",)}

    def items(self, split: str) -> Sequence[Any]:
        told = read_json(self.folder / f"visdial_1.0_{'train' if split == 'train' else 'val'}.json")["data"]
        questions = [f"{one_space(one).rstrip('? ')}?" for one in told["questions"]]
        answers = [one_space(one) for one in told["answers"]]
        found = []
        for one in told["dialogs"]:
            turns = [[questions[turn["question"]], answers[turn["answer"]]] for turn in one["dialog"]]
            found.append((int(one["image_id"]), one_space(one["caption"]), turns))
        return found

    def example(self, split: str, item: Any) -> dict[str, Any]:
        number, caption, turns = item
        files = [f"{part}/{_prefix(part)}_{number:012d}.jpg" for part in self.parts[split]]
        file = next((f for f in files if f.rsplit("/", 1)[1] in names_in(str(self.folder / f.rsplit("/", 1)[0]))), "")
        if not file:
            raise MioError(f"{self.name}: there is no {' and no '.join(files)} in {self.folder}")
        image = read_image(self.folder / file)
        return {"id": self.id(split, number), "image": image, "caption": caption, "turns": turns}


def _prefix(part: str) -> str:
    return part if part.startswith("VisualDialog") else f"COCO_{part}"


class Vcr(FolderSource):
    """id, image, question, choices, answer, reasons, reason, boxes and labels of the things that these name.

    Things are called by their class and number: "person2". Boxes are in pixels.
    """

    name = "vcr"
    licence = "see the set's own page; the pictures are stills of films"
    attribution = "Visual Commonsense Reasoning by Zellers et al., visualcommonsense.com"
    seen = ("image",)
    parts: ClassVar[dict[str, str]] = {"train": "train.jsonl", "test": "val.jsonl"}

    def items(self, split: str) -> Sequence[Any]:
        return read_json_lines(self.folder / self.parts[split])

    def example(self, split: str, item: Any) -> dict[str, Any]:
        names = [f"{kind}{number}" for number, kind in enumerate(item["objects"], 1)]
        sentences = [item["question"], *item["answer_choices"], *item["rationale_choices"]]
        named = sorted({i for sentence in sentences for token in sentence if isinstance(token, list) for i in token})
        image = read_image(self.folder / "vcr1images" / item["img_fn"])
        boxes = read_json(self.folder / "vcr1images" / item["metadata_fn"])["boxes"]
        height, width = image.shape[:2]
        drawn = {i: [float(v) for v in boxes[i][:4]] for i in named}  # x1, y1, x2, y2, and how sure it is
        choices, reasons = ([_said(s, names) for s in item[f"{part}_choices"]] for part in ("answer", "rationale"))
        return {
            "id": self.id(split, item["annot_id"]),
            "image": image,
            "question": _said(item["question"], names),
            "choices": choices,
            "answer": choices[item["answer_label"]],
            "reasons": reasons,
            "reason": reasons[item["rationale_label"]],
            "boxes": [within([y1, x1, y2, x2], height, width) for x1, y1, x2, y2 in drawn.values()],
            "labels": [names[i] for i in drawn],
        }


def _said(sentence: Sequence[Any], names: Sequence[str]) -> str:
    """A sentence of words and lists of numbers of things."""
    words = [" and ".join(names[i] for i in one) if isinstance(one, list) else str(one) for one in sentence]
    return re.sub(r" (?=[.,;:?!']|n't)", "", one_space(" ".join(words)))
