"""Sets in COCO's JSON: one object a time with its mask (COCO, LVIS), its joints (COCO), or boxes alone (LVIS).

COCO   FOLDER/annotations/instances_train2017.json, person_keypoints_train2017.json, ...   FOLDER/train2017, val2017
LVIS   FOLDER/lvis_v1_train.json, lvis_v1_val.json                                         FOLDER/train2017, val2017
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mio_jax.data.media.dense_changes import complement, union
from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.files import read_json
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import corners, in_square, mask_of, within
from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image

COCO_LICENCE = "annotations CC BY 4.0; the pictures are Flickr users', under their own terms"
JOINTS = 17
COMPLEMENTS = 0.1  # of the masks of classes


class Found(NamedTuple):
    """An annotation of a picture: the file within the folder, the category's name, and COCO's own entry."""

    file: str
    label: str
    entry: dict[str, Any]


class Objects(FolderSource):
    """What the readers of COCO's JSON share."""

    annotations: ClassVar[dict[str, str]]  # split -> file
    parts: ClassVar[dict[str, str]] = {"train": "train2017", "test": "val2017"}

    def found(self, split: str) -> Iterator[Found]:
        """Annotations by id, without crowds and without those of no size."""
        told = read_json(self.folder / self.annotations[split])
        names = {c["id"]: c["name"].replace("_", " ") for c in told["categories"]}
        files = {image["id"]: self.file_of(image, split) for image in told["images"]}
        for entry in sorted(told["annotations"], key=lambda a: a["id"]):
            if not entry.get("iscrowd") and entry["bbox"][2] > 0 and entry["bbox"][3] > 0:
                yield Found(files[entry["image_id"]], names[entry["category_id"]], entry)

    def file_of(self, image: dict[str, Any], split: str) -> str:
        return f"{self.parts[split]}/{image['file_name']}"


class CocoMasks(Objects):
    """One object of a picture: its mask, box and category. Pictures are made after masks too, so they get codes."""

    name = "coco_masks"
    folder_name = "coco"
    licence = COCO_LICENCE
    attribution = "COCO 2017 by Lin et al., cocodataset.org"
    media: ClassVar[tuple[str, ...]] = ("image", "mask")
    annotations: ClassVar = {
        "train": "annotations/instances_train2017.json",
        "test": "annotations/instances_val2017.json",
    }

    def items(self, split: str) -> Sequence[Found]:
        return [found for found in self.found(split) if found.entry.get("segmentation")]

    def example(self, split: str, item: Found) -> dict[str, Any]:
        """id, image, mask in a square, box [y1, x1, y2, x2] in pixels, label."""
        image = read_image(self.folder / item.file)
        height, width = image.shape[:2]
        mask = mask_of(item.entry["segmentation"], height, width)
        if mask.shape != (height, width):
            raise MioError(f"{item.file} has {height}x{width} pixels and a mask of {mask.shape[0]}x{mask.shape[1]}")
        return {
            "id": self.id(split, item.entry["id"]),
            "image": image,
            "mask": in_square(mask),
            "box": within(corners(item.entry["bbox"]), height, width),
            "label": item.label,
        }


class CocoClassMasks(CocoMasks):
    """All objects of one to three categories of a picture, or everything but them: one such mask a picture.

    Which of them is decided by the picture's name; a tenth of the masks are complements, as the publication augments.
    """

    name = "coco_class_masks"
    seen = ("image",)

    def items(self, split: str) -> Sequence[Any]:
        grouped: dict[str, list[Found]] = {}
        for found in super().items(split):
            grouped.setdefault(found.file, []).append(found)
        return list(grouped.items())

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, mask in a square, classes [one to three], complement "yes" or "no"."""
        file, objects = item
        image = read_image(self.folder / file)
        classes = sorted({found.label for found in objects}, key=lambda label: hash_share(f"{file} {label}", self.name))
        classes = classes[: 1 + int(hash_share(file, "how many classes") ** 2 * min(3, len(classes)))]
        entries = [found.entry for found in objects if found.label in classes]
        mask = union([mask_of(entry["segmentation"], *image.shape[:2]) for entry in entries])
        complemented = hash_share(file, "complement") < COMPLEMENTS
        return {
            "id": self.id(split, Path(file).stem),
            "image": image,
            "mask": in_square(complement(mask) if complemented else mask),
            "classes": classes,
            "complement": "yes" if complemented else "no",
        }


class Lvis(CocoMasks):
    """The same of 1203 categories over the pictures of COCO 2017."""

    name = "lvis"
    folder_name = "lvis"
    licence = "annotations CC BY 4.0; the pictures are COCO's"
    attribution = "LVIS v1 by Gupta et al., lvisdataset.org"
    annotations: ClassVar = {"train": "lvis_v1_train.json", "test": "lvis_v1_val.json"}

    def file_of(self, image: dict[str, Any], split: str) -> str:
        """LVIS splits COCO's pictures in its own way and names the folder in their address."""
        return "/".join(Path(image["coco_url"]).parts[-2:])


class LvisBoxes(Lvis):
    """All boxes of a picture that the annotators looked for; LVIS does not look for every category in every picture."""

    name = "lvis_boxes"
    media = ("image",)
    seen = ("image",)

    def items(self, split: str) -> Sequence[tuple[str, tuple[tuple[list[float], str], ...]]]:  # type: ignore[override]
        boxes: dict[str, list[tuple[list[float], str]]] = {}
        for found in self.found(split):
            boxes.setdefault(found.file, []).append((corners(found.entry["bbox"]), found.label))
        return [(file, tuple(objects)) for file, objects in boxes.items()]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, boxes, labels."""
        file, objects = item
        image = read_image(self.folder / file)
        return {
            "id": self.id(split, Path(file).stem),
            "image": image,
            "boxes": [within(box, *image.shape[:2]) for box, _ in objects],
            "labels": [label for _, label in objects],
        }


class CocoKeypoints(Objects):
    """One person a time: box and joints; people of whom no joint is told are left out."""

    name = "coco_keypoints"
    folder_name = "coco"
    licence = COCO_LICENCE
    attribution = "COCO 2017 by Lin et al., cocodataset.org"
    seen = ("image",)
    annotations: ClassVar = {
        "train": "annotations/person_keypoints_train2017.json",
        "test": "annotations/person_keypoints_val2017.json",
    }

    def items(self, split: str) -> Sequence[Found]:
        return [found for found in self.found(split) if found.entry.get("num_keypoints")]

    def example(self, split: str, item: Found) -> dict[str, Any]:
        """id, image, box, points [17][y, x] in pixels, visible [17] of 0 or 1: those that are not told are 0."""
        image = read_image(self.folder / item.file)
        joints = np.asarray(item.entry["keypoints"], float).reshape(JOINTS, 3)
        return {
            "id": self.id(split, item.entry["id"]),
            "image": image,
            "box": within(corners(item.entry["bbox"]), *image.shape[:2]),
            "points": joints[:, 1::-1].tolist(),
            "visible": [int(v > 0) for v in joints[:, 2]],
        }
