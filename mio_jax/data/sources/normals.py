"""Where surfaces face, for every pixel of photographs of rooms and of things.

FrameNet    FOLDER/train_test_split.pkl, FOLDER/scannet-frames/scene0000_00/frame-000000-color.png, ...-normal.png,
            ...-orient-mask.png
BlendedMVS  FOLDER/BlendedMVS_list.txt (a project a line), FOLDER/5a3ca9cb.../blended_images/00000000.jpg,
            cams/00000000_cam.txt, rendered_depth_maps/00000000.pfm

FrameNet's normals stand as its authors painted them. BlendedMVS has depth and cameras: normals follow from them, with x
to the right, y up and z towards the camera, as `media.dense_changes` has it.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.data.sources.files import read_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import in_square
from mio_jax.data.sources.refcoco import PlainUnpickler
from mio_tokenizers.image.io import read_image
from mio_tokenizers.structured.dense import INVALID_NORMAL, Normals, write_normals


class FrameNet(FolderSource):
    """id, image, target: normals, grey where the set's mask says that there are none. In the published split."""

    name = "framenet"
    licence = "see the set's own page; the frames ScanNet's"
    attribution = "FrameNet by Huang et al., on ScanNet"
    media = ("image", "target")
    seen = ("image",)

    def items(self, split: str) -> Sequence[str]:
        path = self.folder / "train_test_split.pkl"
        with open(path, "rb") as file:
            try:
                told = PlainUnpickler(file, encoding="latin1").load()
            except pickle.UnpicklingError as error:
                raise ValueError(f"{path.name}: {error}") from error
        colours, *_ = told[split]  # paths of its authors' machine, of which a scene and a frame are the end
        return ["/".join(str(one).split("/")[-2:]).removesuffix("color.png") for one in colours]

    def example(self, split: str, item: str) -> dict[str, Any]:
        start = f"{self.folder}/scannet-frames/{item}"
        normals, there = read_image(f"{start}normal.png"), read_image(f"{start}orient-mask.png")
        if normals.shape != there.shape:
            raise ValueError(f"{item}: normals {normals.shape[:2]} with a mask {there.shape[:2]}")
        return {
            "id": self.id(split, item.removesuffix("-")),
            "image": read_image(f"{start}color.png"),
            "target": in_square(np.where(there[..., :1] > 0, normals, np.uint8(INVALID_NORMAL))),
        }


def read_pfm(path: Path) -> np.ndarray:
    """float32 [height, width] of a grey PFM file. Raises ValueError on another file."""
    data = path.read_bytes()
    head = data.split(b"\n", 3)
    if len(head) < 4 or head[0].strip() != b"Pf":
        raise ValueError(f"{path.name} does not begin as a grey PFM file does")
    width, height = (int(v) for v in head[1].split())
    kind = "<f4" if float(head[2]) < 0 else ">f4"
    values = np.frombuffer(head[3], kind, width * height)
    return np.flipud(values.reshape(height, width)).astype(np.float32)  # its rows begin at the bottom


def intrinsics(path: Path) -> np.ndarray:
    """float64 [3, 3] of a camera file of MVSNet. Raises ValueError on another file."""
    lines = read_lines(path)
    start = [line.strip() for line in lines].index("intrinsic") + 1
    return np.array([[float(v) for v in line.split()] for line in lines[start : start + 3]]).reshape(3, 3)


def normals_of(depth: np.ndarray, camera: np.ndarray) -> Normals:
    """Normals of the surface that a depth map [height, width] shows to a camera [3, 3]; none where it has no depth.

    From differences to the neighbours left and right, above and below, of pixels that have all four.
    """
    height, width = depth.shape
    y, x = np.mgrid[0:height, 0:width]
    rays = np.stack([(x - camera[0, 2]) / camera[0, 0], (y - camera[1, 2]) / camera[1, 1], np.ones_like(depth)], -1)
    points = rays * depth[..., None]
    vectors = np.zeros((height, width, 3))
    right, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    vectors[1:-1, 1:-1] = np.cross(down, right)  # towards the camera: against its axis, z
    length = np.linalg.norm(vectors, axis=-1)
    known = np.pad(depth > 0, 1)
    valid = known[1:-1, 1:-1] & known[1:-1, 2:] & known[1:-1, :-2] & known[2:, 1:-1] & known[:-2, 1:-1] & (length > 0)
    unit = vectors / np.where(valid, length, 1.0)[..., None] * np.array([1.0, -1.0, -1.0])
    return Normals(np.where(valid[..., None], unit, 0.0).astype(np.float32), valid)


class BlendedMvs(FolderSource):
    """id, image, target: normals. Projects are not spread over two splits."""

    name = "blendedmvs"
    licence = "CC BY 4.0"
    attribution = "BlendedMVS by Yao et al."
    media = ("image", "target")
    seen = ("image",)

    def items(self, split: str) -> Sequence[tuple[str, str]]:
        found = []
        for project in (line.strip() for line in read_lines(self.folder / "BlendedMVS_list.txt")):
            if self.kept(split, project):
                maps = sorted((self.folder / project / "rendered_depth_maps").glob("*.pfm"))
                if not maps:
                    raise FileNotFoundError(2, "", str(self.folder / project / "rendered_depth_maps" / "*.pfm"))
                found += [(project, path.stem) for path in maps]
        return found

    def example(self, split: str, item: tuple[str, str]) -> dict[str, Any]:
        project, number = item
        folder = self.folder / project
        depth = read_pfm(folder / "rendered_depth_maps" / f"{number}.pfm")
        camera = intrinsics(folder / "cams" / f"{number}_cam.txt")
        normals = normals_of(np.where(np.isfinite(depth), depth, 0.0), camera)
        return {
            "id": self.id(split, f"{project}/{number}"),
            "image": read_image(folder / "blended_images" / f"{number}.jpg"),
            "target": in_square(write_normals(normals)),
        }
