"""One thing or place from two points of view.

Objaverse       FOLDER/valid_paths.json (names of folders), 00a1.../000.png, 000.npy, 001.png, ...: twelve renderings of
                each object with their cameras (float [3, 4], world to camera), as those that Zero-1-to-3 published
CroCo-Habitat   FOLDER (called habitat_release)/pairs.txt, and the pictures that its lines name:
                hm3d/train/.../00000000_1.jpeg hm3d/train/.../00000000_2.jpeg
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.choices import one_size
from mio_jax.data.sources.files import names_in, read_json, read_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import in_square
from mio_tokenizers.image.io import read_image


def spherical(camera: np.ndarray) -> tuple[float, float, float]:
    """(polar angle from the z axis, azimuth, distance) of the place of a camera [3, 4] that leads the world into its
    frame. Raises ValueError on another shape or a camera that stands nowhere."""
    if camera.shape != (3, 4) or not np.isfinite(camera).all():
        raise ValueError(f"a camera must be finite and [3, 4], not {list(camera.shape)}")
    x, y, z = (float(v) for v in -camera[:, :3].T @ camera[:, 3])
    return math.atan2(math.hypot(x, y), z), math.atan2(y, x), math.sqrt(x * x + y * y + z * z)


def move(first: np.ndarray, second: np.ndarray) -> list[float]:
    """From one camera [3, 4] to another: differences of polar angle and azimuth, in [-pi, pi], and of distance."""
    theta, phi, radius = (b - a for a, b in zip(spherical(first), spherical(second), strict=True))
    return [theta, math.remainder(phi, 2 * math.pi), radius]


class Objaverse(FolderSource):
    """id, frames uint8 [2, height, width, 3], target (the second of them), move [theta, phi, radius] to it.

    Two of an object's views, drawn by its name; what is transparent is white. The last hundredth is "test", as there.
    """

    name = "objaverse"
    licence = "ODC-BY; each object's own, see its page"
    attribution = "Objaverse by Deitke et al., rendered by Liu et al. (Zero-1-to-3)"
    media = ("frames", "target")
    seen = ("frames",)

    def items(self, split: str) -> Sequence[str]:
        names = [str(name) for name in read_json(self.folder / "valid_paths.json")]
        cut = math.floor(len(names) * 0.99)
        return names[:cut] if split == "train" else names[cut:]

    def example(self, split: str, item: str) -> dict[str, Any]:
        there = names_in(str(self.folder / item))
        views = sorted(name.removesuffix(".png") for name in there if name.endswith(".png"))
        if len(views) < 2:
            raise FileNotFoundError(2, "", str(self.folder / item / "001.png"))
        pair = _two(item, len(views))
        first, second = (self.folder / item / views[k] for k in pair)
        pictures = [read_image(f"{view}.png") for view in (first, second)]
        cameras = [np.load(f"{view}.npy", allow_pickle=False) for view in (first, second)]
        return {
            "id": self.id(split, item),
            "frames": one_size(pictures),
            "target": in_square(pictures[1]),
            "move": move(*cameras),
        }


def _two(key: str, count: int) -> tuple[int, int]:
    """Two different numbers below `count`, in any order, that depend on the key alone."""
    first = int(hash_share(key, "first view") * count)
    return first, (first + 1 + int(hash_share(key, "second view") * (count - 1))) % count


class CrocoHabitat(FolderSource):
    """id, image, frames uint8 [1, height, width, 3]: another view of the place.

    Scenes are not spread over splits.
    """

    name = "croco_habitat"
    licence = "see the set's own page; the scenes under their own terms"
    attribution = "CroCo by Weinzaepfel et al., Naver, rendered with Habitat-Sim"
    media = ("image", "frames")
    seen = ("frames",)

    def items(self, split: str) -> Sequence[tuple[str, str]]:
        pairs = []
        for line in read_lines(self.folder / "pairs.txt"):
            first, second = line.split()
            if self.kept(split, Path(first).parent.as_posix()):
                pairs.append((first, second))
        return pairs

    def example(self, split: str, item: tuple[str, str]) -> dict[str, Any]:
        first, second = item
        return {
            "id": self.id(split, first.removesuffix("_1.jpeg")),
            "image": read_image(self.folder / first),
            "frames": read_image(self.folder / second)[None],
        }
