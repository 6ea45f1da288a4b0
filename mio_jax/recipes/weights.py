"""Reading and writing published weights in safetensors files, and reading npz and PyTorch files, one tensor at a time.

The safetensors format is eight bytes of header length, a JSON header, then the raw tensors. It is read through a memory
map, so that a sharded checkpoint of any size passes through one tensor's worth of memory, and checked strictly: a file
that was cut off is refused before anything is read from it. bfloat16 is read (and never written) through ml_dtypes.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import ml_dtypes
import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.weights_check import check_shapes as check_shapes  # used through this module
from mio_tokenizers.weights_check import shorten as shorten
from mio_tokenizers.weights_pickled import read_objects, read_torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
LAYOUTS = ((SINGLE, INDEX), ("pytorch_model.bin", "pytorch_model.bin.index.json"))  # of folders, the better first
DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Stored(Protocol):
    """A tensor that is read when it is needed."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self) -> np.ndarray: ...


class NpzTensor(NamedTuple):
    """One array of an npz file."""

    file: Path
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        with np.load(self.file) as arrays:
            array: np.ndarray = arrays[self.name]
        return array


class Tensor(NamedTuple):
    """Where one tensor lies."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file

    def read(self) -> np.ndarray:
        """The tensor as a read-only view of the file."""
        if not math.prod(self.shape):
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self.file, self.dtype, mode="r", offset=self.offset, shape=self.shape or (1,)).reshape(
            self.shape
        )


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file. Raises MioError if it is absent, not safetensors, or cut off."""
    try:
        size = file.stat().st_size
        with file.open("rb") as f:
            length = int.from_bytes(f.read(8), "little")
            if size < 8 or length > size - 8:
                raise MioError(f"{file} is cut off or is not a safetensors file ({size} bytes); copy it again")
            header = json.loads(f.read(length))
    except OSError as e:
        raise MioError(f"cannot read weights {file}: {e.strerror}") from e
    except ValueError as e:
        raise MioError(f"{file} is not a safetensors file: its header is not JSON") from e
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape = DTYPES.get(entry["dtype"]), tuple(int(n) for n in entry["shape"])
            start, stop = (8 + length + int(at) for at in entry["data_offsets"])
        except (KeyError, TypeError, ValueError) as e:
            raise MioError(f"{file} has a broken header: the entry of {name!r} is {entry!r}") from e
        if dtype is None:
            raise MioError(f"{file}: tensor {name!r} has dtype {entry['dtype']}; known are {', '.join(DTYPES)}")
        if stop - start != math.prod(shape) * dtype.itemsize or start < 8 + length:
            raise MioError(f"{file} has a broken header: tensor {name!r} of shape {shape} holds {stop - start} bytes")
        if stop > size:
            raise MioError(f"{file} is cut off: tensor {name!r} ends at byte {stop} of {size}; copy it again")
        tensors[name] = Tensor(file, dtype, shape, start)
    return tensors


def read_npz_headers(file: Path) -> dict[str, Stored]:
    """The arrays of an npz file, those of nested dicts by names joined with `/`.

    Raises MioError if it is absent, cut off, or holds other Python objects.
    """
    found: dict[str, Stored] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                with archive.open(member) as f:
                    version = np.lib.format.read_magic(f)
                    read = np.lib.format.read_array_header_1_0
                    read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, dtype = read(f)
                    name = member.removesuffix(".npy")
                    if dtype.hasobject:
                        nested = read_objects(f, file, name)
                        alone = len(archive.namelist()) == 1  # then the array's name says nothing
                        for key, held in nested.items():
                            found[key if alone else f"{name}/{key}"] = held
                        continue
                found[name] = NpzTensor(file, name, dtype, shape)
    except OSError as e:
        raise MioError(f"cannot read weights {file}: {e.strerror}") from e
    except (zipfile.BadZipFile, ValueError) as e:
        raise MioError(f"{file} is cut off or is not an npz file ({e}); copy it again") from e
    return found


FILES = {".npz": read_npz_headers, ".bin": read_torch, ".pt": read_torch, ".pth": read_torch}  # others: safetensors


def read_file(file: Path) -> Mapping[str, Stored]:
    """The tensors of one file. Raises MioError if it cannot be read."""
    read: Callable[[Path], Mapping[str, Stored]] = FILES.get(file.suffix, read_header)
    return read(file)


def open_weights(path: str | os.PathLike[str]) -> Mapping[str, Stored]:
    """Every tensor of a safetensors, PyTorch or npz file, or of a folder with one file or with shards and their index.

    Raises:
      MioError: nothing there, an absent or broken shard, or an index that names tensors which its shards lack.
    """
    path = Path(path)
    if not path.is_dir():
        return read_file(path)
    for single, index in LAYOUTS:
        if (path / index).exists():
            return _shards(path / index)
        if (path / single).exists():
            return read_file(path / single)
    raise MioError(f"{path} holds none of {', '.join(name for layout in LAYOUTS for name in layout)}")


def _shards(index: Path) -> Mapping[str, Stored]:
    try:
        where: Mapping[str, str] = json.loads(index.read_text())["weight_map"]
        shards = {shard: read_file(index.parent / shard) for shard in sorted(set(where.values()))}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise MioError(f"{index} is not an index of shards") from e
    lost = [name for name, shard in where.items() if name not in shards[shard]]
    if lost:
        raise MioError(f"{index} names {len(lost)} tensors that their shards lack: {shorten(lost)}")
    return {name: shards[shard][name] for name, shard in where.items()}


def strip_rows(name: str, value: np.ndarray, rows: int) -> np.ndarray:
    """The first `rows` rows of a table that may have been padded with zeros for a mesh.

    Raises:
      MioError: what would be cut off is not padding: the table is of another vocabulary.
    """
    if value[rows:].any():
        raise MioError(f"{name} has {len(value)} rows, the model's vocabulary {rows}, and the rest is not padding")
    return value[:rows]


class Planned(NamedTuple):
    """A tensor about to be written: its bytes are made only when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_file(file: Path, plan: list[Planned], tensors: Iterator[np.ndarray]) -> None:
    """Writes one safetensors file, whole or not at all; `tensors` yields the arrays in the order of `plan`."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # other readers want to know the layout: torch's
    at = 0
    for entry in plan:
        header[entry.name] = {
            "dtype": NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [at, at + entry.size],
        }
        at += entry.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors start aligned
    part = file.with_name(file.name + ".part")
    with part.open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for entry in plan:
            array = np.ascontiguousarray(next(tensors), entry.dtype)
            assert array.shape == entry.shape, (entry, array.shape)
            f.write(array.tobytes())
    os.replace(part, file)


def write_weights(folder: Path, plan: list[Planned], tensors: Iterator[np.ndarray], max_shard_bytes: int) -> list[Path]:
    """Writes `model.safetensors`, or shards of at most `max_shard_bytes` (one tensor at least) and their index."""
    shards: list[list[Planned]] = [[]]
    for entry in plan:
        if shards[-1] and sum(e.size for e in shards[-1]) + entry.size > max_shard_bytes:
            shards.append([])
        shards[-1].append(entry)
    folder.mkdir(parents=True, exist_ok=True)
    if len(shards) == 1:
        write_file(folder / SINGLE, plan, tensors)
        return [folder / SINGLE]
    files = [folder / f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for file, shard in zip(files, shards, strict=True):
        write_file(file, shard, tensors)
    index = {
        "metadata": {"total_size": sum(e.size for e in plan)},
        "weight_map": {e.name: file.name for file, shard in zip(files, shards, strict=True) for e in shard},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1))
    return files
