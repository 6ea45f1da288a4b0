"""Kinds with boxes: found, named, described, counted on for relations and properties; and the joints of people."""

from __future__ import annotations

from typing import Any

import numpy as np

from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2 import augment
from mio_jax.recipes.unified_io2.kinds.parts import (
    Kind,
    drawn,
    field,
    has,
    has_box,
    placed,
    raw,
    said,
    shares,
    shown,
    written,
)
from mio_jax.recipes.unified_io2.preprocessing import FULL
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import clean
from mio_jax.recipes.unified_io2.tasks import Content, Record, says, text
from mio_tokenizers.structured.extra_ids import write_box
from mio_tokenizers.structured.keypoints import KEYPOINTS, Pose, write_keypoints
from mio_tokenizers.structured.labelled import write_labelled_boxes

Rng = np.random.Generator
MOST_BOXES = 40  # of one answer: four tokens and a name each have to fit beside one another
LEAST_HIDDEN = 0.1  # of a picture's area, that is to be filled in
NOTHING = "none"


def _objects(record: Record) -> tuple[np.ndarray, list[str]]:
    """Boxes as shares of the square [n, 4] and their names; those that cover nothing are left out."""
    boxes, kept = shares(placed(record), field(record, "boxes"))
    labels = [clean(label) for label, keep in zip(field(record, "labels"), kept, strict=True) if keep]
    return boxes, labels


def _listed(boxes: np.ndarray, labels: list[str], rng: Rng) -> str:
    order = rng.permutation(len(boxes))[:MOST_BOXES]
    return write_labelled_boxes(boxes[order], [labels[i] for i in order]) if len(order) else NOTHING


def detection(record: Record, rng: Rng, style: str) -> Content:
    boxes, labels = _objects(record)
    return [text(draw("detection", rng)), shown(record), *said(_listed(boxes, labels, rng))]


def detection_of_classes(record: Record, rng: Rng, style: str) -> Content:
    """One to four of the classes that are there: what annotators did not look for is never asked for."""
    boxes, labels = _objects(record)
    wanted = augment.some_classes(labels, rng)
    kept = [i for i, label in enumerate(labels) if label in wanted]
    asked = draw("detection_of_classes", rng, ", ".join(wanted))
    return [text(asked), shown(record), *said(_listed(boxes[kept], [labels[i] for i in kept], rng))]


def localization(record: Record, rng: Rng, style: str) -> Content:
    boxes, labels = _objects(record)
    label = drawn(labels, rng)
    kept = [i for i, other in enumerate(labels) if other == label]
    return [
        text(draw("localization", rng, label)),
        shown(record),
        *said(_listed(boxes[kept], [label] * len(kept), rng)),
    ]


def text_detection(record: Record, rng: Rng, style: str) -> Content:
    boxes, kept = shares(placed(record), field(record, "boxes"))
    words = [word for word, keep in zip(field(record, "labels"), kept, strict=True) if keep]
    return [text(draw("text_detection", rng)), shown(record), *said(_listed(boxes, words, rng))]


def patch_detection(record: Record, rng: Rng, style: str) -> Content:
    boxes, labels = _objects(record)
    return [text(draw("patch_detection", rng)), shown(record), *said(_listed(boxes, labels, rng))]


def patch_counting(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("patch_counting", rng)), shown(record), *said(record["count"])]


def box_classification(record: Record, rng: Rng, style: str) -> Content:
    boxes, labels = _objects(record)
    at = int(rng.integers(len(boxes)))
    return [text(draw("box_classification", rng, box=write_box(boxes[at]))), shown(record), *said(labels[at])]


def region_captioning(record: Record, rng: Rng, style: str) -> Content:
    boxes, labels = _objects(record)
    at = int(rng.integers(len(boxes)))
    return [text(draw("region_captioning", rng, box=write_box(boxes[at]))), shown(record), *said(labels[at])]


def refexp(record: Record, rng: Rng, style: str) -> Content:
    asked = draw("refexp", rng, clean(drawn(field(record, "expressions"), rng)))
    return [text(asked), shown(record), *said(written(record, field(record, "box")))]


def box_to_expression(record: Record, rng: Rng, style: str) -> Content:
    """The way back: what somebody would call the thing in a box."""
    asked = draw("box_to_expression", rng, box=written(record, field(record, "box")))
    return [text(asked), shown(record), *said(clean(drawn(field(record, "expressions"), rng)))]


def relationship(record: Record, rng: Rng, style: str) -> Content:
    one = drawn(_whole_relations(record), rng)
    ends = {end: written(record, one[f"{end}_box"]) for end in ("subject", "object")}
    return [text(draw("relationship", rng, **ends)), shown(record), *said(one["relation"])]


