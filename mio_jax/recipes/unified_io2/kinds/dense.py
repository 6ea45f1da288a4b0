"""Kinds whose answer is a picture with a value for every pixel of another, and the way back from a mask."""

from __future__ import annotations

import numpy as np

from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2.kinds.parts import Kind, drawn, field, frames, has, raw, shown, written
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import clean
from mio_jax.recipes.unified_io2.tasks import Content, Record, says, text
from mio_tokenizers.image.io import mask_picture

Rng = np.random.Generator


def _mask(record: Record) -> Content:
    return says(Segment("image", record["mask"]))


def segmentation_class(record: Record, rng: Rng, style: str) -> Content:
    """All of some classes, or all but them."""
    names = " and ".join(clean(label) for label in field(record, "classes"))
    kind = "segmentation_class" if record["complement"] == "no" else "segmentation_complement"
    return [text(draw(kind, rng, names)), shown(record), *_mask(record)]


def segmentation_box(record: Record, rng: Rng, style: str) -> Content:
    box = written(record, field(record, "box"))
    return [text(draw("segmentation_box", rng, label=clean(record["label"]), box=box)), shown(record), *_mask(record)]


def box_to_mask(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("box_to_mask", rng, box=written(record, field(record, "box")))), shown(record), *_mask(record)]


def refexp_segmentation(record: Record, rng: Rng, style: str) -> Content:
    asked = draw("refexp_segmentation", rng, clean(drawn(field(record, "expressions"), rng)))
    return [text(asked), shown(record), *_mask(record)]


def mask_to_image(record: Record, rng: Rng, style: str) -> Content:
    """A picture after the outline of one thing in it."""
    outline = Segment("pixels", mask_picture(raw(record, "mask").astype(bool)))
    asked = draw("mask_to_image", rng, clean(record["label"]))
    return [text(asked), outline, *says(Segment("image", record["image"]))]


def _answered(kind: str) -> Kind:
    def formatter(record: Record, rng: Rng, style: str) -> Content:
        return [text(draw(kind, rng)), shown(record), *says(Segment("image", record["target"]))]

    return Kind(formatter, f"picture -> {kind.replace('_', ' ')}", "image", "image")


def optical_flow(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("optical_flow", rng)), *frames(record), *says(Segment("image", record["target"]))]


KINDS: dict[str, Kind] = {
    "segmentation_class": Kind(segmentation_class, "picture, classes -> mask", "image text", "image", has("classes")),
    "segmentation_box": Kind(
        segmentation_box, "picture, box, name -> mask", "image text", "image", has("box", "label")
    ),
    "box_to_mask": Kind(box_to_mask, "picture, box -> mask", "image text", "image", has("box")),
    "refexp_segmentation": Kind(
        refexp_segmentation, "picture, expression -> mask", "image text", "image", has("expressions")
    ),
    "mask_to_image": Kind(mask_to_image, "mask, name -> picture", "image text", "image", has("label")),
    "depth": _answered("depth"),
    "surface_normals": _answered("surface_normals"),
    "optical_flow": Kind(optical_flow, "two pictures -> motion", "image", "image"),
}
