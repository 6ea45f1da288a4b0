"""Open Images with what people said of them while they pointed at what they spoke of: localized narratives.

FOLDER is that of Open Images (`open_boxes`): train/000002b66c9c498e.jpg ..., validation/; beside its boxes
  open_images_train_v6_localized_narratives-00000-of-00010.jsonl, ..., open_images_validation_localized_narratives.jsonl

Pictures that are not in their folder are left out: the set tells of a part of Open Images, and people hold parts of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mio_jax.data.sources.files import names_in, one_space, read_json_lines
from mio_jax.data.sources.folder import FolderSource
from mio_tokenizers.image.io import read_image


class LocalizedNarratives(FolderSource):
    """id, image, captions [a narrative by each annotator]."""

    name = "localized_narratives"
    folder_name = "open_images"
    licence = "narratives CC BY 4.0; the pictures CC BY 2.0, by their authors"
    attribution = "Localized Narratives by Pont-Tuset et al., Google, on Open Images"
    parts: ClassVar[dict[str, tuple[str, str]]] = {
        "train": ("open_images_train_v6_localized_narratives-*.jsonl", "train"),
        "test": ("open_images_validation_localized_narratives*.jsonl", "validation"),
    }

    def items(self, split: str) -> Sequence[Any]:
        pattern, part = self.parts[split]
        files = sorted(self.folder.glob(pattern))
        if not files:
            raise FileNotFoundError(2, "", str(self.folder / pattern))
        there = names_in(str(self.folder / part))
        told: dict[str, list[str]] = {}
        for path in files:
            for one in read_json_lines(path):
                name, words = f"{one['image_id']}.jpg", one_space(one["caption"])
                if name in there and words:
                    told.setdefault(f"{part}/{name}", []).append(words)
        return list(told.items())

    def example(self, split: str, item: Any) -> dict[str, Any]:
        file, narratives = item
        key = file.rsplit("/", 1)[-1].removesuffix(".jpg")
        return {"id": self.id(split, key), "image": read_image(self.folder / file), "captions": list(narratives)}
