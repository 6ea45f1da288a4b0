"""RefCOCO, RefCOCO+ and RefCOCOg: what people called one object of a COCO picture, with its box or mask.

FOLDER (the "data" folder of the set's tools, called refer):
  refcoco/refs(unc).p, refcoco/instances.json      also refcoco+/refs(unc).p and refcocog/refs(umd).p
  images/mscoco/images/train2014/COCO_train2014_000000581857.jpg ...

The expressions are published as a pickle. It is read without calling anything that it names.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, ClassVar

from mio_jax.data.sources.files import one_space, read_json
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.pictures import corners, in_square, mask_of, within
from mio_tokenizers.image.io import read_image


class PlainUnpickler(pickle.Unpickler):
    """Lists, dicts, strings and numbers alone: what a pickle asks to import is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"the pickle asks for {module}.{name}, which a list of expressions does not need")


class RefCoco(FolderSource):
    """One object a time with all its expressions."""

    name = "refcoco"
    folder_name = "refer"
    licence = "see the set's own page; the pictures are Flickr users', under their own terms"
    attribution = "RefCOCO by Yu et al. and Mao et al., on COCO"
    seen = ("image",)
    splits = ("train", "test")
    part: ClassVar[str] = "refcoco/refs(unc).p"
    with_mask: ClassVar[bool] = False

    def items(self, split: str) -> Sequence[Any]:
        """The published split "val" is the test set here: test sets are called otherwise in each of the three."""
        refs = self.folder / self.part
        with open(refs, "rb") as file:
            try:
                told = PlainUnpickler(file, encoding="latin1").load()
            except pickle.UnpicklingError as error:
                raise ValueError(f"{refs.name}: {error}") from error
        boxes = {a["id"]: a for a in read_json(refs.parent / "instances.json")["annotations"]}
        wanted = "train" if split == "train" else "val"
        return [
            (ref["ref_id"], ref["image_id"], boxes[ref["ann_id"]], [one_space(s["sent"]) for s in ref["sentences"]])
            for ref in sorted(told, key=lambda ref: ref["ref_id"])
            if ref["split"] == wanted and boxes[ref["ann_id"]]["bbox"][2] > 0 and boxes[ref["ann_id"]]["bbox"][3] > 0
        ]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, image, box in pixels, expressions; mask in a square where the set has one."""
        number, picture, entry, sentences = item
        file = self.folder / "images/mscoco/images/train2014" / f"COCO_train2014_{picture:012d}.jpg"
        image = read_image(file)
        mask = {"mask": in_square(mask_of(entry["segmentation"], *image.shape[:2]))} if self.with_mask else {}
        return {
            "id": self.id(split, number),
            "image": image,
            **mask,
            "box": within(corners(entry["bbox"]), *image.shape[:2]),
            "expressions": sentences,
        }


class RefCocoPlus(RefCoco):
    """Without words of place."""

    name = "refcoco_plus"
    part = "refcoco+/refs(unc).p"


class RefCocoG(RefCoco):
    """Longer expressions."""

    name = "refcocog"
    part = "refcocog/refs(umd).p"


class RefCocoMasks(RefCoco):
    name = "refcoco_masks"
    media = ("image", "mask")
    with_mask = True


class RefCocoPlusMasks(RefCocoMasks):
    name = "refcoco_plus_masks"
    part = RefCocoPlus.part


class RefCocoGMasks(RefCocoMasks):
    name = "refcocog_masks"
    part = RefCocoG.part
