"""Published weights inside of Python pickles: PyTorch's .bin and .pt files, and npz files of nested dicts.

A pickle may run code. Here it may only name what weights are made of; anything else that it asks for is refused before
it exists. PyTorch itself is not needed, and its tensors are read through a memory map when they are needed.
"""

from __future__ import annotations

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from mio_jax.errors import MioError

LOCAL_HEADER = 30  # bytes of a zip member's own header before its name
STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class TorchTensor(NamedTuple):
    """A tensor in a PyTorch file; offset in bytes, strides in elements."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def read(self) -> np.ndarray:
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        last = sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        flat = np.memmap(self.file, self.dtype, mode="r", offset=self.offset, shape=(last + 1,))
        steps = [step * self.dtype.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)


class Held(NamedTuple):
    """An array that is in memory already."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def read(self) -> np.ndarray:
        return self.array


class _Storage(NamedTuple):
    dtype: np.dtype
    offset: int  # bytes from the start of the file
    numel: int


class _Unpickler(pickle.Unpickler):
    """Knows `allowed` and nothing else; `stored` gives what a persistent id stands for."""

    def __init__(
        self,
        data: IO[bytes],
        where: str,
        allowed: Mapping[tuple[str, str], Any],
        stored: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(data)
        self._where, self._allowed, self._stored = where, allowed, stored

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise MioError(f"{self._where} asks for {module}.{name}, which is no part of weights; it is not read")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self._stored is None:
            raise MioError(f"{self._where} refers to something outside of itself; it is not read")
        return self._stored(pid)


Stored = Callable[[Any], _Storage]  # what a persistent id stands for
OLD_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of files of torch.save before PyTorch 1.6


def read_torch(file: Path) -> dict[str, TorchTensor]:
    """The tensors of a PyTorch file, those of nested dicts by their dotted names; `state_dict` is left out of them.

    Raises:
      MioError: absent, cut off, no file of torch.save, big-endian, or asking for more than tensors.
    """
    try:
        with file.open("rb") as raw:
            tree = _zipped(file, raw) if raw.peek(2)[:2] == b"PK" else _old(file, raw)
    except OSError as e:
        raise MioError(f"cannot read weights {file}: {e.strerror}") from e
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        struct.error,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
    ) as e:
        raise MioError(f"{file} is cut off or is not a file of torch.save ({e})") from e
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    return {name: value for name, value in _flat(tree, ".") if isinstance(value, TorchTensor)}


def _tree(data: IO[bytes], file: Path, stored: Stored) -> Any:
    """The pickled tree of a PyTorch file, with a `TorchTensor` for each tensor."""

    def rebuilt(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> TorchTensor:
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 not in shape and not 0 <= last < storage.numel:
            raise MioError(f"{file}: a tensor of shape {tuple(shape)} reaches beyond its storage")
        at = storage.offset + offset * storage.dtype.itemsize
        return TorchTensor(file, storage.dtype, tuple(shape), tuple(strides), at)

    allowed = {("torch", name): dtype for name, dtype in STORAGES.items()} | {
        ("torch._utils", "_rebuild_tensor"): rebuilt,
        ("torch._utils", "_rebuild_tensor_v2"): rebuilt,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    return _Unpickler(data, str(file), allowed, stored).load()


def _zipped(file: Path, raw: IO[bytes]) -> Any:
    """The tree of a zip file, as torch.save writes them since PyTorch 1.6."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
        if "data.pkl" not in members:
            raise MioError(f"{file} holds no data.pkl; it is not a file of torch.save")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise MioError(f"{file} is big-endian; save it again on a little-endian machine")

        def stored(pid: Any) -> _Storage:
            _, dtype, key, _, count = pid
            member = members[f"data/{key}"]
            if member.compress_type != zipfile.ZIP_STORED:
                raise MioError(f"{file}: its data are compressed; save it again with torch.save")
            raw.seek(member.header_offset)
            name, extra = struct.unpack("<26xHH", raw.read(LOCAL_HEADER))
            return _Storage(np.dtype(dtype), member.header_offset + LOCAL_HEADER + name + extra, int(count))

        return _tree(io.BytesIO(archive.read(members["data.pkl"])), file, stored)


def _old(file: Path, raw: IO[bytes]) -> Any:
    """The tree of a file from before PyTorch 1.6: pickles one after another, then every storage behind its length."""
    raw.seek(0)
    magic, _, system = (_Unpickler(raw, str(file), {}).load() for _ in range(3))
    if magic != OLD_MAGIC:
        raise ValueError("it begins with something else")
    if not system["little_endian"]:
        raise MioError(f"{file} is big-endian; save it again on a little-endian machine")
    start, found = raw.tell(), {}

    def count(pid: Any) -> _Storage:
        _, dtype, key, _, numel, view = pid
        if view is not None:
            raise MioError(f"{file} holds views of storages; save it again with a PyTorch since 1.6")
        found[key] = _Storage(np.dtype(dtype), 0, int(numel))
        return found[key]

    _tree(raw, file, count)  # where the storages lie is known behind the tree only, so it is read twice
    for key in _Unpickler(raw, str(file), {}).load():
        (numel,) = struct.unpack("<q", raw.read(8))
        if numel != found[key].numel:
            raise ValueError(f"storage {key} holds {numel} numbers, not {found[key].numel}")
        found[key] = found[key]._replace(offset=raw.tell())
        raw.seek(numel * found[key].dtype.itemsize, io.SEEK_CUR)
    if raw.tell() > file.stat().st_size:
        raise ValueError(f"it ends at byte {file.stat().st_size} of {raw.tell()}")
    raw.seek(start)
    return _tree(raw, file, lambda pid: found[pid[2]])


def read_objects(data: IO[bytes], file: Path, name: str) -> dict[str, Held]:
    """The arrays of a pickled object array (nested dicts, each in an array of its own), by names joined with `/`.

    Raises MioError if it asks for more than dicts and arrays.
    """
    allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _latin1}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed |= {(module, "_reconstruct"): np._core.multiarray._reconstruct}  # type: ignore[attr-defined]
        allowed |= {(module, "scalar"): np._core.multiarray.scalar}  # type: ignore[attr-defined]
    where = f"{file}: {name!r}"
    try:
        tree = _Unpickler(data, where, allowed).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError) as e:
        raise MioError(f"{where} is cut off or damaged ({e}); copy it again") from e
    found = {}
    for key, value in _flat(tree, "/"):
        if not isinstance(value, np.ndarray | np.generic):
            raise MioError(f"{where} holds {type(value).__name__} under {key or 'its root'}, which is no array")
        found[key] = Held(np.asarray(value))
    return found


def _latin1(text: str, encoding: str) -> bytes:
    """What pickles of protocol 2 write for bytes."""
    return text.encode(encoding)


def _flat(tree: Any, joint: str, path: str = "") -> Iterator[tuple[str, Any]]:
    """(name, leaf) of nested dicts; an object array of one thing is that thing."""
    while isinstance(tree, np.ndarray) and tree.dtype.hasobject and tree.size == 1:
        tree = tree.item()
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, joint, f"{path}{joint}{key}" if path else str(key))
    else:
        yield path, tree
