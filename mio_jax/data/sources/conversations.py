"""Conversations, with pictures or without. "<image>" in what is asked stands where a picture is.

OpenHermes      FOLDER/openhermes2_5.json
Geo170K         FOLDER/qa_tuning.json, alignment.json, images/geo3k/train/0/img_diagram.png, ...
Vision-Flan     FOLDER/annotation_191-task_1k.json, images_191task_1k/...
LLaVAR          FOLDER/llavar_instruct_16k.json, images/... (the unpacked finetune.zip)
Mantis-Instruct FOLDER/nlvr2/train-00000-of-00001.parquet, nlvr2/train_images/... (unpacked), and its other parts
MMICL           FOLDER/.../vqa-promot-0-train_nature.json and its other parts (any file of JSON lines with "train" in
                its name), and the pictures at the paths that they name, counted from FOLDER
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.media.video_files import read_frames
from mio_jax.data.sources.files import read_json
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import picture_of
from mio_jax.data.sources.row_shards import Shards
from mio_tokenizers.image.io import read_image

ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant", "model")


def turns_of(said: Sequence[dict[str, Any]], who: str, what: str) -> tuple[str, list[list[str]]]:
    """(system prompt or "", [[asked, answered], ...]); ValueError where it does not alternate."""
    system = ""
    if said and said[0][who] == "system":
        system, said = str(said[0][what]), said[1:]
    roles = [one[who] for one in said]
    if not said or len(said) % 2 or any(r not in (ASKS, ANSWERS)[n % 2] for n, r in enumerate(roles)):
        raise ValueError(f"a conversation does not alternate: {roles}")
    words = [str(one[what]).strip() for one in said]
    return system, [list(pair) for pair in zip(words[::2], words[1::2], strict=True)]


class OpenHermes(FolderSource):
    """id, system (may be empty), turns [[asked, answered], ...]."""

    name = "openhermes"
    licence = "see the set's own page"
    attribution = "OpenHermes 2.5 by Teknium"
    media = ()

    def items(self, split: str) -> Sequence[Any]:
        found = enumerate(read_json(self.folder / "openhermes2_5.json"))
        return [(n, one) for n, one in found if self.kept(split, one["conversations"][0]["value"])]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        number, one = item
        system, turns = turns_of(one["conversations"], "from", "value")
        return {"id": self.id(split, number), "system": system or one.get("system_prompt") or "", "turns": turns}


class PictureChats(FolderSource):
    """id, image, turns [[asked, answered], ...]. 2 % of the pictures are "test"."""

    folder_of_pictures: ClassVar[str] = "images"

    @abc.abstractmethod
    def told(self) -> Iterable[dict[str, Any]]:
        """The published entries: image, conversations."""

    def items(self, split: str) -> Sequence[Any]:
        whole = enumerate(self.told())
        return [(n, one) for n, one in whole if one.get("image") and self.kept(split, one["image"])]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        number, one = item
        _, turns = turns_of(one["conversations"], "from", "value")
        image = read_image(self.folder / self.folder_of_pictures / one["image"])
        return {"id": self.id(split, number), "image": image, "turns": turns}


class Geo170K(PictureChats):
    """Problems of geometry with their solutions, and what their figures show."""

    name = "geo170k"
    licence = "see the set's own page"
    attribution = "Geo170K by Gao et al. (G-LLaVA)"

    def told(self) -> Iterator[dict[str, Any]]:
        for file in ("alignment.json", "qa_tuning.json"):
            yield from read_json(self.folder / file)


class VisionFlan(PictureChats):
    """191 tasks with a thousand examples each at most."""

    name = "vision_flan"
    licence = "those of the tasks' own sets"
    attribution = "Vision-Flan by Xu et al."
    folder_of_pictures = "images_191task_1k"

    def told(self) -> Iterable[dict[str, Any]]:
        return list(read_json(self.folder / "annotation_191-task_1k.json"))


class Llavar(PictureChats):
    """Conversations about pictures full of text."""

    name = "llavar"
    licence = "CC BY-NC 4.0; made with a model whose terms apply too"
    attribution = "LLaVAR by Zhang et al."

    def told(self) -> Iterable[dict[str, Any]]:
        return list(read_json(self.folder / "llavar_instruct_16k.json"))


class Mantis(Shards):
    """id, pictures, turns [[asked, answered], ...]: conversations about several pictures, of all parts there are."""

    name = "mantis_instruct"
    licence = "those of its parts"
    attribution = "Mantis-Instruct by Jiang et al."
    media = ("pictures",)
    columns = ("images", "conversation")
    files: ClassVar = {"train": "*/train-*.parquet"}

    def _numbered(self, split: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, value in super()._numbered(split, path):
            yield row, {**value, "folder": path.parent / "train_images"}

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        _, turns = turns_of(row["conversation"], "role", "content")
        pictures = [
            picture_of(one["bytes"], f"{self.name}: images")
            if one["bytes"]
            else read_image(row["folder"] / one["path"])
            for one in row["images"] or ()
        ]
        return {"pictures": pictures, "turns": turns}


class Mmicl(Shards):
    """id, pictures, turns [[asked, answered]]: what is asked may show other pictures with their answers before its own.

    In the published texts "<image0>图" stands where the first picture is, and "<image0>" alone speaks of it. A video
    gives as many of its frames as there are pictures in the text.
    """

    name = "mmicl"
    licence = "those of its parts"
    attribution = "MIC by Zhao et al. (MMICL)"
    media = ("pictures",)
    columns = ("input_text", "input_image", "output_text")
    files: ClassVar = {"train": "**/*train*.json*"}
    shown: ClassVar = re.compile("<image([0-9]+)>图+")
    named: ClassVar = re.compile("<image([0-9]+)>")

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        asked, places = str(row["input_text"]), row["input_image"]
        order = [int(number) for number in self.shown.findall(asked)]
        if isinstance(places, str) and places.endswith(".mp4"):
            pictures = list(read_frames(self._file(places), max(len(order), 1)))
        else:
            pictures = [read_image(self._file(one)) for one in ([places] if isinstance(places, str) else places)]
        if sorted(set(order)) != sorted(order) or max(order, default=0) >= len(pictures):
            raise ValueError(f"{self.name}: a text shows the pictures {order}, but there are {len(pictures)}")
        rest = [n for n in range(len(pictures)) if n not in order]  # they lie behind the question
        asked = self.named.sub(r"image \1", self.shown.sub("<image>", asked))
        turns = [[asked.strip(), str(row["output_text"]).strip()]]
        return {"pictures": [pictures[n] for n in order + rest], "turns": turns}

    def _file(self, place: str) -> Path:
        return self.folder / place.removeprefix(".").lstrip("/")
