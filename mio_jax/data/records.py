"""Token records on disk: what one holds, the ArrayRecord shards of a set, and the manifest that vouches for them.

    <records_dir>/<set>/manifest.json
    <records_dir>/<set>/<split>-00000-of-00002.array_record

A record is a flat dict of strings and arrays: media codes (int32) under the names of the media, texts as they are,
labels under "meta/...", and under "raw/..." the media themselves (uint8 pixels, int16 samples) for models that look at
them. It is stored as msgpack and a CRC, so that damage is found where it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import struct
import threading
import zlib
from collections.abc import Mapping
from typing import Any, cast

import msgpack
import numpy as np

from mio_jax.errors import MioError

FORMAT = 1
MANIFEST = "manifest.json"
PARTIAL = ".partial"  # how the names of unfinished files end
# msgpack extension types: rank, dimensions, then data, all little-endian
_ARRAYS: dict[int, np.dtype[Any]] = {1: np.dtype("<i4"), 2: np.dtype("u1"), 3: np.dtype("<i2")}
_TYPE_OF = {dtype: number for number, dtype in _ARRAYS.items()}
# One record a chunk: the loader reads in shuffled order, where larger chunks would be decompressed for one record.
_WRITE_OPTIONS = "group_size:1"
_READ_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"

Record = dict[str, Any]  # str -> str | array of int32, uint8 or int16
Manifest = dict[str, Any]


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Raises MioError naming the field that is neither a string nor an int32, uint8 or int16 array."""
    fields: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, str):
            fields[name] = value
        elif isinstance(value, np.ndarray) and value.dtype in _TYPE_OF:
            head = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
            fields[name] = msgpack.ExtType(_TYPE_OF[value.dtype], head + np.ascontiguousarray(value).tobytes())
        else:
            kind = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
            raise MioError(
                f"record field {name!r} is a {kind}; a record holds strings, and int32, uint8 or int16 arrays"
            )
    body: bytes = msgpack.packb(fields)
    return body + struct.pack("<I", zlib.crc32(body))


def decode_record(data: bytes) -> Record:
    """Raises MioError on bytes that are not a whole record."""
    if len(data) < 5 or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise MioError(f"a token record of {len(data)} bytes is truncated or damaged")
    try:
        return cast(Record, msgpack.unpackb(data[:-4], ext_hook=_decode_array))
    except (ValueError, TypeError, struct.error, msgpack.UnpackException) as error:
        raise MioError(f"a token record of {len(data)} bytes is not in this project's format ({error})") from error


def _decode_array(code: int, data: bytes) -> np.ndarray:
    if code not in _ARRAYS:
        raise ValueError(f"unknown field type {code}")
    dtype = _ARRAYS[code]
    shape = struct.unpack_from(f"<{data[0]}I", data, 1)
    # A copy: arrays made from bytes are read-only, and what is made of a record may be changed.
    return np.frombuffer(data, dtype, offset=1 + 4 * data[0]).astype(dtype.newbyteorder("=")).reshape(shape)


def shard_name(split: str, index: int, total: int) -> str:
    return f"{split}-{index:05d}-of-{total:05d}.array_record"


