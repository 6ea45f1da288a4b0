"""Raw media -> token records: every source is read, tokenised in batches and written shard by shard.

A set is made in a hidden folder beside its place and moved there when it is whole, manifest last; so whatever stops
it, no half-made set can be taken for a whole one. Finished shards stay in the hidden folder, and the next run goes on
behind them. A set that is already there and was made in the same way is left alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mio_jax.config import RunConfig
from mio_jax.data import records
from mio_jax.data.records import FORMAT, MANIFEST, Manifest, Record, RecordReader, RecordWriter
from mio_jax.data.sources import SOURCES, Source, source
from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_tokenizers.image.io import mask_picture

SHARD_EXAMPLES = 2048
BATCH = 64
PLAN = "plan.json"
# Which tokenizer serves a kind of media. A mask is a picture of two colours.
TOKENIZER_OF = {"image": "image", "mask": "image", "audio": "audio"}

Report = Callable[[str, int, int], None]  # (set, examples done, examples in all)
Runner = Callable[[Sequence["ShardJob"], RunConfig, Any, Callable[[int], None]], None]


@dataclass(frozen=True)
class ShardJob:
    """One shard to make: examples start..stop-1 of a split, written to `path`, described in `path`.json when done."""

    record_set: str
    split: str
    start: int
    stop: int
    path: str

    @property
    def entry_path(self) -> pathlib.Path:
        return pathlib.Path(self.path + ".json")

    @property
    def done(self) -> bool:
        return self.entry_path.is_file()


def write_shard(job: ShardJob, tokenizers: Any, advance: Callable[[int], None] = lambda n: None) -> None:
    """Makes one shard, and then its entry for the manifest. Needs nothing but the job: any worker may run it.

    Raises MioError naming the example whose media cannot be encoded, or the file that cannot be written.
    """
    origin = source(job.record_set)
    schema: dict[str, Any] = {}
    path = pathlib.Path(job.path)
    with RecordWriter(path) as writer:
        batch: list[dict[str, Any]] = []
        examples = origin.examples(job.split, job.start, job.stop)
        while True:
            example = next(examples, None)
            if example is not None:
                batch.append(example)
            if len(batch) == BATCH or (example is None and batch):
                for record in encode_examples(batch, origin, tokenizers):
                    _note_schema(schema, record, job.record_set)
                    writer.write(record)
                advance(len(batch))
                batch = []
            if example is None:
                break
    expected = job.stop - job.start
    if writer.count != expected:
        raise MioError(
            f"source {job.record_set!r} yielded {writer.count} examples for {job.split} {job.start}..{job.stop - 1}, "
            f"not {expected}: its count() and examples() disagree"
        )
    entry = {"file": path.name, "count": writer.count, "bytes": path.stat().st_size, "sha256": records.sha256_of(path)}
    records.write_json(job.entry_path, {"entry": entry, "schema": schema})


def encode_examples(batch: Sequence[dict[str, Any]], origin: Source, tokenizers: Any) -> list[Record]:
    """Media to codes, batched; lists and dicts to JSON; strings as they are."""
    encoded: list[Record] = [{} for _ in batch]
    for name in batch[0]:
        values = [example[name] for example in batch]
        if name in origin.media:
            column: list[Any] = _encode_media(name, values, [example["id"] for example in batch], tokenizers)
        else:
            column = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
        for record, value in zip(encoded, column, strict=True):
            record[name] = value
    return encoded


def _encode_media(name: str, values: list[Any], ids: list[str], tokenizers: Any) -> list[np.ndarray]:
    tokenizer = getattr(tokenizers, TOKENIZER_OF[name])
    if name == "mask":
        values = [mask_picture(value) for value in values]
    try:
        if hasattr(tokenizer, "encode_batch"):
            return [np.asarray(codes, np.int32) for codes in tokenizer.encode_batch(values)]
        return [np.asarray(tokenizer.encode(value), np.int32) for value in values]
    except MioError:
        for value, where in zip(values, ids, strict=True):  # a batch does not say which of its members is bad
            try:
                tokenizer.encode(value)
            except MioError as error:
                raise MioError(f"example {where!r}: {error}") from error
        raise


def _note_schema(schema: dict[str, Any], record: Record, record_set: str) -> None:
    """What every record has in common; a dimension that varies is null. Raises MioError if the fields differ."""
    if schema and set(schema) != set(record):
        raise MioError(f"source {record_set!r}: example {record['id']!r} has other fields than the first")
    for name, value in record.items():
        here: dict[str, Any] = {"kind": "text"}
        if isinstance(value, np.ndarray):
            here = {"kind": "codes", "dtype": "int32", "shape": list(value.shape)}
        schema[name] = _merge_field(schema.get(name, here), here, name, record_set)


def _merge_field(a: dict[str, Any], b: dict[str, Any], name: str, record_set: str) -> dict[str, Any]:
    if a["kind"] != b["kind"] or len(a.get("shape", ())) != len(b.get("shape", ())):
        raise MioError(f"source {record_set!r}: field {name!r} is {a} in one example and {b} in another")
    if "shape" not in a:
        return a
    shape = [x if x == y else None for x, y in zip(a["shape"], b["shape"], strict=True)]
    return {**a, "shape": shape}


def run_here(jobs: Sequence[ShardJob], config: RunConfig, tokenizers: Any, advance: Callable[[int], None]) -> None:
    """The local runner: one shard after the other in this process, where JAX already uses every core."""
    for job in jobs:
        write_shard(job, tokenizers, advance)


def prepare(
    config: RunConfig,
    tokenizers: Any,
    *,
    space: TokenSpace | None = None,
    sets: Sequence[str] = (),
    limit: int | None = None,
    force: bool = False,
    runner: Runner = run_here,
    report: Report = lambda record_set, done, total: None,
) -> dict[str, str]:
    """Makes the token records of these sets (default: all) in `config.data.records_dir` -> {set: "made" or "kept"}.

    `limit`: at most so many examples a split. `space` is written down in the manifest. `force` remakes finished sets.

    Raises:
      MioError: an unknown set, a finished set that was made in another way, media that cannot be encoded, a full disk.
    """
    return {
        name: _prepare_set(name, config, tokenizers, space, limit, force, runner, report) for name in sets or SOURCES
    }


def _prepare_set(
    name: str,
    config: RunConfig,
    tokenizers: Any,
    space: TokenSpace | None,
    limit: int | None,
    force: bool,
    runner: Runner,
    report: Report,
) -> str:
    origin = source(name)
    folder = pathlib.Path(config.data.records_dir)
    final, hidden = folder / name, folder / f".{name}.partial"
    plan = _plan(origin, tokenizers, limit)
    if (final / MANIFEST).is_file() and not force:
        _require_same(records.read_manifest(folder, name), plan, folder)
        for split in plan["counts"]:
            RecordReader(folder, name, split)  # sizes and counts; damage is named with its remedy
        return "kept"
    total = sum(plan["counts"].values())
    try:
        _begin(hidden, plan)
        jobs = [job for split, count in plan["counts"].items() for job in _jobs(name, split, count, hidden)]
        done = sum(job.stop - job.start for job in jobs if job.done)
        report(name, done, total)

        def advance(n: int) -> None:
            nonlocal done
            done += n
            report(name, done, total)

        runner([job for job in jobs if not job.done], config, tokenizers, advance)
        _finish(jobs, plan, origin, space, hidden, final)
    except OSError as error:
        raise MioError(f"cannot write the records of {name!r} in {folder}: {error.strerror or error}") from error
    return "made"


def _plan(origin: Source, tokenizers: Any, limit: int | None) -> dict[str, Any]:
    """All that decides what the records hold; equal plans make equal records."""
    fingerprints = tokenizers.fingerprints
    counts = {split: origin.count(split) for split in origin.splits}
    return {
        "format": FORMAT,
        "set": origin.name,
        "source_version": origin.version,
        "tokenizers": {m: fingerprints[m] for m in sorted({TOKENIZER_OF[media] for media in origin.media})},
        "counts": {split: count if limit is None else min(count, limit) for split, count in counts.items()},
    }


def _require_same(manifest: Manifest, plan: dict[str, Any], folder: pathlib.Path) -> None:
    records.check_manifest(manifest, plan["tokenizers"], folder)
    for key, wanted in plan.items():
        if manifest.get(key) != wanted:
            remake = records.prepare_command(folder, plan["set"], force=True)
            raise MioError(
                f"the {plan['set']!r} records in {folder} were made with {key} {manifest.get(key)}, this would make "
                f"{wanted}; use another data.records_dir, or remake them: {remake}"
            )


def _jobs(name: str, split: str, count: int, hidden: pathlib.Path) -> list[ShardJob]:
    shards = max(1, -(-count // SHARD_EXAMPLES))
    bounds = [count * i // shards for i in range(shards + 1)]
    return [
        ShardJob(name, split, bounds[i], bounds[i + 1], str(hidden / records.shard_name(split, i, shards)))
        for i in range(shards)
    ]


def _begin(hidden: pathlib.Path, plan: dict[str, Any]) -> None:
    """Goes on in the hidden folder if it was begun by the same plan, else empties it."""
    path = hidden / PLAN
    try:
        same = json.loads(path.read_text()) == plan
    except (FileNotFoundError, ValueError):
        same = False
    if not same:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        records.write_json(path, plan)


def _finish(
    jobs: Sequence[ShardJob],
    plan: dict[str, Any],
    origin: Source,
    space: TokenSpace | None,
    hidden: pathlib.Path,
    final: pathlib.Path,
) -> None:
    schema: dict[str, Any] = {}
    shards: dict[str, list[Any]] = {split: [] for split in plan["counts"]}
    for job in jobs:
        made = json.loads(job.entry_path.read_text())
        shards[job.split].append(made["entry"])
        for field, here in made["schema"].items():
            schema[field] = _merge_field(schema.get(field, here), here, field, origin.name)
    manifest = {
        **plan,
        "source": {"name": origin.name, "licence": origin.licence, "attribution": origin.attribution},
        "schema": schema,
        "shards": shards,
        "token_space": dataclasses.asdict(space) if space else None,
    }
    for job in jobs:
        job.entry_path.unlink()
    for left in hidden.glob(f"*{records.PARTIAL}"):  # of a killed writer
        left.unlink()
    (hidden / PLAN).unlink()
    records.write_json(hidden / MANIFEST, manifest)
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    os.replace(hidden, final)
    shutil.rmtree(old, ignore_errors=True)
