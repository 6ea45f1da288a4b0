"""Our training step beside a plain-JAX floor: the same LLaMA-shaped decoder, on the CPU, alternating in one run.

    .venv/bin/python -m benchmarks.train_step_floor [--rounds 5]

dim 512, 8 layers, vocabulary 32k, length 512, float32. Both sides begin with the same weights; their first losses must
agree. Then they take turns, a few whole steps each (forward, backward, clipping, AdamW), and medians are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.llama_settings import SETTINGS, Setting
from benchmarks.output import RESULTS, hardware, run, write_result
from benchmarks.workers import Worker
from mio_jax.errors import MioError

RESULT = RESULTS / "train_step_floor.json"
SETTING = SETTINGS["issue"]


def start(setting: Setting, threads: int, folder: Path) -> list[Worker]:
    """Both workers with the same weights: ours writes those that the floor reads."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    if len(cores) < threads:
        raise MioError(f"--threads is {threads}, but this process may use {len(cores)} cores")
    os.sched_setaffinity(0, cores)  # the workers inherit it
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    shared = ["--folder", str(folder), "--setting", json.dumps(dataclasses.asdict(setting))]
    workers: list[Worker] = []
    try:
        for name, module in (("mio_jax", "benchmarks.llama_ours"), ("plain jax", "benchmarks.llama_floor")):
            workers.append(Worker(name, [sys.executable, "-m", module, *shared], environment))
            workers[-1].ask("load")
    except BaseException:
        for worker in workers:
            worker.close()
        raise
    return workers


def check(workers: list[Worker]) -> float:
    """The largest relative difference of the first losses. Raises MioError if the two sides do not compute the same."""
    losses = [np.asarray(worker.ask("losses")["losses"]) for worker in workers]
    drift = float(np.abs(losses[0] / losses[1] - 1).max())
    if drift > 1e-4:
        raise MioError(f"the two sides differ: losses of the first steps are {losses[0]} and {losses[1]}")
    return drift


def measure(workers: list[Worker], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds of every step; turn 0 is not kept."""
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for turn in range(rounds + 1):
        for worker in workers if turn % 2 else workers[::-1]:
            taken = worker.ask("train", steps=steps)["seconds"]
            if turn:
                seconds[worker.name] += taken
        print(f"turn {turn} of {rounds}" + ("" if turn else " (warm-up, not counted)"), flush=True)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps a turn")
    parser.add_argument("--threads", type=int, default=2, help="cores of both sides")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    machine = hardware()
    with tempfile.TemporaryDirectory() as folder:
        workers = start(SETTING, args.threads, Path(folder))
        try:
            drift = check(workers)
            seconds = measure(workers, args.rounds, args.steps)
            about = {worker.name: worker.ask("about") for worker in workers}
        finally:
            for worker in workers:
                worker.close()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name: SETTING.rows * SETTING.length / median for name, median in medians.items()}
    result: dict[str, Any] = {
        "ratio": round(rates["mio_jax"] / rates["plain jax"], 3),
        "ratio_is": "tokens per second of mio_jax over those of the plain-JAX floor, medians",
        "tokens_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "seconds": {name: [round(s, 4) for s in values] for name, values in seconds.items()},
        "losses_relative_error": drift,
        "setting": dataclasses.asdict(SETTING),
        "sides": about,
        "hardware": machine,
    }
    shown = "   ".join(f"{name} {rate:,.0f} tokens/s" for name, rate in rates.items())
    print(f"training step {result['ratio']:.2f}x   {shown}")
    write_result(result, args.out)
    return 0


if __name__ == "__main__":
    run(main)