def box_relation(record: Record, rng: Rng, style: str) -> Content:
    """How two boxes of a set without relations lie to each other."""
    boxes, _ = _objects(record)
    first, second = rng.choice(len(boxes), 2, replace=False)
    ends = {"first": write_box(boxes[first]), "second": write_box(boxes[second])}
    return [
        text(draw("box_relation", rng, **ends)),
        shown(record),
        *said(augment.relation(boxes[first], boxes[second])),
    ]


def box_property(record: Record, rng: Rng, style: str) -> Content:
    """One of the properties that follow from a box, or the box in another way of writing."""
    boxes, labels = _objects(record)
    alone = [i for i, label in enumerate(labels) if labels.count(label) == 1]
    at = drawn(alone, rng)
    name = drawn(sorted(augment.BOX_PROPERTIES), rng)
    asked = draw("box_property", rng, property=augment.BOX_PROPERTIES[name], label=labels[at])
    return [text(asked), shown(record), *said(augment.box_property(boxes[at], name))]


def _whole_relations(record: Record) -> list[dict[str, Any]]:
    """Those both of whose ends lie in the picture."""
    placement = placed(record)
    found = field(record, "relations")
    return [one for one in found if shares(placement, [one["subject_box"], one["object_box"]])[1].all()]


def _related(record: Record) -> bool:
    return bool(_whole_relations(record))


def _expressed(record: Record) -> bool:
    return has("expressions")(record) and has_box(record)


def _one_alone(record: Record) -> bool:
    labels = _objects(record)[1]
    return any(labels.count(label) == 1 for label in labels)


def _two(record: Record) -> bool:
    return len(_objects(record)[1]) > 1


def keypoints(record: Record, rng: Rng, style: str) -> Content:
    """Joints beyond the picture count as missing."""
    placement = placed(record)
    points, seen = np.asarray(field(record, "points"), np.float32), np.asarray(field(record, "visible"), bool)
    moved = (points * placement.scale + np.asarray(placement.pad, np.float32)) / np.float32(FULL.image)
    seen &= ((moved >= 0) & (moved <= 1)).all(axis=1)
    pose = Pose(np.where(seen[:, None], moved, 0.0).astype(np.float32).reshape(len(KEYPOINTS), 2), seen)
    asked = draw("keypoints", rng, box=written(record, field(record, "box")))
    return [text(asked), shown(record), *said(write_keypoints(pose))]


def inpainting(record: Record, rng: Rng, style: str) -> Content:
    """One box is hidden and the picture is to be made; what was hidden alone carries loss."""
    height, width = raw(record, "image").shape[:2]
    large = _large(record)
    box, label = drawn(large, rng)
    hidden = augment.inside(height, width, box)
    return [
        text(draw("inpainting", rng, clean(label))),
        shown(record),
        Segment("hidden", hidden),
        *says(Segment("image", record["image"])),
    ]


def _large(record: Record) -> list[tuple[list[float], str]]:
    height, width = raw(record, "image").shape[:2]
    found = zip(field(record, "boxes"), field(record, "labels"), strict=True)
    return [(b, label) for b, label in found if (b[2] - b[0]) * (b[3] - b[1]) > LEAST_HIDDEN * height * width]


KINDS: dict[str, Kind] = {
    "detection": Kind(detection, "picture -> boxes with names", "image", "text", has_box),
    "detection_of_classes": Kind(
        detection_of_classes, "picture, up to four classes -> boxes", "image text", "text", has_box, True
    ),
    "localization": Kind(localization, "picture, class -> boxes", "image text", "text", has_box),
    "text_detection": Kind(text_detection, "picture -> boxes with words", "image", "text", has_box),
    "patch_detection": Kind(patch_detection, "picture -> boxes of pasted pieces", "image", "text", has_box),
    "patch_counting": Kind(patch_counting, "picture -> number of pasted pieces", "image", "text", has("count")),
    "box_classification": Kind(box_classification, "picture, box -> name", "image text", "text", has_box),
    "region_captioning": Kind(region_captioning, "picture, box -> phrase", "image text", "text", has_box),
    "refexp": Kind(refexp, "picture, expression -> box", "image text", "text", _expressed),
    "box_to_expression": Kind(box_to_expression, "picture, box -> expression", "image text", "text", _expressed, True),
    "relationship": Kind(relationship, "picture, two boxes -> relation", "image text", "text", _related),
    "box_relation": Kind(box_relation, "picture, two boxes -> where they lie", "image text", "text", _two, True),
    "box_property": Kind(box_property, "picture, thing -> measure of its box", "image text", "text", _one_alone, True),
    "keypoints": Kind(keypoints, "picture, person -> joints", "image text", "text", has_box),
    "inpainting": Kind(
        inpainting, "picture with a hole, name -> picture", "image text", "image", lambda r: bool(_large(r))
    ),
}
