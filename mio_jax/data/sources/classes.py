"""Pictures with the name of one class.

ImageNet     FOLDER/LOC_synset_mapping.txt, LOC_val_solution.csv, ILSVRC/Data/CLS-LOC/train/n01440764/..., .../val/...
CUB-200      FOLDER/images.txt, classes.txt, image_class_labels.txt, train_test_split.txt, images/
iNaturalist  FOLDER/train.json, val.json (2021's names), whose file names begin with train/ and val/
SUN397       FOLDER/Training_01.txt, Testing_01.txt, a/abbey/sun_aaalbzqrimafwbiv.jpg ...
Places365    FOLDER/categories_places365.txt, places365_train_standard.txt, places365_val.txt,
             data_256_standard/, val_256/ (or data_large_standard/, val_large/)
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mio_jax.data.sources.files import read_json, read_lines, read_table
from mio_jax.data.sources.folder import FolderSource
from mio_tokenizers.image.io import read_image


def words(name: str) -> str:
    """A name of a folder or file as words: "001.Black_footed_Albatross" -> "black footed albatross"."""
    return " ".join(name.rsplit(".", 1)[-1].replace("_", " ").replace("/", " ").split()).lower()


class Labelled(FolderSource):
    """A picture and its class. A set says which (file within the folder, name of the class) there are."""

    seen = ("image",)

    @abc.abstractmethod
    def labelled(self, split: str) -> Iterable[tuple[str, str]]: ...

    def items(self, split: str) -> Sequence[tuple[str, str]]:
        return list(self.labelled(split))

    def example(self, split: str, item: tuple[str, str]) -> dict[str, Any]:
        """id, image, label."""
        file, label = item
        image = read_image(self.folder / file)
        return {"id": self.id(split, file.rsplit(".", 1)[0]), "image": image, "label": label}


class ImageNet(Labelled):
    """1000 classes, each by the first of its names."""

    name = "imagenet"
    licence = "for research that is not commercial; the pictures belong to their authors"
    attribution = "ImageNet (ILSVRC 2012) by Russakovsky et al."

    def labelled(self, split: str) -> Iterable[tuple[str, str]]:
        told = (line.split(" ", 1) for line in read_lines(self.folder / "LOC_synset_mapping.txt"))
        names = {synset: all_names.split(",")[0].lower() for synset, all_names in told}
        data = "ILSVRC/Data/CLS-LOC"
        if split == "test":
            for row in read_table(self.folder / "LOC_val_solution.csv"):
                yield f"{data}/val/{row['ImageId']}.JPEG", names[row["PredictionString"].split()[0]]
            return
        for synset, name in names.items():
            for path in sorted((self.folder / data / "train" / synset).iterdir()):
                yield f"{data}/train/{synset}/{path.name}", name


class Cub200(Labelled):
    """200 kinds of birds."""

    name = "cub200"
    licence = "for research that is not commercial"
    attribution = "Caltech-UCSD Birds-200-2011 by Wah et al."

    def _table(self, file: str) -> dict[str, str]:
        return dict(line.split(" ", 1) for line in read_lines(self.folder / file))

    def labelled(self, split: str) -> Iterable[tuple[str, str]]:
        names, label_of = self._table("classes.txt"), self._table("image_class_labels.txt")
        trained = self._table("train_test_split.txt")
        for number, file in self._table("images.txt").items():
            if (trained[number] == "1") == (split == "train"):
                yield f"images/{file}", words(names[label_of[number]])


class INaturalist(Labelled):
    """Plants, animals and fungi, by their common name where there is one."""

    name = "inaturalist"
    licence = "the pictures' own, CC BY-NC and others"
    attribution = "iNaturalist 2021 by Van Horn et al."

    def labelled(self, split: str) -> Iterable[tuple[str, str]]:
        told = read_json(self.folder / ("train.json" if split == "train" else "val.json"))
        names = {c["id"]: (c.get("common_name") or c["name"]).lower() for c in told["categories"]}
        label_of = {entry["image_id"]: names[entry["category_id"]] for entry in told["annotations"]}
        for image in told["images"]:
            yield image["file_name"], label_of[image["id"]]


class Sun397(Labelled):
    """Scenes, by the first of the ten published splits."""

    name = "sun397"
    licence = "for research that is not commercial"
    attribution = "SUN397 by Xiao et al."

    def labelled(self, split: str) -> Iterable[tuple[str, str]]:
        for line in read_lines(self.folder / ("Training_01.txt" if split == "train" else "Testing_01.txt")):
            file = line.strip().lstrip("/")
            yield file, words("/".join(Path(file).parts[1:-1]))


class Places365(Labelled):
    """Scenes."""

    name = "places365"
    licence = "CC BY 4.0 of the annotations; the pictures belong to their authors"
    attribution = "Places365 by Zhou et al."

    def labelled(self, split: str) -> Iterable[tuple[str, str]]:
        told = (line.split() for line in read_lines(self.folder / "categories_places365.txt"))
        names = {number: words("/".join(Path(name.lstrip("/")).parts[1:])) for name, number in told}
        small = ("data_256_standard", "val_256")
        folders = small if (self.folder / small[split == "test"]).is_dir() else ("data_large_standard", "val_large")
        file = "places365_train_standard.txt" if split == "train" else "places365_val.txt"
        for line in read_lines(self.folder / file):
            path, number = line.split()
            yield f"{folders[split == 'test']}/{path.lstrip('/')}", names[number]
