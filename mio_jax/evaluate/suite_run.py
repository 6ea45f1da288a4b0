"""A suite over a trained run: every example asked, predictions kept as they come, metrics over what has a truth.

Writes `suites/NAME/results.json` and `suites/NAME/predictions/` into the run directory; an interrupted evaluation of
the same model, data and settings goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.evaluate.stored import Predictions
from mio_jax.evaluate.suites import Data, Item, Missing, SuiteTask, suite_named
from mio_jax.task_protocol import Asked, TaskRunner

ALL = "all"  # the group of every example
SEED = 0


def evaluate_suite(
    run_dir: str,
    suite: str,
    data: Data,
    *,
    examples: int | None = None,
    rows: int = 16,
    force: bool = False,
    stage: str | None = None,
) -> dict[str, Any]:
    """Evaluates a run on a suite -> the content of its results.json.

    Args:
      examples: at most so many of each task, drawn once and for all.
      rows: answers that are decoded at once.
      force: ask everything anew.

    Raises:
      MioError: an unknown suite or task, a folder of another layout, a recipe without tasks by name, a metric that
        lacks its package or network (before anything is decoded).
    """
    from mio_jax.evaluate.harness import model_digest
    from mio_jax.generate.opening import engine_of, task_runner_of
    from mio_jax.train.run import load_run

    chosen = suite_named(suite)
    unknown = [name for name in data.tasks if name not in chosen.tasks]
    if unknown:
        raise MioError(f"suite {suite!r} has no task {unknown[0]!r}; it has {', '.join(chosen.tasks)}")
    tasks, lacks = parted(chosen.open(data))
    for name, needs in lacks.items():
        print(f"{name} is left out: {needs}", flush=True)
    if not tasks:
        raise MioError(
            f"suite {suite!r} finds nothing to run in {data.folder}; `mio eval --suite list` shows its layout"
        )
    run = load_run(run_dir, stage=stage)
    runner = task_runner_of(run, engine_of(run))
    asks = asks_of(run.recipe, suite, tasks, run.config.recipe)
    folder = Path(run_dir) / "suites" / suite
    model = model_digest(run.params)
    results: dict[str, Any] = {"suite": suite, "data": str(data.folder), "model": model, "lacks": lacks, "tasks": {}}
    for task in tasks:
        began = time.monotonic()
        items = drawn(task.items, examples)
        key = _key(model, str(data.folder), data.subset, task, asks)
        if force:
            (folder / "predictions" / f"{task.name}.jsonl").unlink(missing_ok=True)
        predictions = Predictions(folder / "predictions", task.name, key)
        ask_all(runner, task, items, asks, predictions, rows)
        entry = scored(task, items, predictions.found)
        if task.published is not None:
            entry["published"] = {**task.published._asdict(), "values": dict(task.published.values)}
        results["tasks"][task.name] = {**entry, "seconds": round(time.monotonic() - began, 1)}
        if chosen.submit is not None:
            chosen.submit(folder / "submission", task, {item.id: predictions.found[item.id] for item in items})
        results["overall"] = chosen.summary_scores(_groups(results)) if chosen.summary_scores else {}
        results["missing"] = [name for name in chosen.tasks if name not in results["tasks"]]
        _write(folder / "results.json", results)
        print(f"{task.name}: {describe(entry)}", flush=True)
    return results


def parted(opened: Sequence[SuiteTask | Missing]) -> tuple[list[SuiteTask], dict[str, str]]:
    """What can be run, and what the rest needs, by name."""
    tasks = [one for one in opened if isinstance(one, SuiteTask)]
    return tasks, {one.name: one.needs for one in opened if isinstance(one, Missing)}


def asks_of(recipe: Any, suite: str, tasks: Sequence[SuiteTask], name: str) -> dict[str, Asked]:
    """How the recipe answers each kind of example: its own table for the suite, else its tasks of the kinds' names.

    Raises MioError naming the kinds that it has no task for.
    """
    kinds = list(dict.fromkeys(item.kind for task in tasks for item in task.items))
    infos = recipe.task_infos()
    tables: Mapping[str, Mapping[str, Asked]] = recipe.suite_asks() if hasattr(recipe, "suite_asks") else {}
    table = tables.get(suite, {})
    asks = {kind: table.get(kind, Asked(kind)) for kind in kinds}
    lacks = [kind for kind, asked in asks.items() if asked.task not in infos]
    if lacks:
        raise MioError(f"recipe {name!r} has no task for {', '.join(lacks)}; leave it out with --tasks")
    return asks


def drawn(items: Sequence[Item], examples: int | None) -> list[Item]:
    """At most `examples` of them, the same ones every time, in their order."""
    if examples is None or examples >= len(items):
        return list(items)
    return [items[i] for i in sorted(np.random.default_rng(SEED).permutation(len(items))[:examples])]


def ask_all(
    runner: TaskRunner,
    task: SuiteTask,
    items: Sequence[Item],
    asks: Mapping[str, Asked],
    predictions: Predictions,
    rows: int,
) -> None:
    """Asks what has no prediction yet, in batches of one kind."""
    from mio_jax.train.progress import Progress

    todo = [item for item in items if item.id not in predictions.found]
    with Progress(len(todo), f"  {task.name}", unit="answers") as progress:
        done = 0
        for kind in dict.fromkeys(item.kind for item in todo):
            some = [item for item in todo if item.kind == kind]
            for at in range(0, len(some), rows):
                part = some[at : at + rows]
                settings = dataclasses.replace(asks[kind].settings, rows=rows)
                # The seed follows from the example, so that neither order nor batching changes an answer.
                seeds = [int.from_bytes(hashlib.sha256(item.id.encode()).digest()[:4], "big") for item in part]
                answers = runner.run(asks[kind].task, [item.inputs() for item in part], settings, seeds=seeds)
                for item, answer in zip(part, answers, strict=True):
                    predictions.put(item.id, task.predict(answer))
                done += len(part)
                progress.update(done)


def scored(task: SuiteTask, items: Sequence[Item], found: Mapping[str, Any]) -> dict[str, Any]:
    """Scores over all examples that have a truth, and over each group of them."""
    known = [item for item in items if item.target is not None]
    entry: dict[str, Any] = {"n": len(items), "with_truth": len(known), "protocol": task.protocol, "scores": {}}
    groups = {ALL: known} if known else {}
    for name in dict.fromkeys(item.group for item in known if item.group):
        groups[name] = [item for item in known if item.group == name]
    for name, some in groups.items():
        targets = [item.target() for item in some if item.target is not None]
        predictions = [found[item.id] for item in some]
        entry["scores"][name] = {k: v for metric in task.metrics for k, v in metric(targets, predictions).items()}
    return entry


def describe(entry: Mapping[str, Any]) -> str:
    """One line about a task's scores."""
    if not entry["scores"]:
        return f"{entry['n']} predictions; the examples have no answers to score them by"
    scores = ", ".join(f"{name} {value:.4f}" for name, value in entry["scores"][ALL].items())
    return f"{scores} (n {entry['with_truth']}; {entry['protocol']})"


