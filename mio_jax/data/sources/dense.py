"""A value for every pixel: depth, surface normals, motion, and masks without names.

NYU Depth v2  FOLDER/nyu_depth_v2_labeled.mat (1449 pictures; every tenth is "test")
Taskonomy     FOLDER/rgb/allensville/point_0_view_0_domain_rgb.png, FOLDER/normal/allensville/..._domain_normal.png
FlyingChairs  FOLDER/data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo, ...; FlyingChairs_train_val.txt (1 and 2)
MPI-Sintel    FOLDER/training/final/alley_1/frame_0001.png, ...; FOLDER/training/flow/alley_1/frame_0001.flo, ...
SA-1B         FOLDER/sa_000000/sa_1.jpg, sa_1.json, ...

Answers are pictures in a square (`mio_tokenizers.structured.dense`); motion is at most a quarter of the longer edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.choices import one_size
from mio_jax.data.sources.files import read_json, read_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import corners, in_square, mask_of, within
from mio_tokenizers.image.io import read_image
from mio_tokenizers.structured.dense import write_depth, write_flow

FLOW_SHARE = 0.25  # of the longer edge: the motion that the picture of a flow can hold
TEST_SCENES = ("alley_2", "ambush_4", "temple_3")  # of MPI-Sintel, whose own test set has no flow


class NyuDepth(FolderSource):
    """id, image, target: depth, lighter the farther away, white from ten metres."""

    name = "nyuv2"
    licence = "see the set's own page"
    attribution = "NYU Depth v2 by Silberman et al."
    media = ("image", "target")
    seen = ("image",)
    file: ClassVar[str] = "nyu_depth_v2_labeled.mat"

    def items(self, split: str) -> Sequence[int]:
        import h5py

        with h5py.File(self.folder / self.file) as file:
            count = file["images"].shape[0]
        return [n for n in range(count) if (n % 10 == 9) == (split == "test")]

    def example(self, split: str, item: int) -> dict[str, Any]:
        """MATLAB's arrays are transposed: pictures [3, width, height]."""
        import h5py

        with h5py.File(self.folder / self.file) as file:
            image = np.ascontiguousarray(file["images"][item].T)
            depth = np.asarray(file["depths"][item].T, np.float32)
        return {"id": self.id(split, item), "image": image, "target": in_square(write_depth(depth))}


class Taskonomy(FolderSource):
    """id, image, target: normals as the set paints them. Buildings are not spread over two splits."""

    name = "taskonomy"
    licence = "see the set's own page"
    attribution = "Taskonomy by Zamir et al."
    media = ("image", "target")
    seen = ("image",)

    def items(self, split: str) -> Sequence[str]:
        found = sorted((self.folder / "rgb").glob("*/*_domain_rgb.png"))
        return [f"{p.parent.name}/{p.name.removesuffix('rgb.png')}" for p in found if self.kept(split, p.parent.name)]

    def example(self, split: str, item: str) -> dict[str, Any]:
        normals = read_image(self.folder / "normal" / f"{item}normal.png")
        return {
            "id": self.id(split, item.removesuffix("_domain_")),
            "image": read_image(self.folder / "rgb" / f"{item}rgb.png"),
            "target": in_square(normals),
        }


def read_flow_file(path: Path) -> np.ndarray:
    """float32 [height, width, 2] of a .flo file: motion (x, y) in pixels. Raises ValueError on another file."""
    data = path.read_bytes()
    if len(data) < 12 or np.frombuffer(data, "<f4", 1)[0] != np.float32(202021.25):
        raise ValueError(f"{path.name} does not begin as a .flo file does")
    width, height = np.frombuffer(data, "<i4", 2, 4)
    return np.frombuffer(data, "<f4", 2 * width * height, 12).reshape(height, width, 2)


class Flow(FolderSource):
    """id, frames [2, height, width, 3], target: the motion from the first to the second."""

    media = ("frames", "target")
    seen = ("frames",)

    def flow(self, split: str, key: str, first: Path, second: Path, motion: Path) -> dict[str, Any]:
        frames = one_size([read_image(first), read_image(second)])
        told = read_flow_file(motion)
        return {
            "id": self.id(split, key),
            "frames": frames,
            "target": in_square(write_flow(told, FLOW_SHARE * max(told.shape[:2]))),
        }


class FlyingChairs(Flow):
    name = "flying_chairs"
    licence = "for research"
    attribution = "FlyingChairs by Dosovitskiy et al."

    def items(self, split: str) -> Sequence[int]:
        parts = read_lines(self.folder / "FlyingChairs_train_val.txt")
        wanted = "1" if split == "train" else "2"
        return [number for number, part in enumerate(parts, 1) if part.strip() == wanted]

    def example(self, split: str, item: int) -> dict[str, Any]:
        start = self.folder / "data" / f"{item:05d}_"
        return self.flow(split, str(item), *(Path(f"{start}{end}") for end in ("img1.ppm", "img2.ppm", "flow.flo")))


class Sintel(Flow):
    """The final pass; three scenes of the published training set are "test"."""

    name = "mpi_sintel"
    licence = "for research"
    attribution = "MPI-Sintel by Butler et al."

    def items(self, split: str) -> Sequence[Path]:
        found = sorted((self.folder / "training/flow").glob("*/frame_*.flo"))
        return [path for path in found if (path.parent.name in TEST_SCENES) == (split == "test")]

    def example(self, split: str, item: Path) -> dict[str, Any]:
        number = int(item.stem.removeprefix("frame_"))
        frames = self.folder / "training/final" / item.parent.name
        first, second = (frames / f"frame_{n:04d}.png" for n in (number, number + 1))
        return self.flow(split, f"{item.parent.name}/{number}", first, second, item)


class SegmentAnything(FolderSource):
    """id, image, mask in a square, box: one of the masks of each picture, which have no names."""

    name = "sam"
    licence = "SA-1B dataset research licence"
    attribution = "SA-1B by Kirillov et al., Meta"
    media = ("image", "mask")
    seen = ("image",)

    def items(self, split: str) -> Sequence[Path]:
        return [path for path in sorted(self.folder.glob("*/sa_*.json")) if self.kept(split, path.stem)]

    def example(self, split: str, item: Path) -> dict[str, Any]:
        image = read_image(item.with_suffix(".jpg"))
        masks = [one for one in read_json(item)["annotations"] if one["bbox"][2] > 0 and one["bbox"][3] > 0]
        one = masks[int(hash_share(item.stem, "mask of sam") * len(masks))]
        return {
            "id": self.id(split, item.stem),
            "image": image,
            "mask": in_square(mask_of(one["segmentation"], *image.shape[:2])),
            "box": within(corners(one["bbox"]), *image.shape[:2]),
        }
