"""How full the packed rows are beside Grain's and SeqIO's packers, and how fast the loader is beside the step it feeds.

    .venv/bin/python -m benchmarks.loader [--what fill speed] [--rounds 3]

Fill: the quickstart's own examples, and lengths as Unified-IO 2 has them (log-normal; 864 tokens in, 1280 out, alone
and both in one row). Every packer gets the same stream; where ours stays under 0.98, `bound` is what no packer can
exceed on it (`packers.py`).
Speed: turns of the quickstart's loader, one thread, and of `mio train` on the quickstart's config, whose metrics say
what the step eats. Records must be prepared (`make quickstart`, or `mio data prepare`).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import hardware, run, write_result
from benchmarks.packers import mean_fill, most_fill, packers
from mio_jax.config import DataConfig, RunConfig, StageConfig
from mio_jax.config_loading import load_config_file
from mio_jax.data.loader import BatchIterator, make_loader
from mio_jax.errors import MioError
from mio_jax.protocols import load_recipe
from mio_jax.train.metrics import read_rows

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "loader.json"
CONFIG = HERE.parent / "configs" / "quickstart.py"
BUDGETS = (864, 1280)  # Unified-IO 2: tokens in, tokens out
BINS = 32
GOAL = 0.98  # where we are under it, the bound is worked out too
SHAPES = ((0.4, 0.5), (0.4, 0.8), (0.3, 0.8))  # of log-normal lengths: mean in budgets, spread of the logarithm
FIRST_STEPS = 3  # of a training turn, not counted


def quickstart_loader(config: RunConfig, stage: StageConfig) -> BatchIterator:
    from mio_tokenizers import load_set

    tokenizers, recipe = load_set(config.tokenizers), load_recipe(config.recipe)
    recipe.register_tasks(config.data.records_dir)
    encode = functools.partial(
        recipe.encode,
        tokenizers=tokenizers,
        space=recipe.token_space(tokenizers),
        supervise=stage.supervise,
        system=config.data.system_prompt,
    )
    return make_loader(config, stage, encode, seed=0, fingerprints=tokenizers.fingerprints)


def quickstart_streams(config: RunConfig, stage: StageConfig, examples: int) -> list[tuple[int, np.ndarray]]:
    """(rows of a batch, lengths [examples, 1]) of every part of the stage, read from the loader's batches."""
    parts = [(part.source, part.rows) for part in stage.composition if part.rows] or [(stage.mixture, stage.rows)]
    streams = []
    for source, rows in parts:
        alone = dataclasses.replace(stage, composition=(), mixture=source, batch_size=1)
        # One open row: the examples come out in their order.
        data = dataclasses.replace(config.data, packing="first_fit", packing_bins=1, prefetch=0)
        loader = quickstart_loader(dataclasses.replace(config, data=data), alone)
        lengths: list[int] = []
        while len(lengths) < examples:
            lengths += np.bincount(next(loader)["segment_ids"][0])[1:].tolist()
        loader.close()
        streams.append((rows, np.asarray(lengths)[:examples, None]))
    return streams


def log_normal(budgets: tuple[int, ...], mean: float, spread: float, examples: int) -> np.ndarray:
    """Lengths [examples, budgets] with a mean of `mean` budgets before those beyond a budget are left out."""
    rng = np.random.default_rng(0)
    center = np.log(mean * np.asarray(budgets)) - spread**2 / 2
    drawn = np.ceil(rng.lognormal(center, spread, (4 * examples, len(budgets)))).astype(int)
    return drawn[(drawn <= budgets).all(1)][:examples]


def fill_of(streams: list[tuple[int, np.ndarray]], budgets: tuple[int, ...], window: int) -> dict[str, Any]:
    """The fill of every packer, by budget: means over the streams by their rows."""
    total = sum(rows for rows, _ in streams)
    result: dict[str, Any] = {}
    for name, pack in packers(window, BINS, len(budgets)).items():
        fills = [np.multiply(rows, mean_fill(pack(s, budgets), s, budgets)) for rows, s in streams]
        result[name] = [round(float(fill), 4) for fill in np.sum(fills, axis=0) / total]
    ours = next(iter(result.values()))
    if len(budgets) == 1 and ours[0] < GOAL:
        result["bound"] = [round(sum(rows * most_fill(s[:, 0], budgets[0]) for rows, s in streams) / total, 4)]
    per_row = [1 / float((s / np.asarray(budgets)).mean(0).max()) for _, s in streams]
    return {"budgets": budgets, "window": window, "examples_a_row_at_most": round(min(per_row), 2), "fill": result}


