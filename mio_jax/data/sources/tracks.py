"""One object followed through a video, which is published as frames, or is to be fetched.

GOT-10k     FOLDER/train/list.txt, train/GOT-10k_Train_000001/00000001.jpg, ..., groundtruth.txt, meta_info.ini; val/...
LaSOT       FOLDER/airplane/airplane-1/img/00000001.jpg, ..., groundtruth.txt; FOLDER/testing_set.txt
YouTube-BB  FOLDER/yt_bb_detection_train.csv, yt_bb_detection_validation.csv (unpacked), videos/AAB6lO-XiKE.mp4, ...
"""

from __future__ import annotations

import configparser
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.media.video_files import frames_at
from mio_jax.data.sources.choices import one_size
from mio_jax.data.sources.files import names_in, read_lines, rows_of_table
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import corners, within
from mio_tokenizers.image.io import read_image

FRAMES = 5  # the last is looked at as the picture, those before it as its history


class Track(FolderSource):
    """id, frames uint8 [5, height, width, 3], boxes [5][y1, x1, y2, x2] in pixels, label."""

    media = ("frames",)
    seen = ("frames",)

    def track(self, split: str, key: str, frames: Path, told: Path, label: str) -> dict[str, Any]:
        """Frames at even distances from those in which the object has a box."""
        boxes = [corners([float(x) for x in line.replace("\t", ",").split(",")]) for line in read_lines(told)]
        shown = [n for n, (y1, x1, y2, x2) in enumerate(boxes) if y2 > y1 and x2 > x1]
        if len(shown) < FRAMES:
            raise ValueError(f"{key} shows its object in {len(shown)} frames, and {FRAMES} are needed")
        chosen = [shown[int(i)] for i in np.linspace(0, len(shown) - 1, FRAMES)]
        pictures = one_size([read_image(frames / f"{n + 1:08d}.jpg") for n in chosen])
        height, width = pictures.shape[1:3]
        return {
            "id": self.id(split, key),
            "frames": pictures,
            "boxes": [within(boxes[n], height, width) for n in chosen],
            "label": label,
        }


class Got10k(Track):
    """The published validation set is "test": of the test set no boxes are told."""

    name = "got10k"
    licence = "CC BY-NC-SA 4.0"
    attribution = "GOT-10k by Huang et al."

    def items(self, split: str) -> Sequence[Path]:
        part = self.folder / ("train" if split == "train" else "val")
        return [part / name.strip() for name in read_lines(part / "list.txt")]

    def example(self, split: str, item: Path) -> dict[str, Any]:
        about = configparser.ConfigParser()
        about.read_string((item / "meta_info.ini").read_text(encoding="utf-8"))
        label = about["METAINFO"]["object_class"]
        return self.track(split, item.name, item, item / "groundtruth.txt", label)


class LaSot(Track):
    name = "lasot"
    licence = "Apache-2.0 of the annotations; the videos are YouTube's users'"
    attribution = "LaSOT by Fan et al."

    def items(self, split: str) -> Sequence[Path]:
        test = {line.strip() for line in read_lines(self.folder / "testing_set.txt")}
        found = sorted(path.parent for path in self.folder.glob("*/*/groundtruth.txt"))
        return [path for path in found if (path.name in test) == (split == "test")]

    def example(self, split: str, item: Path) -> dict[str, Any]:
        return self.track(split, item.name, item / "img", item / "groundtruth.txt", item.parent.name)


class YouTubeBb(FolderSource):
    """id, frames, boxes and label as of `Track`; the published validation set is "test".

    An object has a box every second. Videos vanish: those that are not in videos/ are left out.
    """

    name = "youtube_bb"
    licence = "CC BY 4.0 of the annotations; the videos are YouTube's users'"
    attribution = "YouTube-BoundingBoxes by Real et al., Google"
    media = ("frames",)
    seen = ("frames",)
    columns: ClassVar = (
        *("youtube_id", "timestamp_ms", "class_id", "class_name", "object_id", "object_presence"),
        *("xmin", "xmax", "ymin", "ymax"),
    )

    def items(self, split: str) -> Sequence[Any]:
        there = names_in(str(self.folder / "videos"))
        part = "train" if split == "train" else "validation"
        rows = rows_of_table(self.folder / f"yt_bb_detection_{part}.csv", self.columns)
        found = []
        # Rows of one object stand behind each other.
        for key, group in itertools.groupby(rows, lambda row: (row["youtube_id"], row["class_id"], row["object_id"])):
            shown = [row for row in group if row["object_presence"] == "present"]
            if f"{key[0]}.mp4" in there and len(shown) >= FRAMES:
                chosen = [shown[int(i)] for i in np.linspace(0, len(shown) - 1, FRAMES)]
                boxes = [[float(row[edge]) for edge in ("ymin", "xmin", "ymax", "xmax")] for row in chosen]
                found.append((key, [int(row["timestamp_ms"]) / 1000 for row in chosen], boxes, shown[0]["class_name"]))
        return found

    def example(self, split: str, item: Any) -> dict[str, Any]:
        key, moments, boxes, label = item
        frames = frames_at(self.folder / "videos" / f"{key[0]}.mp4", moments)
        height, width = frames.shape[1:3]
        pixels = np.array(boxes) * [height, width, height, width]
        return {
            "id": self.id(split, "-".join(key)),
            "frames": frames,
            "boxes": [within(box, height, width) for box in pixels.round(3).tolist()],
            "label": label,
        }
