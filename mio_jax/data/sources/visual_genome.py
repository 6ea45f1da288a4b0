"""Visual Genome: questions, phrases about regions, named objects, how objects relate, and captions made of phrases.

FOLDER/question_answers.json, region_descriptions.json, objects.json, relationships.json
FOLDER/VG_100K/2370799.jpg ...  VG_100K_2/...

It is published without a split: 2 % of the pictures are "test" here, the same ones in all five.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.files import names_in, one_space, read_json
from mio_jax.data.sources.folder import TEST_SHARE, FolderSource
from mio_jax.data.sources.pictures import corners, within
from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image


def name_of(entry: dict[str, Any]) -> str:
    """The name of an object, which later versions of the set give as a list."""
    return one_space(entry["names"][0] if "names" in entry else entry["name"])


class VisualGenome(FolderSource):
    """What the five sets share."""

    folder_name = "visual_genome"
    licence = "CC BY 4.0"
    attribution = "Visual Genome by Krishna et al."
    seen: ClassVar[tuple[str, ...]] = ("image",)
    told: ClassVar[str]  # the file

    @abc.abstractmethod
    def fields(self, entry: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        """The fields of an example from an entry of the file."""

    @abc.abstractmethod
    def usable(self, entry: dict[str, Any]) -> bool: ...

    @staticmethod
    def number(entry: dict[str, Any]) -> int:
        return int(entry["image_id"] if "image_id" in entry else entry["id"])

    def items(self, split: str) -> Sequence[Any]:
        entries = sorted(read_json(self.folder / self.told), key=self.number)
        test = [hash_share(str(self.number(entry)), "visual_genome") < TEST_SHARE for entry in entries]
        return [e for e, held in zip(entries, test, strict=True) if held == (split == "test") and self.usable(e)]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        file = f"{self.number(item)}.jpg"
        for part in ("VG_100K", "VG_100K_2"):
            if file in names_in(str(self.folder / part)):
                image = read_image(self.folder / part / file)
                return {"id": self.id(split, self.number(item)), "image": image, **self.fields(item, *image.shape[:2])}
        raise MioError(f"{self.name}: there is no {file} in VG_100K or VG_100K_2 of {self.folder}")


class VisualGenomeQa(VisualGenome):
    """questions [[question, answer], ...]"""

    name = "visual_genome_qa"
    told = "question_answers.json"

    def usable(self, entry: dict[str, Any]) -> bool:
        return bool(entry["qas"])

    def fields(self, entry: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        return {"questions": [[one_space(q["question"]), one_space(q["answer"]).rstrip(".")] for q in entry["qas"]]}


class VisualGenomeRegions(VisualGenome):
    """boxes in pixels, and in labels a phrase for each."""

    name = "visual_genome_regions"
    told = "region_descriptions.json"

    def usable(self, entry: dict[str, Any]) -> bool:
        return any(region["width"] > 0 and region["height"] > 0 for region in entry["regions"])

    def fields(self, entry: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        regions = [r for r in entry["regions"] if r["width"] > 0 and r["height"] > 0 and r["phrase"].strip()]
        boxes = [corners((r["x"], r["y"], r["width"], r["height"])) for r in regions]
        return {
            "boxes": [within(box, height, width) for box in boxes],
            "labels": [one_space(r["phrase"]) for r in regions],
        }


class VisualGenomePictures(VisualGenomeRegions):
    """captions [one text]: the phrases of the largest regions, by which pictures are made.

    The set has no captions of whole pictures, and how the publication made them is not told.
    """

    name = "visual_genome"
    seen = ()
    phrases: ClassVar[int] = 5

    def fields(self, entry: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        told = super().fields(entry, height, width)
        areas = [(y2 - y1) * (x2 - x1) for y1, x1, y2, x2 in told["boxes"]]
        ordered = sorted(zip(areas, told["labels"], strict=True), key=lambda one: -one[0])
        phrases = dict.fromkeys(phrase.rstrip(".").lower() for _, phrase in ordered)
        return {"captions": [", ".join(list(phrases)[: self.phrases])]}


class VisualGenomeObjects(VisualGenome):
    """boxes in pixels, and in labels a name for each."""

    name = "visual_genome_objects"
    told = "objects.json"

    def usable(self, entry: dict[str, Any]) -> bool:
        return any(one["w"] > 0 and one["h"] > 0 for one in entry["objects"])

    def fields(self, entry: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        objects = [one for one in entry["objects"] if one["w"] > 0 and one["h"] > 0]
        boxes = [corners((one["x"], one["y"], one["w"], one["h"])) for one in objects]
        return {"boxes": [within(box, height, width) for box in boxes], "labels": [name_of(one) for one in objects]}


class VisualGenomeRelations(VisualGenome):
    """relations [{"subject", "subject_box", "relation", "object", "object_box"}, ...], boxes in pixels."""

    name = "visual_genome_relations"
    told = "relationships.json"

    @staticmethod
    def _whole(relation: dict[str, Any]) -> bool:
        ends = (relation["subject"], relation["object"])
        return bool(relation["predicate"].strip()) and all(end["w"] > 0 and end["h"] > 0 for end in ends)

    def usable(self, entry: dict[str, Any]) -> bool:
        return any(map(self._whole, entry["relationships"]))

    def fields(self, entry: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        relations = []
        for one in filter(self._whole, entry["relationships"]):
            made: dict[str, Any] = {"relation": one_space(one["predicate"]).lower()}
            for end in ("subject", "object"):
                box = corners((one[end]["x"], one[end]["y"], one[end]["w"], one[end]["h"]))
                made |= {end: name_of(one[end]), f"{end}_box": within(box, height, width)}
            relations.append(made)
        return {"relations": relations}
