"""Boxes that are published in files of their own: Open Images, and the words of COCO-Text.

Open Images  FOLDER/oidv6-train-annotations-bbox.csv, validation-annotations-bbox.csv,
             class-descriptions-boxable.csv, train/, validation/ (000002b66c9c498e.jpg ...)
COCO-Text    FOLDER/cocotext.v2.json, train2014/ (COCO's)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mio_jax.data.sources.files import read_json, read_table, rows_of_table
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import corners, within
from mio_tokenizers.image.io import read_image


class OpenImages(FolderSource):
    """Boxes of 600 classes; those that stand for a group are left out."""

    name = "open_images"
    licence = "annotations CC BY 4.0; the pictures CC BY 2.0, by their authors"
    attribution = "Open Images V6 by Kuznetsova et al., Google"
    seen = ("image",)
    parts: ClassVar[dict[str, tuple[str, str]]] = {
        "train": ("oidv6-train-annotations-bbox.csv", "train"),
        "test": ("validation-annotations-bbox.csv", "validation"),
    }

    def items(self, split: str) -> Sequence[Any]:
        file, _ = self.parts[split]
        told = read_table(self.folder / "class-descriptions-boxable.csv", ("class", "name"))
        names = {row["class"]: row["name"].lower() for row in told}
        grouped: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
        for row in rows_of_table(self.folder / file):
            box = tuple(float(row[edge]) for edge in ("YMin", "XMin", "YMax", "XMax"))
            if row["IsGroupOf"] != "1" and box[2] > box[0] and box[3] > box[1]:
                grouped.setdefault(row["ImageID"], []).append((names[row["LabelName"]], box))
        return list(grouped.items())

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, boxes in pixels, labels."""
        number, objects = item
        image = read_image(self.folder / self.parts[split][1] / f"{number}.jpg")
        height, width = image.shape[:2]
        return {
            "id": self.id(split, number),
            "image": image,
            "boxes": [[y1 * height, x1 * width, y2 * height, x2 * width] for _, (y1, x1, y2, x2) in objects],
            "labels": [label for label, _ in objects],
        }


class CocoText(FolderSource):
    """Boxes of words that can be read, and in labels what they say."""

    name = "coco_text"
    licence = "annotations CC BY 4.0; the pictures are Flickr users', under their own terms"
    attribution = "COCO-Text 2.0 by Veit et al., on COCO"
    seen = ("image",)

    def items(self, split: str) -> Sequence[Any]:
        told = read_json(self.folder / "cocotext.v2.json")
        words: dict[int, list[tuple[list[float], str]]] = {}
        for entry in told["anns"].values():
            text = "".join(entry.get("utf8_string", "").split())
            if entry["legibility"] == "legible" and text and entry["bbox"][2] > 0 and entry["bbox"][3] > 0:
                words.setdefault(entry["image_id"], []).append((corners(entry["bbox"]), text))
        wanted = "train" if split == "train" else "val"
        pictures = sorted(told["imgs"].values(), key=lambda one: one["id"])
        return [(one["file_name"], words[one["id"]]) for one in pictures if one["set"] == wanted and one["id"] in words]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, boxes in pixels, labels."""
        file, words = item
        image = read_image(self.folder / "train2014" / file)
        return {
            "id": self.id(split, file.rsplit(".", 1)[0]),
            "image": image,
            "boxes": [within(box, *image.shape[:2]) for box, _ in words],
            "labels": [word for _, word in words],
        }