class RecordWriter:
    """Writes one shard; it appears under its name only when it is whole. Use as a context manager.

    Raises MioError with the system's reason when the disk is full or refuses.
    """

    def __init__(self, path: pathlib.Path) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        self.path = path
        self.count = 0
        # Its own name: a runner may give one shard to two workers, of which the first to finish wins.
        self._partial = path.with_name(f"{path.name}.{os.getpid()}-{id(self)}{PARTIAL}")
        self._file = self._guard(ArrayRecordWriter, str(self._partial), _WRITE_OPTIONS)

    def _guard(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (OSError, RuntimeError) as error:
            self._partial.unlink(missing_ok=True)
            raise MioError(
                f"cannot write {self.path}: {_reason(error)}; nothing half-written was left there"
            ) from error

    def write(self, record: Mapping[str, Any]) -> None:
        self._guard(self._file.write, encode_record(record))
        self.count += 1

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._guard(self._file.close)
            os.replace(self._partial, self.path)
            return
        with contextlib.suppress(OSError, RuntimeError):  # the error that ended the block is the one to report
            self._file.close()
        self._partial.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    for known in ("No space left on device", "File too large", "Permission denied", "Disk quota exceeded"):
        if known in text:
            return known
    return text


def sha256_of(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: pathlib.Path, value: Any) -> None:
    """Atomic, and on disk when it returns."""
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("w") as file:
            json.dump(value, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MioError(f"cannot write {path}: {_reason(error)}") from error


def prepare_command(records_dir: str | os.PathLike[str], record_set: str, *, force: bool = False) -> str:
    command = f"mio data prepare --sets {record_set} --config.data.records_dir={records_dir}"
    return command + " --force" if force else command


def read_manifest(records_dir: str | os.PathLike[str], record_set: str) -> Manifest:
    """Raises MioError with the command that makes the set if it is not there, or remakes it if it cannot be read."""
    path = pathlib.Path(records_dir) / record_set / MANIFEST
    remake = prepare_command(records_dir, record_set, force=True)
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        make = prepare_command(records_dir, record_set)
        raise MioError(f"no token records of {record_set!r} in {records_dir}; make them: {make}") from None
    except (OSError, ValueError) as error:
        raise MioError(f"cannot read {path} ({error}); remake it: {remake}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise MioError(f"{path} is not of format {FORMAT}, which this version reads; remake it: {remake}")
    return cast(Manifest, manifest)


def check_manifest(
    manifest: Manifest, fingerprints: Mapping[str, str], records_dir: str | os.PathLike[str] = "DIR"
) -> None:
    """`fingerprints`: by modality. Raises MioError if the records hold codes of other tokenizers than these."""
    for modality, made_by in manifest["tokenizers"].items():
        here = fingerprints.get(modality, "none")
        if made_by != here:
            name = manifest["set"]
            raise MioError(
                f"the {name!r} records were made by another {modality} tokenizer ({made_by}) than the config's "
                f"({here}); name that one in config.tokenizers.{modality}, or remake them: "
                f"{prepare_command(records_dir, name, force=True)}"
            )


class RecordReader:
    """Random access to one split of a set: `len(reader)`, `reader[i]` -> record.

    Opening compares sizes and counts with the manifest; `verify` also the checksums. A damaged record raises MioError
    with the set, the shard and the position when it is read.
    """

    def __init__(self, records_dir: str | os.PathLike[str], record_set: str, split: str) -> None:
        self.records_dir, self.record_set, self.split = str(records_dir), record_set, split
        self.manifest = read_manifest(records_dir, record_set)
        if split not in self.manifest["shards"]:
            raise MioError(
                f"the {record_set!r} records have no split {split!r}; they have {sorted(self.manifest['shards'])}"
            )
        self._folder = pathlib.Path(records_dir) / record_set
        self._shards = self.manifest["shards"][split]
        self._starts = np.cumsum([0] + [shard["count"] for shard in self._shards])
        self._files = [self._open(shard) for shard in self._shards]
        self._lock = threading.Lock()  # the loader's thread and an evaluation may share a reader

    def _broken(self, what: str) -> MioError:
        remedy = prepare_command(self.records_dir, self.record_set, force=True)
        return MioError(f"token records of {self.record_set!r}: {what}; remake them: {remedy}")

    def _open(self, shard: dict[str, Any]) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        path = self._folder / shard["file"]
        if not path.is_file():
            raise self._broken(f"shard {shard['file']} is missing")
        if path.stat().st_size != shard["bytes"]:
            size = path.stat().st_size
            raise self._broken(f"shard {shard['file']} is truncated or replaced: {size} bytes, not {shard['bytes']}")
        try:
            file = ArrayRecordReader(str(path), _READ_OPTIONS)
        except RuntimeError as error:
            raise self._broken(f"shard {shard['file']} cannot be opened ({error})") from error
        if not file.ok() or file.num_records() != shard["count"]:
            raise self._broken(f"shard {shard['file']} is damaged: {shard['count']} records expected")
        return file

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Record:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        at = int(np.searchsorted(self._starts, index, side="right")) - 1
        within = index - int(self._starts[at])
        try:
            with self._lock:
                data = self._files[at].read([within])[0]
            return decode_record(data)
        except (RuntimeError, MioError) as error:
            raise self._broken(f"record {within} of shard {self._shards[at]['file']} is damaged ({error})") from error

    def verify(self) -> None:
        """Reads every byte. Raises MioError naming the shard whose checksum differs."""
        for shard in self._shards:
            if sha256_of(self._folder / shard["file"]) != shard["sha256"]:
                raise self._broken(f"shard {shard['file']} differs from its checksum")