def beside_published(results: Mapping[str, Any]) -> list[str]:
    """Lines of a table: ours beside the figures of papers, in the papers' scale; none where there are none."""
    rows = []
    for name, entry in results["tasks"].items():
        told = entry.get("published")
        if told and entry["scores"]:
            ours = entry["scores"][ALL][told["metric"]] * told["scale"]
            values = ", ".join(f"{model} {value:g}" for model, value in told["values"].items())
            rows.append((name, told["metric"], f"{ours:.1f}", f"published: {values}"))
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    return [
        f"{name:<{widths[0]}}  {metric:<{widths[1]}}  {ours:>{widths[2]}}  {told}" for name, metric, ours, told in rows
    ]


def load_extractors(written: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """["fid=package.module:function"] -> functions. Raises MioError on what cannot be imported."""
    from mio_jax.evaluate.distances import EXTRACTORS

    out: dict[str, Callable[..., Any]] = {}
    for one in written:
        name, _, where = one.partition("=")
        if name not in EXTRACTORS or ":" not in where:
            raise MioError(f"--extractor {one!r} is not NAME=MODULE:FUNCTION with a name of {', '.join(EXTRACTORS)}")
        out[name] = _imported(where, f"--extractor {one}")
    return out


def load_clip(folder: str) -> dict[str, Callable[..., Any]]:
    """What --clip names, a folder of CLIP's weights, as the extractor of CLIP-I; "": none. Raises MioError."""
    from mio_jax.evaluate.clip import clip_images

    return {"clip_image": clip_images(folder)} if folder else {}


def load_recogniser(written: str) -> dict[str, Callable[..., Any]]:
    """What --recogniser says, "package.module:function" or a command with {file}, as an extractor; "": none."""
    from mio_jax.evaluate.words import RECOGNISER, recogniser_of

    if not written:
        return {}
    if re.fullmatch(r"[\w.]+:\w+", written):
        return {RECOGNISER: _imported(written, f"--recogniser {written}")}
    return {RECOGNISER: recogniser_of(written)}


def _imported(where: str, flag: str) -> Callable[..., Any]:
    module, _, attribute = where.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise MioError(f"{flag}: {error}") from None
    return found


def _groups(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    return {name: entry["scores"] for name, entry in results["tasks"].items()}


def _key(model: str, folder: str, subset: str, task: SuiteTask, asks: Mapping[str, Asked]) -> str:
    """Changes with all that a prediction depends on."""
    kinds = {kind: repr(asked) for kind, asked in asks.items() if kind in {item.kind for item in task.items}}
    facts = [model, folder, subset, task.name, kinds]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, results: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".json.tmp")
    new.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(new, path)
