"""Three-dimensional boxes as twelve location tokens (specification of Unified-IO 2, section 12.2).

The paper names the twelve (centre u, v relative to the object's box in the picture, virtual depth, logarithms of width,
height and length, six numbers of an allocentric rotation) and the code their ranges, but not the arithmetic between.
Ours, by which every range is used as it is published:

* u, v: (pixel - corner) / size of the 2-D box, range `location`;
* depth: thousandths of the virtual depth, z * (VIRTUAL_FOCAL / focal) * (image height / VIRTUAL_HEIGHT), range `depth`:
  what a camera of that focal length would see at that size, so that depth can be told from a picture alone;
* sizes: log(1 + metres), range `dimension`;
* rotation: the first two columns of the object's rotation as seen along the ray to its centre, range `unit`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.structured.extra_ids import Parsed, read_values, write_values
from mio_tokenizers.structured.ranges import from_unit, to_unit

VIRTUAL_FOCAL, VIRTUAL_HEIGHT = 512.0, 512.0  # pixels
DEPTH_UNIT = 1000.0  # metres; `depth` 0.1 is 100 m
TOKENS = 12


class Camera(NamedTuple):
    """A pinhole camera: focal length and principal point (x, y) in pixels, and the picture's height."""

    focal: float
    centre: tuple[float, float]
    height: float


class Cuboid(NamedTuple):
    """In the camera's frame (x right, y down, z forward): centre, (width, height, length), metres; rotation."""

    centre: np.ndarray
    size: np.ndarray
    rotation: np.ndarray


def _view(ray: np.ndarray) -> np.ndarray:
    """The shortest rotation that takes the camera's axis onto a ray [3] in front of the camera."""
    axis, forward = np.array([0.0, 0.0, 1.0]), ray / np.linalg.norm(ray)
    cross, cosine = np.cross(axis, forward), float(forward[2])
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def _ray(u: float, v: float, camera: Camera) -> np.ndarray:
    return np.array([(u - camera.centre[0]) / camera.focal, (v - camera.centre[1]) / camera.focal, 1.0])


def _scale(camera: Camera) -> float:
    return VIRTUAL_FOCAL / camera.focal * camera.height / VIRTUAL_HEIGHT


def write_cuboid(cuboid: Cuboid, box: Any, camera: Camera) -> str:
    """`box`: the object's (y1, x1, y2, x2) in pixels of the same picture.

    Raises MioError where the cuboid is not in front of the camera or a value leaves its range.
    """
    centre, size, rotation = (np.asarray(part, np.float64) for part in cuboid)
    y1, x1, y2, x2 = (float(c) for c in box)
    if centre[2] <= 0 or y2 <= y1 or x2 <= x1:
        raise MioError(f"a cuboid at depth {centre[2]:g} m with the box {[y1, x1, y2, x2]} cannot be written")
    u, v = centre[:2] / centre[2] * camera.focal + np.asarray(camera.centre)
    allocentric = _view(_ray(u, v, camera)).T @ rotation
    shares = [
        *to_unit([(u - x1) / (x2 - x1), (v - y1) / (y2 - y1)], "location"),
        to_unit(centre[2] * _scale(camera) / DEPTH_UNIT, "depth"),
        *to_unit(np.log1p(size), "dimension"),
        *to_unit(allocentric[:, :2].T.reshape(-1), "unit"),
    ]
    return write_values(shares)


def read_cuboids(text: str, box: Any, camera: Camera) -> Parsed[list[Cuboid]]:
    """Every group of twelve tokens; one whose depth is not positive or whose columns are parallel is dropped."""
    values, dropped = read_values(text, TOKENS)
    y1, x1, y2, x2 = (float(c) for c in box)
    cuboids = []
    for row in values.astype(np.float64):
        u, v = from_unit(row[:2], "location") * [x2 - x1, y2 - y1] + [x1, y1]
        z = float(from_unit(row[2], "depth")) * DEPTH_UNIT / _scale(camera)
        first, second = from_unit(row[6:], "unit").reshape(2, 3)
        first = first / max(float(np.linalg.norm(first)), 1e-9)
        second = second - first * (first @ second)
        if z <= 0 or np.linalg.norm(first) < 0.5 or np.linalg.norm(second) < 1e-3:
            dropped += 1
            continue
        second /= np.linalg.norm(second)
        ray = _ray(u, v, camera)
        rotation = _view(ray) @ np.stack([first, second, np.cross(first, second)], axis=1)
        cuboids.append(Cuboid(ray * z, np.expm1(from_unit(row[3:6], "dimension")), rotation))
    return Parsed(cuboids, dropped)
