"""COCO 2017 from a folder of yours, as its site publishes it: captions and boxes of everyday pictures.

FOLDER/
  annotations/captions_train2017.json, captions_val2017.json, instances_train2017.json, instances_val2017.json
  train2017/000000000009.jpg ...   val2017/...
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mio_jax.data.sources.base import require_split
from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image

PARTS = {"train": "train2017", "test": "val2017"}  # the published test set has no annotations


class Picture(NamedTuple):
    file: str
    captions: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]  # (y1, x1, y2, x2) in pixels
    labels: tuple[str, ...]


def _annotations(folder: str, name: str) -> dict[str, Any]:
    path = Path(folder) / "annotations" / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MioError(f"coco: there is no {path}; the folder must be laid out as COCO 2017 is published") from None
    except (OSError, ValueError) as error:
        raise MioError(f"coco: {path} cannot be read ({error}); fetch it again") from error


@functools.lru_cache(maxsize=4)
def pictures(folder: str, part: str) -> tuple[Picture, ...]:
    """All pictures of "train2017" or "val2017", by id. Raises MioError on files that are absent or not COCO's."""
    told, drawn = (_annotations(folder, f"{kind}_{part}.json") for kind in ("captions", "instances"))
    try:
        names = {c["id"]: c["name"] for c in drawn["categories"]}
        captions: dict[int, list[str]] = {}
        for item in sorted(told["annotations"], key=lambda a: a["id"]):
            captions.setdefault(item["image_id"], []).append(" ".join(item["caption"].split()))
        boxes: dict[int, list[tuple[tuple[float, float, float, float], str]]] = {}
        for item in sorted(drawn["annotations"], key=lambda a: a["id"]):
            x, y, width, height = item["bbox"]
            if not item.get("iscrowd") and width > 0 and height > 0:
                found = ((y, x, y + height, x + width), names[item["category_id"]])
                boxes.setdefault(item["image_id"], []).append(found)
        made = []
        for image in sorted(told["images"], key=lambda i: i["id"]):
            objects = boxes.get(image["id"], [])
            made.append(
                Picture(
                    image["file_name"],
                    tuple(captions.get(image["id"], ())),
                    tuple(box for box, _ in objects),
                    tuple(label for _, label in objects),
                )
            )
        return tuple(made)
    except (KeyError, TypeError, ValueError) as error:
        raise MioError(f"coco: the annotations of {part} in {folder} are not COCO's ({error!r}); fetch them") from error


class Coco:
    """Pictures of any size with five captions each, and the boxes and categories of single objects (no crowds)."""

    name = "coco"
    version = "1"
    licence = "annotations CC BY 4.0; the pictures are Flickr users', under their own terms"
    attribution = "COCO 2017 by Lin et al., cocodataset.org"
    media: tuple[str, ...] = ("image",)
    splits: tuple[str, ...] = ("train", "test")

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)

    def count(self, split: str) -> int:
        require_split(self, split)
        return len(pictures(self.folder, PARTS[split]))

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """id, image, captions [str], boxes [[y1, x1, y2, x2]] in pixels, labels [str]. MioError if a picture lacks."""
        require_split(self, split)
        part = PARTS[split]
        for picture in pictures(self.folder, part)[start:stop]:
            yield {
                "id": f"coco/{split}/{Path(picture.file).stem}",
                "image": read_image(Path(self.folder) / part / picture.file),
                "captions": list(picture.captions),
                "boxes": [list(box) for box in picture.boxes],
                "labels": list(picture.labels),
            }
