"""The same LLaMA trained and decoded here and in PyTorch transformers, on the CPU, alternating in one run.

    .venv/bin/python -m benchmarks.llama_vs_transformers --peer-python .venv-peers/bin/python [--setting issue]

Two worker processes hold the same weights (written by our exporter, read by `LlamaForCausalLM.from_pretrained`) on the
same CPU cores. They are first checked against each other: logits, losses of the first optimizer steps, greedy tokens.
Then they take turns, a few steps each, and the medians of all turns are compared. The peer runs at its best settings:
SDPA attention, fused AdamW, and the dynamic or the static cache, whichever is faster for the batch size.

Training is one whole step: forward, backward, clipping by global norm, AdamW, float32. Generation is greedy with a
key-value cache, prompt included; tokens per second count new tokens. What this machine needs at least for the steps of
decoding, by its memory and by its arithmetic, is measured beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.llama_settings import SETTINGS, Machine, Setting, decoding_report
from benchmarks.output import RESULTS, hardware, run, write_result
from benchmarks.workers import Worker, same_cores
from mio_jax.errors import MioError

HERE = Path(__file__).resolve().parent
RESULT = {
    "small": RESULTS / "llama_vs_transformers.json",
    "issue": RESULTS / "llama_vs_transformers_issue.json",
    "mio_0.1b": RESULTS / "llama_vs_transformers_mio.json",
}


def start(peer_python: str, setting: Setting, threads: int, folder: Path) -> tuple[Worker, Worker]:
    """Both workers with their models loaded; ours writes the weights that the peer reads."""
    environment = same_cores(peer_python, threads)
    shared = ["--folder", str(folder), "--setting", json.dumps(dataclasses.asdict(setting))]
    ours = Worker("mio_jax", [sys.executable, "-m", "benchmarks.llama_ours", *shared], environment)
    ours.ask("load")
    theirs = Worker("transformers", [peer_python, str(HERE / "llama_peer.py"), *shared], environment)
    theirs.ask("load")
    return ours, theirs


def check(ours: Worker, theirs: Worker, folder: Path) -> dict[str, float]:
    """Raises MioError unless the two sides compute the same; -> how closely they agree."""
    for worker in (ours, theirs):
        worker.ask("logits", out=str(folder / f"{worker.name}.npy"))
    a, b = (np.load(folder / f"{worker.name}.npy") for worker in (ours, theirs))
    error = float(np.abs(a - b).max() / np.abs(b).max())
    if error > 1e-4:
        raise MioError(f"the two models differ: logits by {error:.1e} of the largest")
    losses = [np.asarray(worker.ask("losses")["losses"]) for worker in (ours, theirs)]
    drift = float(np.abs(losses[0] / losses[1] - 1).max())
    if drift > 1e-3:
        raise MioError(f"the two optimizers differ: losses of the first steps are {losses[0]} and {losses[1]}")
    return {"logits_relative_error": error, "losses_relative_error": drift}


def measure(
    workers: tuple[Worker, Worker], setting: Setting, rounds: int, steps: int, times: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each timed piece: {"train_step": {worker: [...]}, "generate_batch1": ...}; turn 0 is not kept."""
    seconds: dict[str, dict[str, list[float]]] = {}
    tokens: dict[int, dict[str, Any]] = {}
    for turn in range(rounds + 1):
        order = workers if turn % 2 else workers[::-1]
        pieces: list[tuple[str, str, dict[str, Any]]] = [("train_step", "train", {"steps": steps})]
        pieces += [(f"generate_batch{n}", "generate", {"rows": n, "times": times}) for n in setting.generate_rows]
        for name, command, arguments in pieces:
            for worker in order:
                answer = worker.ask(command, **arguments)
                if command == "generate":
                    tokens.setdefault(arguments["rows"], {})[worker.name] = np.asarray(answer["tokens"])
                if turn:
                    seconds.setdefault(name, {}).setdefault(worker.name, []).extend(answer["seconds"])
        print(f"turn {turn} of {rounds}" + ("" if turn else " (warm-up, not counted)"), flush=True)
    for rows, by_worker in tokens.items():
        a, b = by_worker.values()
        # Rounding may part two greedy continuations at a near tie, and then they go on apart: so the first half must
        # agree in nearly every row.
        same = float((a[:, : setting.new_tokens // 2] == b[:, : setting.new_tokens // 2]).all(axis=1).mean())
        if same < 0.8:
            raise MioError(f"the two sides decode differently: with {rows} rows only {same:.0%} begin alike")
    return seconds


def summary(seconds: dict[str, dict[str, list[float]]], setting: Setting) -> dict[str, Any]:
    """Medians, tokens per second, and ours over theirs."""
    tokens = {"train_step": setting.rows * setting.length}
    tokens |= {f"generate_batch{n}": n * setting.new_tokens for n in setting.generate_rows}
    ratios, details = {}, {}
    for name, by_worker in seconds.items():
        medians = {worker: statistics.median(values) for worker, values in by_worker.items()}
        ratios[name] = round(medians["transformers"] / medians["mio_jax"], 3)
        details[name] = {
            worker: {
                "median_seconds": round(median, 5),
                "tokens_per_second": round(tokens[name] / median, 1),
                "seconds": [round(s, 5) for s in by_worker[worker]],
            }
            for worker, median in medians.items()
        }
    return {"ratios": ratios, "measurements": details}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--setting", choices=SETTINGS, default="small", help="issue: dim 512, 8 layers, 32k ids; mio_0.1b: the preset"
    )
    parser.add_argument("--peer-python", default=".venv-peers/bin/python", help="has torch and transformers")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="training steps a turn")
    parser.add_argument("--times", type=int, default=3, help="generations a turn")
    parser.add_argument("--threads", type=int, default=2, help="cores of both sides")
    parser.add_argument("--out", type=Path, help="default: a file of the setting under benchmarks/results")
    args = parser.parse_args()
    setting, began = SETTINGS[args.setting], time.perf_counter()
    machine = hardware()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workers: list[Worker] = []
        try:
            ours, theirs = start(args.peer_python, setting, args.threads, folder)
            workers = [ours, theirs]
            agreement = check(ours, theirs, folder)
            machines = [Machine.measure(args.threads)]
            seconds = measure((ours, theirs), setting, args.rounds, args.steps, args.times)
            machines.append(Machine.measure(args.threads))
            about = {worker.name: worker.ask("about") for worker in workers}
        finally:
            for worker in workers:
                worker.close()
    result = {
        **summary(seconds, setting),
        "decoding_bounds": decoding_report(setting, machines, seconds),
        "ratio_is": "tokens per second of mio_jax over those of transformers, medians",
        "agreement": agreement,
        "setting": dataclasses.asdict(setting),
        "sides": about,
        "hardware": machine,
        "wall_seconds": round(time.perf_counter() - began, 1),
    }
    for name, ratio in result["ratios"].items():
        rates = {worker: m["tokens_per_second"] for worker, m in result["measurements"][name].items()}
        print(f"{name:<18} {ratio:6.2f}x   " + "   ".join(f"{w} {r:,.0f} tokens/s" for w, r in rates.items()))
    print(f"decoding bounds    {json.dumps(result['decoding_bounds'])}")
    write_result(result, args.out or RESULT[args.setting])
    return 0


if __name__ == "__main__":
    run(main)
