"""Questions about pictures, with all that is asked about one picture together.

VQAv2     FOLDER/v2_OpenEnded_mscoco_train2014_questions.json, v2_mscoco_train2014_annotations.json, train2014/, ...
OK-VQA    FOLDER/OpenEnded_mscoco_train2014_questions.json, mscoco_train2014_annotations.json, train2014/, val2014/
GQA       FOLDER/train_balanced_questions.json, val_balanced_questions.json, images/2370799.jpg
TallyQA   FOLDER/train.json, test.json, train2014/, val2014/, VG_100K/, VG_100K_2/
TextVQA   FOLDER/TextVQA_0.5.1_train.json, TextVQA_0.5.1_val.json, train_images/
VizWiz    FOLDER/Annotations/train.json, val.json, train/, val/
ST-VQA    FOLDER/train_task_3.json, train/coco-text/COCO_train2014_000000478319.jpg ...
OCR-VQA   FOLDER/dataset.json, images/0061007161.jpg ...
CLEVR     FOLDER/questions/CLEVR_train_questions.json, CLEVR_val_questions.json, images/train/, images/val/

Where several people answered, the answer of most of them stands.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.sources.files import most_common, one_space, read_json
from mio_jax.data.sources.folder import FolderSource
from mio_tokenizers.image.io import read_image

Asked = tuple[str, str, str]  # file within the folder, question, answer


class Questions(FolderSource):
    """A picture and what is asked about it. A set says in which order its files hold (file, question, answer)."""

    seen = ("image",)

    @abc.abstractmethod
    def asked(self, split: str) -> Iterator[Asked]: ...

    def items(self, split: str) -> Sequence[tuple[str, tuple[tuple[str, str], ...]]]:
        grouped: dict[str, list[tuple[str, str]]] = {}
        for file, question, answer in self.asked(split):
            grouped.setdefault(file, []).append((one_space(question), one_space(answer)))
        return [(file, tuple(pairs)) for file, pairs in grouped.items()]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, questions [[question, answer], ...]."""
        file, pairs = item
        return {
            "id": self.id(split, file.rsplit(".", 1)[0]),
            "image": read_image(self.folder / file),
            "questions": [list(pair) for pair in pairs],
        }


class VqaV2(Questions):
    name = "vqav2"
    licence = "questions CC BY 4.0; the pictures are Flickr users', under their own terms"
    attribution = "VQA v2 by Goyal et al., visualqa.org"
    prefix: ClassVar[str] = "v2_"
    parts: ClassVar[dict[str, str]] = {"train": "train2014", "test": "val2014"}

    def asked(self, split: str) -> Iterator[Asked]:
        part = self.parts[split]
        told = read_json(self.folder / f"{self.prefix}OpenEnded_mscoco_{part}_questions.json")["questions"]
        answered = read_json(self.folder / f"{self.prefix}mscoco_{part}_annotations.json")["annotations"]
        answers = {a["question_id"]: most_common([one["answer"] for one in a["answers"]]) for a in answered}
        for one in told:
            file = f"{part}/COCO_{part}_{one['image_id']:012d}.jpg"
            yield file, one["question"], answers[one["question_id"]]


class OkVqa(VqaV2):
    """Questions that need knowledge beside the picture."""

    name = "okvqa"
    attribution = "OK-VQA by Marino et al., okvqa.allenai.org"
    prefix = ""


class Gqa(Questions):
    name = "gqa"
    licence = "CC BY 4.0"
    attribution = "GQA by Hudson and Manning, on Visual Genome"
    parts: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}

    def asked(self, split: str) -> Iterator[Asked]:
        for one in read_json(self.folder / f"{self.parts[split]}_balanced_questions.json").values():
            yield f"images/{one['imageId']}.jpg", one["question"], one["answer"]


class TallyQa(Questions):
    """How many?"""

    name = "tallyqa"
    licence = "Apache-2.0"
    attribution = "TallyQA by Acharya et al., on COCO and Visual Genome"

    def asked(self, split: str) -> Iterator[Asked]:
        for one in read_json(self.folder / f"{split}.json"):
            yield one["image"], one["question"], str(one["answer"])


class TextVqa(Questions):
    """Questions whose answers stand written in the picture."""

    name = "textvqa"
    licence = "CC BY 4.0"
    attribution = "TextVQA by Singh et al., on Open Images"
    parts: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}

    def asked(self, split: str) -> Iterator[Asked]:
        for one in read_json(self.folder / f"TextVQA_0.5.1_{self.parts[split]}.json")["data"]:
            yield f"train_images/{one['image_id']}.jpg", one["question"], most_common(one["answers"])


class VizWiz(Questions):
    """Questions of blind people about photographs that they took."""

    name = "vizwiz"
    licence = "CC BY 4.0"
    attribution = "VizWiz-VQA by Gurari et al., vizwiz.org"
    parts: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}

    def asked(self, split: str) -> Iterator[Asked]:
        part = self.parts[split]
        for one in read_json(self.folder / f"Annotations/{part}.json"):
            yield f"{part}/{one['image']}", one["question"], most_common([a["answer"] for a in one["answers"]])


class StVqa(Questions):
    """Questions whose answers stand written in the picture. Its test set has no answers: 2 % of "train" are "test"."""

    name = "stvqa"
    licence = "see the set's own page; the pictures are those of their sets"
    attribution = "ST-VQA by Biten et al., rrc.cvc.uab.es"

    def asked(self, split: str) -> Iterator[Asked]:
        for one in read_json(self.folder / "train_task_3.json")["data"]:
            file = f"train/{one['dataset']}/{one['file_name']}"
            if self.kept(split, file):
                yield file, one["question"], most_common(one["answers"])


class OcrVqa(Questions):
    """What stands on the covers of books."""

    name = "ocrvqa"
    licence = "see the set's own page; the covers are their publishers'"
    attribution = "OCR-VQA by Mishra et al."
    parts: ClassVar[dict[str, int]] = {"train": 1, "test": 3}

    def asked(self, split: str) -> Iterator[Asked]:
        for key, one in read_json(self.folder / "dataset.json").items():
            if one["split"] == self.parts[split]:
                ending = Path(one["imageURL"]).suffix
                for question, answer in zip(one["questions"], one["answers"], strict=True):
                    yield f"images/{key}{ending}", question, answer


class Clevr(Questions):
    """Rendered solids."""

    name = "clevr"
    licence = "CC BY 4.0"
    attribution = "CLEVR by Johnson et al."
    parts: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}

    def asked(self, split: str) -> Iterator[Asked]:
        part = self.parts[split]
        for one in read_json(self.folder / f"questions/CLEVR_{part}_questions.json")["questions"]:
            yield f"images/{part}/{one['image_filename']}", one["question"], str(one["answer"])
