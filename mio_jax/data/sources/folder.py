"""What most readers of published sets share: a list of what is in the folder, and one example read at a time."""

from __future__ import annotations

import abc
import functools
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.sources.base import hash_share, require_split
from mio_jax.data.sources.files import published
from mio_jax.errors import MioError

TEST_SHARE = 0.02  # of a set that is published without a split of its own


class FolderSource(abc.ABC):
    """A `Source` that reads a user's folder. A set is a subclass with the names below and two methods.

    Attributes:
      folder_name: of the folder in `data.raw_dir`, where it is not the set's own name: several sets may share one.
      seen: media that are only looked at and never made; they are kept in the records as they are, without codes.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    licence: ClassVar[str] = "see the set's own page"
    attribution: ClassVar[str] = "see the set's own page"
    media: ClassVar[tuple[str, ...]] = ("image",)
    seen: ClassVar[tuple[str, ...]] = ()
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    folder_name: ClassVar[str] = ""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @abc.abstractmethod
    def items(self, split: str) -> Sequence[Any]:
        """What there is in a split, always in the same order, without reading media."""

    @abc.abstractmethod
    def example(self, split: str, item: Any) -> dict[str, Any]:
        """One of them as an example: "id", media, strings, and lists or dicts of strings and numbers."""

    def count(self, split: str) -> int:
        require_split(self, split)
        return len(_listed(type(self), str(self.folder), split))

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Raises MioError on files that are absent, damaged or of another layout."""
        require_split(self, split)
        for item in _listed(type(self), str(self.folder), split)[start:stop]:
            with published(self.name, self.folder):
                made = self.example(split, item)
            yield made

    def id(self, split: str, key: Any) -> str:
        return f"{self.name}/{split}/{key}"

    def kept(self, split: str, key: Hashable) -> bool:
        """Whether what has this key is in a split, for sets that are published without one: 2 % are "test"."""
        return (hash_share(str(key), self.name) < TEST_SHARE) == (split == "test")


# The lists of big sets take seconds to read, and every shard of records asks for them.
@functools.lru_cache(maxsize=4)
def _listed(cls: type[FolderSource], folder: str, split: str) -> Sequence[Any]:
    made = cls(folder)
    with published(made.name, made.folder):
        if not made.folder.is_dir():
            raise MioError(f"{made.name}: there is no folder {folder}; put the set there, laid out as it is published")
        found = made.items(split)
        if not len(found) and split == made.splits[0]:
            raise MioError(f"{made.name}: {folder} holds nothing of the split {split!r}; see the layout in its reader")
    return found
