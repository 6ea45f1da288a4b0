"""Reading T5X checkpoints: a folder with a msgpack file `checkpoint` and one zarr array for each large tensor.

The file holds the tree of the train state, with small tensors in it and, for the large ones, a string that says that
they lie beside it in `target.<path joined by dots>`. Optimizer state (`state.*`) is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mio_jax.errors import MioError
from mio_jax.recipes.weights import Stored, shorten

FILE = "checkpoint"
VERSION = 3
PREFIX = "target."


class ZarrTensor(NamedTuple):
    """A tensor in a zarr folder, read through tensorstore."""

    folder: Path
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        import tensorstore

        spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(self.folder)}}
        try:
            array: np.ndarray = tensorstore.open(spec, read=True).result().read().result()
        except ValueError as e:
            raise MioError(f"cannot read the tensor in {self.folder}: {str(e).splitlines()[0]}") from e
        return array


class HeldTensor(NamedTuple):
    """A tensor that came with the msgpack file."""

    value: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    def read(self) -> np.ndarray:
        return self.value


def is_t5x(path: Path) -> bool:
    """Whether a folder looks like a T5X checkpoint."""
    return (path / FILE).is_file()


def open_t5x(path: Path) -> dict[str, Stored]:
    """The parameters of a T5X checkpoint by their paths, joined by slashes.

    Raises:
      MioError: a file of another format or version, or tensors that it names and that are not beside it.
    """
    from flax.serialization import msgpack_restore

    try:
        tree = msgpack_restore((path / FILE).read_bytes())
        version, target = tree["version"], tree["optimizer"]["target"]
    except (ValueError, KeyError, TypeError) as e:
        raise MioError(f"{path / FILE} is cut off or is not a T5X checkpoint ({type(e).__name__})") from e
    if version != VERSION:
        raise MioError(f"{path / FILE} has format version {version}; {VERSION} is what can be read")
    found: dict[str, Stored] = {}
    lost = []
    for name, value in _leaves(target):
        if isinstance(value, np.ndarray):
            found[name] = HeldTensor(value)
            continue
        folder = path / (PREFIX + name.replace("/", "."))
        try:
            shape = tuple(json.loads((folder / ".zarray").read_text())["shape"])
        except (OSError, ValueError, KeyError):
            lost.append(folder.name)
            continue
        found[name] = ZarrTensor(folder, shape)
    if lost:
        raise MioError(f"{path} lacks {len(lost)} tensors that its {FILE} names: {shorten(lost)}")
    return found


def _leaves(tree: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for name, part in tree.items():
            yield from _leaves(part, f"{at}/{name}" if at else str(name))
    else:
        yield at, tree
