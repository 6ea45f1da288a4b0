"""MultiGen-20M: pictures with edges, depth, poses and the like that were computed from them.

FOLDER (the "dataset" folder of its bucket, unpacked):
  json_files/aesthetics_plus_all_group_canny_all.json, ...depth_all.json, ...   a JSON a line: source, prompt,
                                                               control_canny (in the others control_depth, ...)
  images/...      the pictures, under their "source"
  conditions/...  what was computed, under their "control_..."
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.files import one_space
from mio_jax.data.sources.folder import TEST_SHARE
from mio_jax.data.sources.pictures import in_square
from mio_jax.data.sources.row_shards import Shards, rows_of
from mio_tokenizers.image.io import read_image

# What follows "control_" -> what it is called in a prompt.
CONDITIONS = {
    "canny": "edges",
    "hed": "soft edges",
    "hedsketch": "sketch",
    "depth": "depth map",
    "normal": "surface normals",
    "openpose": "poses of people",
    "seg": "segmentation",
    "bbox": "boxes of objects",
    "outpainting": "middle part",
    "inpainting": "visible part",
    "blur": "blurred version",
    "grayscale": "grey version",
}
FILES = "json_files/aesthetics_plus_all_group_*_all.json"


def _in_test(row: dict[str, Any]) -> bool:
    """By the picture, which stands in the files of several conditions."""
    return hash_share(row["source"].removeprefix("./"), "multigen") < TEST_SHARE


@functools.lru_cache(maxsize=64)
def _split(path: Path) -> tuple[int, int]:
    """(rows of "test", all rows) of a file."""
    held = [_in_test(row) for row in rows_of(path, ())]
    return sum(held), len(held)


class MultiGen(Shards):
    """id, image (the condition), target (the picture in a square), condition (what it is), captions [one text]."""

    name = "multigen"
    licence = "see the set's own page; the pictures are their authors'"
    attribution = "MultiGen-20M by Qin et al., Salesforce, on LAION Aesthetics"
    media = ("image", "target")
    seen = ("image",)
    files: ClassVar = {"train": FILES}

    def _held(self, split: str, path: Path) -> int:
        test, rows = _split(path)
        return test if split == "test" else rows - test

    def _numbered(self, split: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in enumerate(rows_of(path, ())):
            if _in_test(row) == (split == "test"):
                yield number, row

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        [key] = [name for name in row if name.startswith("control_")]
        kind = key.removeprefix("control_")
        if kind not in CONDITIONS:
            raise KeyError(f"{key} is none of {', '.join(CONDITIONS)}")
        return {
            "image": read_image(self.folder / "conditions" / row[key]),
            "target": in_square(read_image(self.folder / "images" / row["source"].removeprefix("./"))),
            "condition": CONDITIONS[kind],
            "captions": [one_space(row["prompt"] or "")],
        }
