"""Omni3D: things in pictures as boxes in space, of six sets in one form.

FOLDER (the "datasets" folder of its tools): Omni3D/KITTI_train.json, Omni3D/KITTI_val.json, Omni3D/..., ...
and the pictures under their "file_path": KITTI_object/training/image_2/000012.png, SUNRGBD/kv1/..., ...

Its page advises to fetch the pictures of the sets that one needs: those that are not there are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mio_jax.data.sources.files import names_in, read_json
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import within
from mio_tokenizers.image.io import read_image


class Omni3D(FolderSource):
    """id, image, cuboids [{label, box, centre, size, rotation}, ...], camera {focal, centre, height}.

    `box` [y1, x1, y2, x2] in pixels; `centre` and `size` (width, height, length) in metres and `rotation` [3, 3], in
    the camera's frame: x to the right, y down, z forward. Of the camera, pixels; its centre is (x, y).
    """

    name = "omni3d"
    licence = "CC BY-NC 4.0; the pictures those of their sets"
    attribution = "Omni3D by Brazil et al., Meta"
    seen = ("image",)
    parts: ClassVar[dict[str, str]] = {"train": "train", "test": "val"}

    def items(self, split: str) -> Sequence[Any]:
        pattern = f"Omni3D/*_{self.parts[split]}.json"
        files = sorted(self.folder.glob(pattern))
        if not files:
            raise FileNotFoundError(2, "", str(self.folder / pattern))
        found = []
        for path in files:
            told = read_json(path)
            held: dict[int, list[dict[str, Any]]] = {}
            for one in told["annotations"]:
                box = _box(one)
                if box and one["valid3D"] and one["behind_camera"] is not True and one["center_cam"][2] > 0:
                    held.setdefault(one["image_id"], []).append({**_cuboid(one), "box": box})
            for image in told["images"]:
                part, _, file = image["file_path"].rpartition("/")
                if image["id"] in held and file in names_in(str(self.folder / part)):
                    found.append((path.stem, image["id"], image["file_path"], image["K"], held[image["id"]]))
        return found

    def example(self, split: str, item: Any) -> dict[str, Any]:
        part, number, file, k, cuboids = item
        image = read_image(self.folder / file)
        height, width = image.shape[:2]
        return {
            "id": self.id(split, f"{part}/{number}"),
            "image": image,
            "cuboids": [{**one, "box": within(one["box"], height, width)} for one in cuboids],
            "camera": {"focal": float(k[0][0]), "centre": [float(k[0][2]), float(k[1][2])], "height": height},
        }


def _box(one: dict[str, Any]) -> list[float]:
    """[y1, x1, y2, x2] as it was drawn, or as the cuboid lies in the picture; [] where neither is told (-1)."""
    for name in ("bbox2D_tight", "bbox2D_trunc"):
        x1, y1, x2, y2 = map(float, one[name])
        if x2 > x1 and y2 > y1 and x2 > 0 and y2 > 0:
            return [y1, x1, y2, x2]
    return []


def _cuboid(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "label": one["category_name"],
        "centre": [float(v) for v in one["center_cam"]],
        "size": [float(v) for v in one["dimensions"]],
        "rotation": [[float(v) for v in row] for row in one["R_cam"]],
    }
