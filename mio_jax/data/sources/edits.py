"""Pictures that were changed as somebody asked, in Parquet files whose columns hold pictures.

MagicBrush      FOLDER/data/train-00000-of-00051-....parquet, dev-....parquet
InstructPix2Pix FOLDER/data/train-00000-of-00262-....parquet (the filtered set)
"""

from __future__ import annotations

from typing import Any, ClassVar

from mio_jax.data.sources.files import one_space
from mio_jax.data.sources.pictures import in_square, picture_of
from mio_jax.data.sources.row_shards import Shards


class MagicBrush(Shards):
    """id, image, target (the changed picture in a square), instruction."""

    name = "magicbrush"
    licence = "CC BY 4.0"
    attribution = "MagicBrush by Zhang et al."
    media = ("image", "target")
    seen = ("image",)
    columns = ("source_img", "instruction", "target_img")  # before, what is asked, after
    files: ClassVar = {"train": "data/train-*.parquet", "test": "data/dev-*.parquet"}

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        before, asked, after = (row[column] for column in self.columns)
        return {
            "image": picture_of(before["bytes"], f"{self.name}: {self.columns[0]}"),
            "target": in_square(picture_of(after["bytes"], f"{self.name}: {self.columns[2]}")),
            "instruction": one_space(asked),
        }


class InstructPix2Pix(MagicBrush):
    name = "instruct_pix2pix"
    licence = "see the set's own page"
    attribution = "InstructPix2Pix by Brooks et al."
    columns = ("original_image", "edit_prompt", "edited_image")
    files: ClassVar = {"train": "data/train-*.parquet"}