def measure_fill(config: RunConfig, window: int, examples: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    wide = 4 * window  # for two budgets at once, where fewer sets fit

    def note(name: str, streams: list[tuple[int, np.ndarray]], budgets: tuple[int, ...], width: int = window) -> None:
        result[name] = fill_of(streams, budgets, width)
        shown = "  ".join(f"{packer} {'/'.join(f'{f:.3f}' for f in v)}" for packer, v in result[name]["fill"].items())
        print(f"{name:<34} {shown}", flush=True)

    for share, spread in SHAPES:
        for budget in BUDGETS:
            drawn = log_normal((budget,), share, spread, examples)
            note(f"log-normal {share} {spread} {budget}", [(1, drawn)], (budget,))
        drawn = log_normal(BUDGETS, share, spread, max(examples, 6 * wide))
        note(f"log-normal {share} {spread} both", [(1, drawn)], BUDGETS, wide)
    for stage in config.stages[::-1]:
        streams = quickstart_streams(config, stage, examples)
        for length in (config.data.length, 2 * config.data.length):
            note(f"quickstart {stage.name} {length}", streams, (length,))
    return result


def loader_turn(config: RunConfig, stage: StageConfig, batches: int) -> dict[str, float]:
    """Useful tokens a second of wall and of CPU time, the first ten batches not counted."""
    loader = quickstart_loader(config, stage)
    for _ in range(10):
        next(loader)
    wall, cpu = time.perf_counter(), time.process_time()
    used = [int((next(loader)["segment_ids"] > 0).sum()) for _ in range(batches)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    loader.close()
    size = batches * stage.rows * config.data.length
    return {"per_second": sum(used) / wall, "per_cpu_second": sum(used) / cpu, "fill": sum(used) / size}


def step_turn(config: RunConfig, stage: str, steps: int) -> float:
    """Useful tokens a second of the steps of a real `mio train`, by its own metrics, the first few not counted."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mio_jax.cli", "train", f"--config={CONFIG}", f"--config.run_dir={folder}/run"]
        command += [f"--config.data.records_dir={config.data.records_dir}"]
        command += [f"--config.stages.{s.name}.steps={steps if s.name == stage else 1}" for s in config.stages]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        _, said = process.communicate()
        if process.returncode:
            raise MioError(f"mio train ended with {process.returncode}: {said.strip().splitlines()[-1:]}")
        [path] = Path(folder).glob(f"run/stages/*_{stage}/metrics.jsonl")
        return statistics.median(row["tokens_per_s"] for row in read_rows(path)[FIRST_STEPS:])


def measure_speed(config: RunConfig, window: int, rounds: int, batches: int, steps: int) -> dict[str, Any]:
    kinds = {
        kind: dataclasses.replace(
            config, data=dataclasses.replace(config.data, packing=kind, packing_window=window, prefetch=0)
        )
        for kind in ("first_fit", "window")
    }
    result = {}
    for stage in (config.stages[0], config.stages[-1]):
        loads: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        eaten = []
        for turn in range(rounds):
            for kind, its in kinds.items():
                loads[kind].append(loader_turn(its, stage, batches))
            eaten.append(step_turn(config, stage.name, steps))
            print(f"speed, {stage.name}: turn {turn + 1} of {rounds}", flush=True)
        step = statistics.median(eaten)
        result[stage.name] = {"step_tokens_per_second": round(step, 1), "step_turns": [round(e, 1) for e in eaten]}
        for kind, turns in loads.items():
            median = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
            ratio = median["per_second"] / step
            print(f"{stage.name:<12} {kind:<10} {median['per_second']:,.0f} tokens/s of one thread, {ratio:.0f}x")
            result[stage.name][kind] = {
                "ratio": round(ratio, 1),
                "tokens_per_second": round(median["per_second"]),
                "tokens_per_cpu_second": round(median["per_cpu_second"]),
                "fill": round(median["fill"], 4),
            }
    return result


def main() -> int:
    default = DataConfig()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=("fill", "speed"), default=["fill", "speed"])
    parser.add_argument("--records-dir", default="data/quickstart")
    parser.add_argument("--window", type=int, default=default.packing_window)
    parser.add_argument("--examples", type=int, default=3000, help="of every stream")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--batches", type=int, default=60, help="of a loader's turn")
    parser.add_argument("--steps", type=int, default=12, help="of a training turn")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    config = load_config_file(CONFIG, [f"data.records_dir={args.records_dir}"])
    # What is not measured this time is kept.
    result = json.loads(args.out.read_text()) if args.out.is_file() else {}
    if "fill" in args.what:
        result["fill"] = measure_fill(config, args.window, args.examples)
    if "speed" in args.what:
        result["speed"] = measure_speed(config, args.window, args.rounds, args.batches, args.steps)
        result["ratio_is"] = "useful tokens a second of one loader thread over those of mio train's steps, medians"
        result["hardware"] = hardware()
    write_result(result, args.out)
    return 0


if __name__ == "__main__":
    run(main)
