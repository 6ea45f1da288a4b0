"""One shard of token records: read its examples, tokenise them in batches, write it, describe it for the manifest.

A bad example ends nothing. It is set aside with its place and its reason, and the shard goes on without it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mio_jax.config import FilterConfig
from mio_jax.data import records
from mio_jax.data.filters import turned_away
from mio_jax.data.records import Record, RecordWriter
from mio_jax.data.sources import Place, Source, open_place, seen_of
from mio_jax.errors import MioError
from mio_tokenizers.base import Audio
from mio_tokenizers.image.io import mask_picture

BATCH = 64
# Which tokenizer serves a kind of media. A mask is a picture of two colours; "target" is one that answers another.
TOKENIZER_OF = {"image": "image", "mask": "image", "target": "image", "audio": "audio"}
# Several pictures: frames of a video, pictures of a document. Their codes are [pictures, codes of one].
TOKENIZER_OF |= {"frames": "image", "pictures": "image"}
SEVERAL = ("frames", "pictures")
# What an example that cannot be read or encoded raises. Others are not the example's fault, an accelerator that is out
# of memory (RuntimeError) say, and end the shard, which the next run makes again.
BAD = (MioError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, OSError, SyntaxError, struct.error)


@dataclass(frozen=True)
class ShardJob:
    """One shard to make: examples start..stop-1 of a split, written to `path`, described in `path`.json when done.

    `place`: where the set is read from, so that a worker needs nothing else.
    `keep`: media that stand in the records themselves too, beside their codes. `filters`: what is left out.
    `code_seen`: media that are only looked at get codes like the others.
    """

    record_set: str
    split: str
    start: int
    stop: int
    path: str
    place: Place
    keep: tuple[str, ...] = ()
    filters: tuple[FilterConfig, ...] = ()
    code_seen: bool = False

    @property
    def entry_path(self) -> pathlib.Path:
        return pathlib.Path(self.path + ".json")

    @property
    def done(self) -> bool:
        return self.entry_path.is_file()


@dataclass(frozen=True)
class SetAside:
    """An example that could not be made into a record: where it stands in its split, its id if known, and why."""

    split: str
    position: int
    id: str | None
    reason: str


def write_shard(job: ShardJob, tokenizers: Any, advance: Callable[[int], None] = lambda n: None) -> int:
    """Makes one shard, and then its entry for the manifest -> how many examples were set aside.

    Needs nothing but the job: any worker may run it, and running it again makes the same bytes.

    Raises MioError if the file cannot be written or the source yields fewer examples than it counts.
    """
    shard = _Shard(job, tokenizers)
    path = pathlib.Path(job.path)
    with RecordWriter(path) as writer:
        for batch in _batches(shard.read()):
            for record in shard.encode(batch):
                writer.write(record)
            advance(len(batch))
    unread = job.stop - job.start - writer.count - len(shard.aside)
    if unread:
        raise MioError(
            f"source {job.record_set!r} yielded {job.stop - job.start - unread} examples for {job.split} "
            f"{job.start}..{job.stop - 1}, not {job.stop - job.start}: its count() and examples() disagree"
        )
    advance(shard.unreadable)
    entry = {"file": path.name, "count": writer.count, "bytes": path.stat().st_size, "sha256": records.sha256_of(path)}
    aside = [dataclasses.asdict(one) for one in sorted(shard.aside, key=lambda one: one.position)]
    records.write_json(job.entry_path, {"entry": entry, "schema": shard.schema, "set_aside": aside})
    return len(aside)


Placed = tuple[int, dict[str, Any]]  # an example and its position in its split


def _batches(examples: Iterator[Placed]) -> Iterator[list[Placed]]:
    batch: list[Placed] = []
    for placed in examples:
        batch.append(placed)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Shard:
    """What is known of a shard while it is made: its fields, and what was set aside."""

    def __init__(self, job: ShardJob, tokenizers: Any) -> None:
        self._job, self._tokenizers, self._origin = job, tokenizers, open_place(job.place)
        self.schema: dict[str, Any] = {}
        self._fields: set[str] = set()  # of the first good example; records have more, where media are kept beside
        self.aside: list[SetAside] = []
        self.unreadable = 0

    def _set_aside(self, position: int, name: Any, error: Exception) -> None:
        reason = str(error) if isinstance(error, MioError) else f"{type(error).__name__}: {error}"
        self.aside.append(SetAside(self._job.split, position, None if name is None else str(name), reason))

    def read(self) -> Iterator[Placed]:
        """The examples that can be read. A generator that has raised is spent: a new one begins behind the bad one."""
        position = self._job.start
        while position < self._job.stop:
            try:
                for example in self._origin.examples(self._job.split, position, self._job.stop):
                    yield position, example
                    position += 1
                return
            except BAD as error:
                self._set_aside(position, None, error)
                self.unreadable += 1
                position += 1

    def encode(self, batch: Sequence[Placed]) -> list[Record]:
        """The records of those of these examples that are good. Raises MioError if only their batch is bad."""
        fields = self._fields or set(batch[0][1])
        good: list[Placed] = []
        for position, example in batch:
            if set(example) != fields or "id" not in fields:
                error = MioError(f"it has the fields {sorted(example)}, the first has {sorted(fields)}")
                self._set_aside(position, example.get("id"), error)
            elif reason := turned_away(example, self._job.filters):
                self._set_aside(position, example["id"], MioError(reason))
            else:
                good.append((position, example))
        try:
            encoded = self._codes([example for _, example in good])
        except BAD:  # a batch does not say which of its members is bad
            good = [placed for placed in good if self._encodes(placed)]
            encoded = self._codes([example for _, example in good])
        written = []
        for (position, example), record in zip(good, encoded, strict=True):
            try:
                self._note(record)
                self._fields = set(example)
                written.append(record)
            except MioError as error:
                self._set_aside(position, example["id"], error)
        return written

    def _codes(self, examples: Sequence[dict[str, Any]]) -> list[Record]:
        seen = () if self._job.code_seen else seen_of(self._origin)
        return encode_examples(examples, self._origin, self._tokenizers, self._job.keep, seen)

    def _encodes(self, placed: Placed) -> bool:
        position, example = placed
        try:
            self._codes([example])
        except BAD as error:
            self._set_aside(position, example["id"], error)
            return False
        return True

    def _note(self, record: Record) -> None:
        """Takes down what every record has in common; a dimension that varies is null."""
        schema = {}
        for name, value in record.items():
            here: dict[str, Any] = {"kind": "text"}
            if isinstance(value, np.ndarray):
                kind = "codes" if value.dtype == np.int32 else "media"
                here = {"kind": kind, "dtype": str(value.dtype), "shape": list(value.shape)}
            schema[name] = merge_field(self.schema.get(name, here), here, name, self._job.record_set)
        self.schema = schema


def encode_examples(
    batch: Sequence[dict[str, Any]],
    origin: Source,
    tokenizers: Any,
    keep: Sequence[str] = (),
    seen: Sequence[str] | None = None,
) -> list[Record]:
    """Media to codes, batched, and those to `keep` also as they are; lists and dicts to JSON; strings as they are.

    Media that are only looked at (`seen`, by default what the source says) get no codes. All examples have the fields
    of the first.
    """
    seen = seen_of(origin) if seen is None else seen
    encoded: list[Record] = [{} for _ in batch]
    for name in batch[0] if batch else ():
        values = [example[name] for example in batch]
        if name in seen:
            for record, value in zip(encoded, values, strict=True):
                record |= raw_fields(name, value)
            continue
        if name in origin.media:
            column: list[Any] = _encode_media(name, values, tokenizers)
        else:
            column = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
        for record, value in zip(encoded, column, strict=True):
            record[name] = value
        if name in origin.media and name in keep:
            for record, value in zip(encoded, values, strict=True):
                record |= raw_fields(name, value)
    return encoded


def raw_fields(name: str, value: Any) -> Record:
    """A medium as fields of a record: uint8 pictures and masks, int16 samples with their rate in Hz as a string."""
    if isinstance(value, Audio):
        samples = np.round(np.clip(value.samples, -1.0, 1.0) * 32767.0).astype(np.int16)
        return {f"raw/{name}": samples, f"raw/{name}_rate": str(value.rate)}
    array = np.asarray(value)
    if array.dtype not in (np.uint8, bool) or not array.size:
        raise MioError(f"{name} must be uint8 or bool and not empty, not {array.dtype} {list(array.shape)}")
    return {f"raw/{name}": array.astype(np.uint8)}


def _encode_media(name: str, values: list[Any], tokenizers: Any) -> list[np.ndarray]:
    tokenizer = getattr(tokenizers, TOKENIZER_OF[name])
    if name in SEVERAL:
        flat = _encode_media("image", [picture for value in values for picture in value], tokenizers)
        ends = np.cumsum([0, *(len(value) for value in values)])
        empty = np.zeros((0, tokenizer.tokens), np.int32)
        return [np.stack(flat[a:b]) if b > a else empty for a, b in itertools.pairwise(ends)]
    if name == "mask":
        values = [mask_picture(value) for value in values]
    if hasattr(tokenizer, "encode_batch"):
        return [np.asarray(codes, np.int32) for codes in tokenizer.encode_batch(values)]
    return [np.asarray(tokenizer.encode(value), np.int32) for value in values]


def merge_field(a: dict[str, Any], b: dict[str, Any], name: str, record_set: str) -> dict[str, Any]:
    """What two descriptions of a field have in common. Raises MioError if they are of different kinds or ranks."""
    if a["kind"] != b["kind"] or len(a.get("shape", ())) != len(b.get("shape", ())):
        raise MioError(f"source {record_set!r}: field {name!r} is {a} in one example and {b} in another")
    if "shape" not in a:
        return a
    shape = [x if x == y else None for x, y in zip(a["shape"], b["shape"], strict=True)]
    return {**a, "shape": shape}
