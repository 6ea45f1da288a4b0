"""RedCaps: pictures that people showed on Reddit, with what they said of them.

FOLDER/annotations/abandoned_2017.json, ...   FOLDER/images/abandoned/5x3c2b.jpg, ...

Pictures vanish: those that are not in their folder are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mio_jax.data.sources.choices import one_size
from mio_jax.data.sources.files import names_in, one_space, read_json
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import small
from mio_tokenizers.image.io import read_image


class RedCaps(FolderSource):
    name = "redcaps"
    licence = "annotations CC BY 4.0; the pictures are their authors'"
    attribution = "RedCaps by Desai et al."

    def items(self, split: str) -> Sequence[Any]:
        found = []
        files = sorted((self.folder / "annotations").glob("*.json"))
        if not files:
            raise FileNotFoundError(2, "", str(self.folder / "annotations" / "*.json"))
        for path in files:
            for one in read_json(path)["annotations"]:
                file = f"{one['image_id']}.jpg"
                part = f"images/{one['subreddit'].lower()}"
                if self.kept(split, one["image_id"]) and file in names_in(str(self.folder / part)):
                    found.append((f"{part}/{file}", one_space(one["caption"])))
        return found

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, captions [one text]."""
        file, text = item
        key = file.rsplit("/", 1)[-1].removesuffix(".jpg")
        return {"id": self.id(split, key), "image": read_image(self.folder / file), "captions": [text]}


class RedCapsInterleaved(RedCaps):
    """id, frames uint8 [pictures, height, width, 3] padded to one size, captions [a text for each]."""

    name = "redcaps_interleaved"
    folder_name = "redcaps"
    media = ("frames",)
    seen = ("frames",)
    group: ClassVar[int] = 4

    def items(self, split: str) -> Sequence[Any]:
        found = RedCaps(self.folder).items(split)
        return [found[n : n + self.group] for n in range(0, len(found) - self.group + 1, self.group)]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        key = item[0][0].rsplit("/", 1)[-1].removesuffix(".jpg")
        pictures = [small(read_image(self.folder / file)) for file, _ in item]
        return {"id": self.id(split, key), "frames": one_size(pictures), "captions": [text for _, text in item]}
