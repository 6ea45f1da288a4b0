"""Where the set of a name is read from: inside a package, in a user's folder, or by a reader of the user's own."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from mio_jax.config import DataConfig
from mio_jax.data.sources.base import FOLDER_SOURCES, SOURCES, Source
from mio_jax.errors import MioError


class Place(NamedTuple):
    """A set's reader, "module:Class" or "FILE.py:Class", and the folder that it reads; "" where it needs none."""

    reader: str
    folder: str = ""


@functools.lru_cache(maxsize=32)
def _class_in_file(file: str, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise FileNotFoundError(f"there is no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def reader_class(reader: str) -> Any:
    """The class that "module:Class" or "FILE.py:Class" names. Raises MioError if it cannot be imported."""
    module, _, name = reader.rpartition(":")
    try:
        if module.endswith(".py"):
            return _class_in_file(module, name)
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, FileNotFoundError) as error:
        raise MioError(f"the reader {reader!r} cannot be imported: {error}") from error


def folder_name(reader: str, name: str) -> str:
    """What the folder of a set is called within `data.raw_dir`: sets of one publication share theirs."""
    return getattr(reader_class(reader), "folder_name", "") or name


def readers(data: DataConfig) -> dict[str, str]:
    """Name -> reader of every set that a folder holds, the user's own included."""
    return FOLDER_SOURCES | {one.name: one.source for one in data.added}


def place_of(name: str, data: DataConfig) -> Place:
    """Raises MioError naming the sets that there are."""
    known = readers(data)
    if name in known:
        return Place(known[name], str(Path(data.raw_dir) / folder_name(known[name], name)))
    if name not in SOURCES:
        raise MioError(
            f"unknown source {name!r}; there are: {', '.join(sorted(SOURCES))}; with a folder in {data.raw_dir} of its "
            f"name: {', '.join(sorted(known))}"
        )
    return Place(SOURCES[name])


def open_place(place: Place) -> Source:
    """The source that reads this place."""
    made = reader_class(place.reader)
    return cast(Source, made(folder=place.folder) if place.folder else made())


def readable_examples(origin: Source, split: str, bad: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Examples of a split, without those of a folder's that cannot be read; their reasons are added to `bad`."""
    if origin.name in SOURCES:  # of a package: what is bad there is a mistake of ours
        yield from origin.examples(split)
        return
    for position in range(origin.count(split)):
        try:
            yield from origin.examples(split, position, position + 1)
        except MioError as error:
            if bad is not None:
                bad.append(str(error))


def sets_at_hand(data: DataConfig) -> list[str]:
    """The sets inside packages, and those of which there is a folder in `data.raw_dir`."""
    if not Path(data.raw_dir).is_dir():
        return [*SOURCES, *(one.name for one in data.added)]  # a set of one's own that has no folder says so itself
    there = {entry.name for entry in Path(data.raw_dir).iterdir()}
    added = {one.name for one in data.added}
    known = readers(data)
    return [*SOURCES, *(n for n, reader in known.items() if n in added or folder_name(reader, n) in there)]


def seen_of(origin: Source) -> tuple[str, ...]:
    """Media of a source that models only look at and never make: they need no codes."""
    return tuple(getattr(origin, "seen", ()))
