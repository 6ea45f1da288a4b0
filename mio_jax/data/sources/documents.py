"""Documents in which pictures and text take turns.

MMC4     FOLDER/docs_no_face_shard_0_v3.jsonl (unpacked), ...; images/b9040a0dbb22.jpg: pictures under their image_name
OBELICS  FOLDER/data/train-00000-of-01439-....parquet; images/ with the pictures, published as addresses alone:
         each named by the SHA-1 of its address in hexadecimal and an ending, .jpg say
VIST     FOLDER/sis/train.story-in-sequence.json, test....; images/train/2626977325.jpg, images/test/...

Pictures of the web vanish: those that are not there are left out of their documents, and so are documents without any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.sources.files import names_in, one_space, read_json
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.row_shards import Shards
from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif")
Part = str | int  # a text, or the number of a picture


class Documents(Shards):
    """id, pictures [uint8 [height, width, 3], ...], parts [text or number of a picture, ...], scores [number, ...].

    `scores` are those that the set itself has for how well a picture fits its text; empty where it has none.
    """

    media: ClassVar[tuple[str, ...]] = ("pictures",)

    def found(self, name: str) -> np.ndarray | None:
        """The picture of this name in images/, None where it is not there."""
        return read_image(self.folder / "images" / name) if name in names_in(str(self.folder / "images")) else None

    def document(
        self, parts: Sequence[Part], pictures: Sequence[np.ndarray], scores: Sequence[float]
    ) -> dict[str, Any]:
        if not pictures:
            raise MioError(f"{self.name}: none of this document's pictures is in {self.folder / 'images'}")
        return {"pictures": list(pictures), "parts": list(parts), "scores": list(scores)}


class Mmc4(Documents):
    """Sentences, each picture before the one that it fits best, as its authors put them together."""

    name = "mmc4_core_ff"
    licence = "ODC-BY of the text; the pictures are their authors'"
    attribution = "Multimodal C4 by Zhu et al., the core subset with fewer faces"
    files: ClassVar = {"train": "docs_no_face_shard_*_v3.jsonl"}
    columns = ("text_list", "image_info")

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        placed: dict[int, list[tuple[np.ndarray, float]]] = {}
        for one in row["image_info"]:
            picture = self.found(one["image_name"])
            if picture is not None:
                placed.setdefault(int(one["matched_text_index"]), []).append((picture, float(one["matched_sim"])))
        parts: list[Part] = []
        pictures: list[np.ndarray] = []
        scores: list[float] = []
        for number, sentence in enumerate(row["text_list"]):
            for picture, score in placed.get(number, ()):
                parts.append(len(pictures))
                pictures.append(picture)
                scores.append(score)
            parts.append(one_space(sentence))
        return self.document(parts, pictures, scores)


class Obelics(Documents):
    """Paragraphs and pictures in the order of their page."""

    name = "obelics"
    licence = "CC BY 4.0; the pictures are their authors'"
    attribution = "OBELICS by Laurençon et al., Hugging Face"
    files: ClassVar = {"train": "data/train-*.parquet"}
    columns = ("images", "texts")

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        there = names_in(str(self.folder / "images"))
        parts: list[Part] = []
        pictures: list[np.ndarray] = []
        for address, text in zip(row["images"], row["texts"], strict=True):
            if address:
                stem = hashlib.sha1(address.encode()).hexdigest()
                name = next((stem + ending for ending in ENDINGS if stem + ending in there), "")
                picture = self.found(name) if name else None
                if picture is not None:
                    parts.append(len(pictures))
                    pictures.append(picture)
            if text and text.strip():
                parts.append(text.strip())
        return self.document(parts, pictures, ())


class Vist(FolderSource):
    """id, pictures of a story, story [a sentence for each], title of their album (may be empty)."""

    name = "vist"
    licence = "see the set's own page; the pictures are Flickr users'"
    attribution = "Visual Storytelling (VIST) by Huang et al."
    media = ("pictures",)

    def items(self, split: str) -> Sequence[Any]:
        """Stories whose pictures are all there."""
        told = read_json(self.folder / f"sis/{split}.story-in-sequence.json")
        titles = {str(album["id"]): one_space(album["title"]) for album in told["albums"]}
        albums = {str(one["id"]): str(one["album_id"]) for one in told["images"]}
        stories: dict[str, list[tuple[int, str, str]]] = {}
        for [one] in told["annotations"]:
            place = int(one["worker_arranged_photo_order"])
            entry = (place, str(one["photo_flickr_id"]), one_space(one["original_text"]))
            stories.setdefault(str(one["story_id"]), []).append(entry)
        there = names_in(str(self.folder / "images" / split))
        found = []
        for key, story in stories.items():
            story.sort()
            files = [next((p + e for e in ENDINGS if p + e in there), "") for _, p, _ in story]
            if all(files):
                title = titles.get(albums.get(story[0][1], ""), "")
                found.append((key, files, [sentence for _, _, sentence in story], title))
        return found

    def example(self, split: str, item: Any) -> dict[str, Any]:
        key, files, story, title = item
        pictures = [read_image(Path(self.folder) / "images" / split / file) for file in files]
        return {"id": self.id(split, key), "pictures": pictures, "story": story, "title": title}
