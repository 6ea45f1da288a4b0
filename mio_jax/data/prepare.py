"""Raw media -> token records: every source is read, tokenised in batches and written shard by shard.

A set is made in a hidden folder beside its place and moved there when it is whole, manifest last; so whatever stops
it, no half-made set can be taken for a whole one. Finished shards stay in the hidden folder, and the next run goes on
behind them. A set that is already there and was made in the same way is left alone.

A bad example ends nothing: it is left out, counted in the manifest, and named with its reason in `set_aside.jsonl`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from mio_jax.config import DataConfig, RunConfig
from mio_jax.data import records
from mio_jax.data.filters import of_set
from mio_jax.data.records import FORMAT, MANIFEST, Manifest, RecordReader
from mio_jax.data.shards import TOKENIZER_OF, ShardJob, merge_field, write_shard
from mio_jax.data.sources import Place, Source, open_place, place_of, seen_of, sets_at_hand
from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError

SHARD_EXAMPLES = 2048
PLAN = "plan.json"
SET_ASIDE = "set_aside.jsonl"

Report = Callable[[str, int, int], None]  # (set, examples done, examples in all)
Runner = Callable[[Sequence[ShardJob], RunConfig, Any, Callable[[int], None]], None]


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
    """Makes the token records of these sets in `config.data.records_dir` -> {set: "made" or "kept"}.

    By default of every set at hand: those inside packages, and those that have a folder in `config.data.raw_dir`.

    `limit`: at most so many examples a split. `space` is written down in the manifest. `force` remakes finished sets.

    Raises:
      MioError: an unknown set, a finished set that was made in another way, a split of which every example is bad, a
        full disk.
    """
    return {
        name: _prepare_set(name, config, tokenizers, space, limit, force, runner, report)
        for name in sets or sets_at_hand(config.data)
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
    place = place_of(name, config.data)
    origin = open_place(place)
    if origin.name != name:
        raise MioError(f"the reader {place.reader} calls its set {origin.name!r}, and it is asked for as {name!r}")
    folder = pathlib.Path(config.data.records_dir)
    final, hidden = folder / name, folder / f".{name}.partial"
    plan = _plan(origin, tokenizers, limit, config.data)
    if (final / MANIFEST).is_file() and not force:
        _require_same(records.read_manifest(folder, name), plan, folder)
        for split in plan["counts"]:
            RecordReader(folder, name, split)  # sizes and counts; damage is named with its remedy
        return "kept"
    total = sum(plan["counts"].values())
    try:
        _begin(hidden, plan)
        jobs = [
            job
            for split, count in plan["counts"].items()
            for job in _jobs(plan, place, split, count, hidden, config.data)
        ]
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


def _plan(origin: Source, tokenizers: Any, limit: int | None, data: DataConfig) -> dict[str, Any]:
    """All that decides what the records hold; equal plans make equal records."""
    filters = [dataclasses.asdict(one) | {"sets": list(one.sets)} for one in of_set(data.filters, origin.name)]
    seen = () if data.code_seen else seen_of(origin)
    fingerprints = tokenizers.fingerprints
    counts = {split: origin.count(split) for split in origin.splits}
    kept = sorted(set(origin.media) & set(data.keep_media))
    coded = set(origin.media) - set(seen)
    chosen = {"keep_media": kept, "filters": filters, "code_seen": data.code_seen and bool(seen_of(origin))}
    return {name: value for name, value in chosen.items() if value} | {
        "format": FORMAT,
        "set": origin.name,
        "source_version": origin.version,
        "tokenizers": {m: fingerprints[m] for m in sorted({TOKENIZER_OF[media] for media in coded})},
        "counts": {split: count if limit is None else min(count, limit) for split, count in counts.items()},
    }


def _require_same(manifest: Manifest, plan: dict[str, Any], folder: pathlib.Path) -> None:
    records.check_manifest(manifest, plan["tokenizers"], folder)
    aside = manifest.get("set_aside", {})
    asked = {split: count + aside.get(split, 0) for split, count in manifest["counts"].items()}
    for key, wanted in plan.items():
        if (asked if key == "counts" else manifest.get(key)) != wanted:
            remake = records.prepare_command(folder, plan["set"], force=True)
            raise MioError(
                f"the {plan['set']!r} records in {folder} were made with {key} {manifest.get(key)}, this would make "
                f"{wanted}; use another data.records_dir, or remake them: {remake}"
            )


def _jobs(
    plan: dict[str, Any], place: Place, split: str, count: int, hidden: pathlib.Path, data: DataConfig
) -> list[ShardJob]:
    shards = max(1, -(-count // SHARD_EXAMPLES))
    bounds = [count * i // shards for i in range(shards + 1)]
    keep, filters = tuple(plan.get("keep_media", ())), of_set(data.filters, plan["set"])
    paths = [str(hidden / records.shard_name(split, i, shards)) for i in range(shards)]
    return [
        ShardJob(plan["set"], split, start, stop, path, place, keep, filters, data.code_seen)
        for start, stop, path in zip(bounds[:-1], bounds[1:], paths, strict=True)
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
    aside: list[dict[str, Any]] = []
    for job in jobs:
        made = json.loads(job.entry_path.read_text())
        shards[job.split].append(made["entry"])
        aside += made.get("set_aside", [])  # a shard of an earlier version has none
        for field, here in made["schema"].items():
            schema[field] = merge_field(schema.get(field, here), here, field, origin.name)
    counts = {split: sum(entry["count"] for entry in entries) for split, entries in shards.items()}
    for split, count in counts.items():
        if plan["counts"][split] and not count:
            first = next(one for one in aside if one["split"] == split)
            shutil.rmtree(hidden)  # what was missing may be there the next time
            raise MioError(f"{origin.name!r}: every example of {split!r} is bad; the first because {first['reason']}")
    manifest = {
        **plan,
        "counts": counts,
        "set_aside": {split: plan["counts"][split] - count for split, count in counts.items()},
        "source": {"name": origin.name, "licence": origin.licence, "attribution": origin.attribution},
        "schema": schema,
        "shards": shards,
        "token_space": dataclasses.asdict(space) if space else None,
    }
    if aside:
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in aside]
        (hidden / SET_ASIDE).write_text("".join(lines), encoding="utf-8")
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
