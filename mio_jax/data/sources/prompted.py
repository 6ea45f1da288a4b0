"""Pictures with what was asked for or seen in them.

JourneyDB  FOLDER/data/train/train_anno_realease_repath.jsonl, data/train/imgs/000/....jpg (unpacked), ...
           FOLDER/data/valid/valid_anno_repath.jsonl, data/valid/imgs/...
Flickr30K  FOLDER/results_20130124.token, flickr30k-images/1000092795.jpg, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.sources.files import one_space, read_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.row_shards import Shards
from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image


class JourneyDb(Shards):
    """id, image, captions [the prompt that made it]."""

    name = "journeydb"
    licence = "for research that is not commercial, see its page"
    attribution = "JourneyDB by Sun et al."
    media = ("image",)
    columns = ("img_path", "prompt")
    files: ClassVar = {
        "train": "data/train/train_anno_realease_repath.jsonl",
        "test": "data/valid/valid_anno_repath.jsonl",
    }

    def _files(self, split: str) -> list[Path]:
        path = self.folder / self.files[split]  # the published name of the test list holds "valid"
        if not path.is_file():
            raise MioError(f"{self.name}: there is no {path}; lay it out as the set is published")
        return [path]

    def _numbered(self, split: str, path: Path) -> Any:
        for row, value in super()._numbered(split, path):
            yield row, {**value, "folder": path.parent}

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        image = read_image(row["folder"] / "imgs" / row["img_path"].removeprefix("./"))
        return {"image": image, "captions": [one_space(row["prompt"])]}


class Flickr30K(FolderSource):
    """Five captions of everyday pictures; 2 % of the pictures are "test"."""

    name = "flickr30k"
    licence = "for research that is not commercial; the pictures are Flickr users'"
    attribution = "Flickr30K by Young et al."

    def items(self, split: str) -> Sequence[tuple[str, list[str]]]:
        told: dict[str, list[str]] = {}
        for line in read_lines(self.folder / "results_20130124.token"):
            key, caption = line.split("\t")
            told.setdefault(key.split("#")[0], []).append(one_space(caption))
        return [(file, captions) for file, captions in told.items() if self.kept(split, file)]

    def example(self, split: str, item: tuple[str, list[str]]) -> dict[str, Any]:
        """id, image, captions."""
        file, captions = item
        image = read_image(self.folder / "flickr30k-images" / file)
        return {"id": self.id(split, Path(file).stem), "image": image, "captions": captions}
