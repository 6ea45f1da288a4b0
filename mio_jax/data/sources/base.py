"""What a source of raw media is, the table of those that there are, and how their splits are drawn."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pathlib
from collections.abc import Iterator
from typing import Any, Protocol, cast

from mio_jax.data.sources.folder_sets import FOLDER_SOURCES as FOLDER_SOURCES
from mio_jax.errors import MioError

SOURCES: dict[str, str] = {  # name -> "module:class"; imported on use, so that one missing package harms one source
    "openmoji": "mio_jax.data.sources.openmoji:OpenMoji",
    "instruments": "mio_jax.data.sources.instruments:Instruments",
    "easy_vqa": "mio_jax.data.sources.easy_vqa:EasyVQA",
    "text": "mio_jax.data.sources.text:StandardLibraryText",
}


class Source(Protocol):
    """Raw examples of one set, always in the same order with the same content.

    `examples(split, start, stop)` yields examples start..stop-1 of a split (all by default) without making the others:
    dicts with "id" (unique in the set), media under the keys that `media` lists ("image" uint8 [height, width, 3],
    "mask" bool [height, width], "audio" `Audio`), strings, and lists or dicts of strings. Keys that start with "meta/"
    label the example for evaluation. Nothing that belongs together is spread over two splits.
    """

    name: str
    version: str  # changes when the examples do: prepared records of another version are stale
    licence: str
    attribution: str
    media: tuple[str, ...]
    splits: tuple[str, ...]

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]: ...

    def count(self, split: str) -> int: ...


def source(name: str, **options: Any) -> Source:
    """The source of that name; one of FOLDER_SOURCES needs `folder`. MioError names the sources that there are."""
    known = SOURCES | FOLDER_SOURCES
    if name not in known:
        raise MioError(
            f"unknown source {name!r}; there are: {', '.join(sorted(SOURCES))}; "
            f"with a folder: {', '.join(sorted(FOLDER_SOURCES))}"
        )
    if name in FOLDER_SOURCES and not options.get("folder"):
        raise MioError(f"the source {name!r} reads a folder of yours: source({name!r}, folder=...)")
    module, _, cls = known[name].partition(":")
    return cast(Source, getattr(importlib.import_module(module), cls)(**options))


def require_split(source: Any, split: str) -> None:
    if split not in source.splits:
        raise MioError(f"source {source.name!r} has no split {split!r}; it has {', '.join(source.splits)}")


def package_folder(module: str, distribution: str) -> pathlib.Path:
    """Where an installed data package lies. Raises MioError naming what to install when it is missing."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MioError(f"this needs the data in the package {distribution!r}: pip install {distribution}")
    return pathlib.Path(next(iter(spec.submodule_search_locations)))


def hash_share(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but the strings: splits do not move when a set grows."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{key}".encode()).digest()[:8], "big") / 2**64
