"""A training step of a small Unified-IO 2 here and in plain PyTorch, alternating in one run, on the CPU.

    .venv/bin/python -m benchmarks.unified_io2_step --peer-python .venv-peers/bin/python

Both workers begin with the same weights (ours writes them under the published names) and see the same batches: text,
picture, sound and both histories in; text, picture and sound out. Losses of the first steps must agree. A step is
forward, backward through all but the frozen ViTs, clipping and AdamW, float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import RESULTS, hardware, run, write_result
from benchmarks.unified_io2_work import SETTING, tokens
from benchmarks.workers import HERE, Worker, same_cores
from mio_jax.errors import MioError

RESULT = RESULTS / "unified_io2_step.json"
DRIFT = 1e-3  # most that the losses of the first steps may differ by, relative


def start(peer_python: str, setting: dict[str, Any], threads: int, folder: Path) -> list[Worker]:
    """Both workers with the same weights."""
    environment = same_cores(peer_python, threads)
    shared = ["--folder", str(folder), "--setting", json.dumps(setting)]
    sides = {
        "mio_jax": [sys.executable, "-m", "benchmarks.unified_io2_ours"],
        "pytorch": [peer_python, str(HERE / "unified_io2_peer.py")],
    }
    workers: list[Worker] = []
    try:
        for name, command in sides.items():
            workers.append(Worker(name, [*command, *shared], environment))
            workers[-1].ask("load")
    except BaseException:
        for worker in workers:
            worker.close()
        raise
    return workers


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", default=".venv-peers/bin/python", help="has torch and safetensors")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps a turn")
    parser.add_argument("--threads", type=int, default=2, help="cores of both sides")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    machine, began = hardware(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        workers = start(args.peer_python, SETTING, args.threads, Path(folder))
        try:
            losses = [np.asarray(worker.ask("losses")["losses"]) for worker in workers]
            drift = float(np.abs(losses[0] / losses[1] - 1).max())
            if drift > DRIFT:
                raise MioError(f"the two sides differ: losses of the first steps are {losses[0]} and {losses[1]}")
            seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
            for turn in range(args.rounds + 1):
                for worker in workers if turn % 2 else workers[::-1]:
                    taken = worker.ask("train", steps=args.steps)["seconds"]
                    seconds[worker.name] += taken if turn else []
                print(f"turn {turn} of {args.rounds}" + ("" if turn else " (warm-up, not counted)"), flush=True)
            about = {worker.name: worker.ask("about") for worker in workers}
        finally:
            for worker in workers:
                worker.close()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name: tokens(SETTING) / median for name, median in medians.items()}
    ratio = medians["pytorch"] / medians["mio_jax"]
    print(f"step {ratio:.2f}x   " + "   ".join(f"{name} {rate:,.0f} places/s" for name, rate in rates.items()))
    result = {
        "ratio": round(ratio, 3),
        "ratio_is": "steps a second of mio_jax over those of PyTorch, medians",
        "places_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "seconds": {name: [round(s, 5) for s in values] for name, values in seconds.items()},
        "losses_relative_error": drift,
        "setting": SETTING,
        "sides": about,
        "hardware": machine,
        "wall_seconds": round(time.perf_counter() - began, 1),
    }
    write_result(result, args.out)
    return 0


if __name__ == "__main__":
    run(main)
