"""Kinds of space: boxes with a depth, and one thing or place from two points of view."""

from __future__ import annotations

import numpy as np

from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2.kinds.parts import Kind, drawn, field, frames, has, raw, said, shown, written
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.tasks import Content, Record, says, text, whole_image
from mio_tokenizers.structured.actions import CameraMove, write_camera
from mio_tokenizers.structured.cuboid import Camera, Cuboid, write_cuboid

Rng = np.random.Generator
HIDDEN = 0.8  # of a picture that is completed after another view
CELLS = 16  # along each edge: parts of the picture that are hidden or shown as a whole


def _writable(record: Record) -> list[tuple[list[float], str]]:
    """(box in pixels, twelve tokens) of the cuboids that can be written and lie in the picture."""
    told = field(record, "camera")
    camera = Camera(told["focal"], tuple(told["centre"]), told["height"])
    found = []
    for one in field(record, "cuboids"):
        cuboid = Cuboid(*(np.asarray(one[part]) for part in ("centre", "size", "rotation")))
        try:
            written(record, one["box"])
            found.append((one["box"], write_cuboid(cuboid, one["box"], camera)))
        except MioError:  # too far or too large for its range, or beyond the picture: it is not asked for
            continue
    return found


def box_3d(record: Record, rng: Rng, style: str) -> Content:
    """A box in the picture is given, the box in space is asked for."""
    box, tokens = drawn(_writable(record), rng)
    asked = draw("box_3d", rng, box=written(record, box))
    return [text(asked), shown(record), *said(tokens)]


def _some_cuboid(record: Record) -> bool:
    return has("cuboids")(record) and bool(_writable(record))


def _first(record: Record) -> Segment:
    return Segment("pixels", raw(record, "frames")[0])


def _move(record: Record) -> str:
    return write_camera(CameraMove(*field(record, "move")))


def view_synthesis(record: Record, rng: Rng, style: str) -> Content:
    """The thing in the picture, seen after a move of the camera."""
    asked = draw("view_synthesis", rng, _move(record))
    return [text(asked), _first(record), *says(Segment("image", record["target"]))]


def camera_transform(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("camera_transform", rng)), *frames(record), *said(_move(record))]


def _moved(record: Record) -> bool:
    """A move beyond the ranges of its tokens cannot be written."""
    if not has("move")(record):
        return False
    try:
        return bool(_move(record))
    except MioError:
        return False


def _other_view(record: Record) -> Segment:
    return Segment("pixels_history", list(raw(record, "frames")))


def pair_of_views(record: Record, rng: Rng, style: str) -> Content:
    """Pre-training: another view is shown, the picture is denoised."""
    return [_other_view(record), whole_image(record)]


def view_completion(record: Record, rng: Rng, style: str) -> Content:
    """Most of the picture is hidden and to be made, after another view of the place."""
    height, width = raw(record, "image").shape[:2]
    hidden = hidden_cells(height, width, rng)
    return [
        text(draw("view_completion", rng)),
        _other_view(record),
        shown(record),
        Segment("hidden", hidden),
        *says(Segment("image", record["image"])),
    ]


def hidden_cells(height: int, width: int, rng: Rng) -> np.ndarray:
    """bool [height, width]: HIDDEN of the cells of a grid, at least one of them left."""
    count = CELLS * CELLS
    cells = np.zeros(count, bool)
    cells[rng.permutation(count)[: round(HIDDEN * count)]] = True
    rows, columns = (np.arange(size) * CELLS // size for size in (height, width))
    out: np.ndarray = cells.reshape(CELLS, CELLS)[np.ix_(rows, columns)]
    return out


KINDS: dict[str, Kind] = {
    "box_3d": Kind(box_3d, "picture, box -> box in space", "image text", "text", _some_cuboid),
    "view_synthesis": Kind(view_synthesis, "picture, move of the camera -> picture", "image text", "image", _moved),
    "camera_transform": Kind(camera_transform, "two pictures -> move of the camera", "image", "text", _moved),
    "pair_of_views": Kind(pair_of_views, "a view after another, denoised", "image", "image"),
    "view_completion": Kind(view_completion, "part of a view, another view -> picture", "image", "image"),
}
