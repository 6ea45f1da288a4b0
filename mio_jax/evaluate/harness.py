"""Evaluation of a trained run on held-out records: every direction against its own shuffled control.

The control is the same model, the same targets and the same metric, with each example's conditioning taken from
another one. Most controls need no decoding of their own: what the model answers to example j's prompt is what the
shuffled example i gets. `results.json` is rewritten after every direction, so that an interrupted evaluation goes on.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mio_jax.config import RunConfig
from mio_jax.errors import MioError
from mio_jax.evaluate import stats
from mio_jax.evaluate.context import Context
from mio_jax.evaluate.metrics import METRICS, Metric, Scores
from mio_jax.evaluate.samples import SampleWriter
from mio_jax.protocols import DecodingEngine, Direction, Generated, Recipe, Segment

if TYPE_CHECKING:
    from mio_jax.data.records import Record

VERSION = 2  # of the metrics: results of another version are computed anew
PRIOR_PROMPTS = 8  # whose mean gives the likelihood of a text whatever is shown


def evaluate(
    config: RunConfig, run_dir: str | None = None, *, directions: Sequence[str] = (), force: bool = False
) -> dict[str, Any]:
    """Evaluates the run in `run_dir` (default: the config's) and returns the content of its results.json.

    Args:
      config: says what is evaluated (`eval`) on which data; the model is the run's own.
      directions: names; default: `config.eval.directions`, or else all.
      force: also those that are finished for this model and these settings.
    Raises:
      MioError: no trained run, no records or records of other tokenizers, too few held-out examples, unknown direction.
    """
    from mio_jax.generate.opening import engine_of
    from mio_jax.train.run import load_run

    folder = Path(run_dir or config.run_dir)
    run = load_run(folder)
    context = Context(dataclasses.replace(run.config, eval=config.eval), run.recipe, run.tokenizers, run.space)
    engine = engine_of(run)
    chosen = choose(run.recipe, run.config, tuple(directions) or config.eval.directions)
    run.recipe.register_tasks(run.config.data.records_dir, run.config.data.added)
    check_records(context, chosen)
    model = model_digest(run.params)
    results = Results(folder / "results.json", model)
    todo = []
    for direction in chosen:
        key = settings_key(model, context.config, direction)
        if force or not results.has(direction.name, key):
            todo.append((direction, key))
        else:
            print(f"{direction.name}: finished before, skipped", flush=True)
    spent: list[float] = []
    for number, (direction, key) in enumerate(todo, 1):
        left = f", about {np.mean(spent) * (len(todo) - number + 1):.0f} s left" if spent else ""
        print(f"[{number}/{len(todo)}] {direction.name}{left}", flush=True)
        began = time.monotonic()
        entry = evaluate_direction(direction, context, engine, folder)
        spent.append(time.monotonic() - began)
        results.put(direction.name, {**entry, "key": key, "wall_s": round(spent[-1], 1)})
        print("  " + describe(entry), flush=True)
    return results.data


def choose(recipe: Recipe, config: RunConfig, names: Sequence[str]) -> list[Direction]:
    """The directions of these names, all if there are none. Raises MioError naming the nearest."""
    known = {direction.name: direction for direction in recipe.directions(config)}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise MioError(f"recipe {config.recipe!r} has no direction {name!r}; {hint}")
    return [known[name] for name in dict.fromkeys(names)] or list(known.values())


def check_records(context: Context, directions: Sequence[Direction]) -> None:
    """Refuses records that are missing or that other tokenizers made, before anything is decoded."""
    from mio_jax.data.records import check_manifest, read_manifest
    from mio_jax.data.registry import lookup

    folder = context.config.data.records_dir
    for record_set in sorted({lookup(direction.task)[0][0].record_set for direction in directions}):
        check_manifest(read_manifest(folder, record_set), context.tokenizers.fingerprints, folder)


def model_digest(params: Any) -> str:
    """Changes with any parameter: results of another model are not this one's."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()[:16]


def settings_key(model: str, config: RunConfig, direction: Direction) -> str:
    """Changes with all that a direction's numbers depend on."""
    settings = {**dataclasses.asdict(config.eval), "directions": None, "batch_size": None}
    own = ("temperature", "top_p", "examples_factor")
    settings |= {name: direction.options[name] for name in own if name in direction.options}
    facts = [VERSION, model, config.seed, config.data.records_dir, settings, direction.name, direction.metric]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class Results:
    """results.json, replaced whole after every change; directions of another model are dropped."""

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        self.data: dict[str, Any] = {"model": model, "directions": {}}
        if path.is_file():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                if stored.get("model") == model:
                    self.data["directions"] = dict(stored["directions"])
                self.data["wall_s"] = dict(stored.get("wall_s", {}))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise MioError(f"{path} is damaged ({error}); delete it and evaluate again") from None

    def has(self, direction: str, key: str) -> bool:
        return bool(self.data["directions"].get(direction, {}).get("key") == key)

    def put(self, direction: str, entry: dict[str, Any]) -> None:
        self.data["directions"][direction] = entry
        new = self._path.with_suffix(".json.tmp")
        new.write_text(json.dumps(self.data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(new, self._path)


def evaluate_direction(direction: Direction, context: Context, engine: DecodingEngine, run_dir: Path) -> dict[str, Any]:
    """One entry of results.json; writes the direction's samples."""
    settings = context.config.eval
    records = context.held_out(direction, settings.examples)
    differs = direction.options.get("differs", ("id",))
    other = stats.derangement([tuple(r[field] for field in differs) for r in records], context.config.seed)
    shuffled = [direction.shuffle(record, records[j]) for record, j in zip(records, other, strict=True)]
    metric: Metric = METRICS[direction.metric](direction, records, context)
    answers, controls = _answers(direction, records, shuffled, context, engine)
    value, control = metric(answers, records), metric(controls, records)
    ceiling = metric([Generated(tuple(direction.target(record))) for record in records], records)
    if metric.likelihood:
        ranks, control_ranks = _rank(direction, metric, records, shuffled, context, engine)
        value, control = {**ranks, **value}, {**control_ranks, **control}
    writer = SampleWriter(run_dir, direction, context)
    for i in range(min(settings.report_examples, len(records))):
        writer.add(records[i], answers[i], metric.remark(value, i))
    writer.finish()
    return {
        "metric": metric.label,
        **_compare(value, control, ceiling, "value"),
        "higher_is_better": True,
        "note": metric.note,
        "details": {name: _compare(value, control, ceiling, name) for name in value if name != "value"},
    }


def _compare(value: Scores, control: Scores, ceiling: Scores, name: str) -> dict[str, Any]:
    """Paired means over the examples that the score applies to."""
    applies = np.isfinite(value[name]) & np.isfinite(control[name])
    if applies.sum() < 2:
        return {"value": None, "control": None, "stderr": None, "n": int(applies.sum())}
    result = stats.paired(value[name][applies], control[name][applies])
    entry: dict[str, Any] = {
        "value": round(result.value, 5),
        "control": round(result.control, 5),
        "stderr": round(result.stderr, 6),
        "n": result.n,
        "sigmas": round(result.sigmas, 2) if np.isfinite(result.sigmas) else None,
    }
    if name in ceiling:
        entry["ceiling"] = round(float(ceiling[name][applies].mean()), 5)
    return entry


def _answers(
    direction: Direction,
    records: Sequence[Record],
    shuffled: Sequence[Record],
    context: Context,
    engine: DecodingEngine,
) -> tuple[list[Generated], list[Generated]]:
    """What the model answers to each record and to each shuffled one; equal prompts are decoded once."""
    from mio_jax.generate.sampling import SamplingConfig
    from mio_jax.train.progress import Progress

    settings, options = context.config.eval, direction.options
    prompts = [context.encode(direction.prompt(record)) for record in [*records, *shuffled]]
    unique = {prompt.tobytes(): prompt for prompt in prompts}
    keys = list(unique)
    if options.get("greedy"):
        sampling = SamplingConfig(greedy=True)
    else:
        sampling = SamplingConfig(
            temperature=options.get("temperature", settings.temperature), top_p=options.get("top_p", settings.top_p)
        )
    grammar = context.recipe.grammar(context.space).replace(**options.get("grammar", {}))
    # Equal batches: a small last one would need a program of its own.
    size = -(-len(keys) // -(-len(keys) // settings.batch_size))
    tokens: dict[bytes, np.ndarray] = {}
    with Progress(len(keys), f"  {direction.name}", unit="answers") as progress:
        for at in range(0, len(keys), size):
            part = keys[at : at + size]
            # The seed follows from the prompt, so that neither order nor batching changes an answer.
            seeds = [zlib.crc32(key, context.config.seed & 0xFFFFFFFF) for key in part]
            new = engine.generate(
                [unique[key] for key in part],
                sampling,
                max_new_tokens=direction.max_new_tokens,
                stop_ids=context.stop_ids(direction),
                seeds=seeds,
                grammar=grammar,
            )
            tokens.update(zip(part, new, strict=True))
            progress.update(min(at + size, len(keys)))
    answers = [context.answer(tokens[prompt.tobytes()]) for prompt in prompts]
    return answers[: len(records)], answers[len(records) :]


def _rank(
    direction: Direction,
    metric: Any,
    records: Sequence[Record],
    shuffled: Sequence[Record],
    context: Context,
    engine: DecodingEngine,
) -> tuple[Scores, Scores]:
    """Ranks of the true texts among the metric's candidates, with the conditioning and with another example's."""
    from mio_jax.train.progress import Progress

    # The end counts too: a name that the model would go on with is not the name.
    end = Segment("text", next(iter(direction.options.get("stop", ())), ""))
    targets = [context.encode_answer([*direction.target(record), end]) for record in records]
    n, sets = len(records), metric.sets
    prompts = [context.encode(direction.prompt(record)) for record in [*records, *shuffled]]
    # Each job scores some targets after one prompt. The first jobs score all targets after a few fixed prompts: a text
    # that is likely whatever is asked about must not outrank one that is likely because of what is shown.
    references = range(0, n, max(1, n // PRIOR_PROMPTS))
    groups = [[(at + i) % n for i in range(sets.shape[1])] for at in range(0, n, sets.shape[1])]
    jobs = [(j, group) for j in references for group in groups]
    jobs += [(i, list(sets[i % n])) for i in range(2 * n)]
    size, scores = context.config.eval.batch_size, []
    with Progress(len(jobs), f"  {direction.name}", unit="rankings") as progress:
        for at in range(0, len(jobs), size):
            part = jobs[at : at + size]
            scores += engine.score_batch([prompts[i] for i, _ in part], [[targets[j] for j in c] for _, c in part])
            progress.update(at + len(part))
    prior = np.zeros((len(references), n))
    for at, (_, group) in enumerate(jobs[: len(references) * len(groups)]):
        prior[at // len(groups), group] = scores[at]
    gain = np.asarray(scores[len(references) * len(groups) :]) - prior.mean(0)[np.concatenate([sets, sets])]
    return metric.ranks(gain[:n]), metric.ranks(gain[n:])


def describe(entry: dict[str, Any]) -> str:
    """One line about a result."""
    sigmas = "" if entry.get("sigmas") is None else f", {entry['sigmas']:.1f} standard errors apart"
    return f"{entry['value']:.3f} against {entry['control']:.3f} shuffled{sigmas} ({entry['metric']}, n {entry['n']})"
