"""A folder of your own pictures with their captions.

    captions.csv    columns file, caption, and if you like split ("train" or "test")
    a.jpg, more/b.png, ...

A picture with several captions has a row for each. Without a column split, a picture in fifty is held out, by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mio_jax.data.sources.files import read_table
from mio_jax.data.sources.folder import FolderSource
from mio_jax.errors import MioError
from mio_tokenizers.image.io import read_image

TABLE = "captions.csv"


class Item(NamedTuple):
    file: str
    captions: list[str]


class Captioned(FolderSource):
    """Pictures and captions of a folder, laid out as the module says."""

    name = "pictures"
    licence = "your own"
    attribution = "yours"

    def items(self, split: str) -> Sequence[Item]:
        """Raises MioError on a table without its columns, or with a split of another name."""
        rows = read_table(self.folder / TABLE)
        lacking = [column for column in ("file", "caption") if rows and column not in rows[0]]
        if lacking:
            raise MioError(f"{self.folder / TABLE} has no column {lacking[0]!r}; its head must be: file,caption")
        found: dict[str, Item] = {}
        for number, row in enumerate(rows, 2):
            own = row.get("split", "")
            if own and own not in self.splits:
                raise MioError(f"{self.folder / TABLE}, row {number}: split is {own!r}; it must be train or test")
            if own == split or (not own and self.kept(split, row["file"])):
                found.setdefault(row["file"], Item(row["file"], [])).captions.append(row["caption"])
        return list(found.values())

    def example(self, split: str, item: Item) -> dict[str, Any]:
        return {
            "id": self.id(split, item.file),
            "image": read_image(self.folder / item.file),
            "captions": item.captions,
        }
