"""Questions with answers to choose from, statements to judge, and conversations about a picture.

ScienceQA  FOLDER/problems.json, pid_splits.json, train/1/image.png, test/...
A-OKVQA    FOLDER/aokvqa_v1p0_train.json, aokvqa_v1p0_val.json, train2017/, val2017/ (COCO's)
VSR        FOLDER/train.jsonl, test.jsonl, images/000000050403.jpg
NLVR2      FOLDER/data/train.json, dev.json (a JSON value a line), images/train/57/..., dev/...
LLaVA      FOLDER/llava_instruct_150k.json, train2017/ (COCO's)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.sources.files import most_common, one_space, read_json, read_json_lines
from mio_jax.data.sources.folder import FolderSource
from mio_tokenizers.image.io import read_image


class ScienceQa(FolderSource):
    """Questions of school books that have a picture."""

    name = "scienceqa"
    licence = "CC BY-NC-SA 4.0"
    attribution = "ScienceQA by Lu et al., scienceqa.github.io"
    seen = ("image",)

    def items(self, split: str) -> Sequence[Any]:
        problems = read_json(self.folder / "problems.json")
        numbers = read_json(self.folder / "pid_splits.json")[split]
        return [(number, problems[number]) for number in map(str, numbers) if problems[number]["image"]]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, question (its hint before it), choices, answer."""
        number, one = item
        return {
            "id": self.id(split, number),
            "image": read_image(self.folder / split / number / one["image"]),
            "question": one_space(f"{one.get('hint', '')} {one['question']}"),
            "choices": list(one["choices"]),
            "answer": one["choices"][one["answer"]],
        }


class ScienceQaReasons(ScienceQa):
    """The same with the published reasons of the answers: those that have any."""

    name = "scienceqa_reasons"
    folder_name = "scienceqa"

    def items(self, split: str) -> Sequence[Any]:
        return [(number, one) for number, one in super().items(split) if one["lecture"] or one["solution"]]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, question, choices, answer, reason (lecture and solution)."""
        reason = one_space(f"{item[1]['lecture']} {item[1]['solution']}")
        return {**super().example(split, item), "reason": reason}


class AOkVqa(FolderSource):
    """Questions that need knowledge, with four choices and free answers."""

    name = "aokvqa"
    licence = "Apache-2.0; the pictures are Flickr users', under their own terms"
    attribution = "A-OKVQA by Schwenk et al., on COCO"
    seen = ("image",)
    parts: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}

    def items(self, split: str) -> Sequence[Any]:
        return list(read_json(self.folder / f"aokvqa_v1p0_{self.parts[split]}.json"))

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, question, choices, answer, questions [[question, the answer of most people]]."""
        file = self.folder / f"{self.parts[split]}2017" / f"{item['image_id']:012d}.jpg"
        question = one_space(item["question"])
        return {
            "id": self.id(split, item["question_id"]),
            "image": read_image(file),
            "question": question,
            "choices": list(item["choices"]),
            "answer": item["choices"][item["correct_choice_idx"]],
            "questions": [[question, most_common(item["direct_answers"])]],
        }


class Vsr(FolderSource):
    """Whether a sentence about how two things lie to each other is true."""

    name = "vsr"
    licence = "CC BY 4.0"
    attribution = "Visual Spatial Reasoning by Liu et al., on COCO"
    seen = ("image",)

    def items(self, split: str) -> Sequence[Any]:
        return read_json_lines(self.folder / f"{split}.jsonl")

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, statement, answer "true" or "false". One picture may have several statements."""
        return {
            "id": self.id(split, f"{item['image'].rsplit('.', 1)[0]}-{one_space(item['caption'])}"),
            "image": read_image(self.folder / "images" / item["image"]),
            "statement": one_space(item["caption"]),
            "answer": "true" if item["label"] else "false",
        }


class Nlvr2(FolderSource):
    """Whether a sentence about two photographs is true."""

    name = "nlvr2"
    licence = "CC BY 4.0"
    attribution = "NLVR2 by Suhr et al., lil.nlp.cornell.edu/nlvr"
    media = ("frames",)
    seen = ("frames",)

    def items(self, split: str) -> Sequence[Any]:
        return read_json_lines(self.folder / "data" / ("train.json" if split == "train" else "dev.json"))

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, frames uint8 [2, height, width, 3] (padded to one size with zeros), statement, answer."""
        pair = item["identifier"].rsplit("-", 1)[0]
        folder = self.folder / (f"images/train/{item['directory']}" if split == "train" else "dev")
        return {
            "id": self.id(split, item["identifier"]),
            "frames": one_size([read_image(folder / f"{pair}-img{k}.png") for k in (0, 1)]),
            "statement": one_space(item["sentence"]),
            "answer": str(item["label"]).lower(),
        }


class LlavaInstruct(FolderSource):
    """Conversations about COCO's pictures."""

    name = "llava_instruct"
    licence = "CC BY 4.0; made with a model whose terms apply too"
    attribution = "LLaVA-Instruct-150K by Liu et al., on COCO"
    seen = ("image",)

    def items(self, split: str) -> Sequence[Any]:
        found = enumerate(read_json(self.folder / "llava_instruct_150k.json"))
        return [(number, one) for number, one in found if self.kept(split, one["image"])]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, turns [[what is asked, what is answered], ...]."""
        number, one = item
        said = [one_space(turn["value"].replace("<image>", " ")) for turn in one["conversations"]]
        who = [turn["from"] for turn in one["conversations"]]
        if who != ["human", "gpt"] * (len(said) // 2):
            raise ValueError(f"conversation {one['id']} does not alternate: {who}")
        return {
            "id": self.id(split, number),
            "image": read_image(self.folder / "train2017" / one["image"]),
            "turns": [list(pair) for pair in zip(said[::2], said[1::2], strict=True)],
        }


def one_size(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of any sizes in the middles of frames of one size, uint8 [n, height, width, 3], zeros around them."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    out = np.zeros((len(pictures), height, width, 3), np.uint8)
    for frame, picture in zip(out, pictures, strict=True):
        top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
        frame[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return out
