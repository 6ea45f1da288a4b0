"""Requests about pictures that stand beside them in base64.

M3IT      FOLDER/coco/train/0000.parquet, coco/validation/0000.parquet, vqa-v2/train/..., ...: a folder a set, in the
          Parquet form that its hub makes (branch refs/convert/parquet; "partial-train" of larger ones)
MIMIC-IT  FOLDER/Parquets/LA.parquet, the pictures of a part; FOLDER/json/LA/LADD_instructions.json, ...: what is asked

Both have parts that show several pictures or frames of videos. Leave those out of the folder (activitynet-qa, msrvtt,
nlvr2, ...; DC, E4D, SD, ...): preparing sets aside, with a line each, what does not show one picture.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.sources.files import one_space, published, read_json
from mio_jax.data.sources.pictures import picture_of
from mio_jax.data.sources.row_shards import Shards
from mio_jax.errors import MioError

WORDS = 250  # of a conversation: longer ones do not fit beside their prompt


def picture_in(text: str, where: str) -> Any:
    """The uint8 [height, width, 3] picture in base64. Raises MioError naming `where` it stands."""
    try:
        return picture_of(base64.b64decode(text, validate=True), where)
    except (binascii.Error, ValueError) as error:
        raise MioError(f"{where} is not base64 ({error})") from error


class M3It(Shards):
    """id, image, turns [[what is asked, what is answered]]. Sets without a validation split have no test."""

    name = "m3it"
    licence = "those of its sets"
    attribution = "M3IT by Li et al."
    media = ("image",)
    seen = ("image",)
    columns = ("instruction", "inputs", "image_base64_str", "outputs")
    files: ClassVar = {"train": "*/*train/*.parquet", "test": "*/*validation/*.parquet"}

    def _files(self, split: str) -> list[Path]:
        found = sorted(self.folder.glob(self.files[split]))
        if not found:
            raise MioError(f"{self.name}: there is no {self.files[split]} in {self.folder}; see its reader")
        return found

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        pictures = row["image_base64_str"]
        if len(pictures) != 1:
            raise MioError(f"{self.name}: an instruction with {len(pictures)} pictures, where one is looked at")
        asked = one_space(f"{row['instruction']} {row['inputs'] or ''}")
        return {"image": picture_in(pictures[0], "image_base64_str"), "turns": [[asked, row["outputs"].strip()]]}


@functools.lru_cache(maxsize=2)
def _told(folder: Path, name: str) -> dict[str, list[list[str]]]:
    """Picture -> [[what is asked, what is answered], ...] of the instruction files in a folder, of one picture each."""
    told: dict[str, list[list[str]]] = {}
    with published(name, folder):
        files = sorted(folder.glob("*_instructions.json"))
        if not files:
            raise FileNotFoundError(2, "", str(folder / "*_instructions.json"))
        for path in files:
            for one in read_json(path)["data"].values():
                if len(one["image_ids"]) == 1:
                    turn = [one_space(one["instruction"]), one["answer"].strip()]
                    told.setdefault(one["image_ids"][0], []).append(turn)
    return told


class MimicIt(Shards):
    """id, image, turns [[what is asked, what is answered], ...]: what is asked of a picture, as far as WORDS reach."""

    name = "mimic_it"
    licence = "see the set's own page; the pictures those of their sets"
    attribution = "MIMIC-IT by Li et al., NTU"
    media = ("image",)
    seen = ("image",)
    columns = ("__index_level_0__", "base64")  # pandas' name of an index without a name
    files: ClassVar = {"train": "Parquets/*.parquet"}

    def _numbered(self, split: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, value in super()._numbered(split, path):
            yield row, {**value, "folder": self.folder / "json" / path.stem}

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        key = row["__index_level_0__"]
        turns = _told(row["folder"], self.name).get(key)
        if turns is None:
            raise MioError(f"{self.name}: no instruction in {row['folder']} asks about the picture {key} alone")
        kept = turns[:1]
        for turn in turns[1:]:
            if sum(len(said.split()) for pair in (*kept, turn) for said in pair) > WORDS:
                break
            kept.append(turn)
        return {"image": picture_in(row["base64"], key), "turns": kept}
