"""SpeechTokenizer's encode and decode here and in plain PyTorch, alternating in one run, on the CPU.

    .venv/bin/python -m benchmarks.speech_tokenizer --peer-python .venv-peers/bin/python

Both workers have the same weights (ours writes them under the published names). Codes and sounds must agree before
anything is timed. The real-time factor is seconds of sound for a second of work, of one sound and of several at once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import RESULTS, hardware, run, write_result
from benchmarks.speech_tokenizer_work import SETTING
from benchmarks.workers import HERE, Worker, same_cores
from mio_jax.errors import MioError

RESULT = RESULTS / "speech_tokenizer.json"
CODES_AGREE = 0.98  # share; a frame between two rows may fall either way, and the layers behind it follow
DRIFT = 1e-4  # most that samples may differ by, of the largest


def agree(workers: list[Worker], folder: Path) -> dict[str, float]:
    """How well the two sides agree. Raises MioError where they do not."""
    made: dict[str, list[np.ndarray]] = {"encode": [], "decode": []}
    for worker in workers:
        for what, found in made.items():
            path = folder / f"{worker.name}_{what}.npy"
            worker.ask(what, rows=2, out=str(path))
            found.append(np.load(path))
    same = float((made["encode"][0] == made["encode"][1]).mean())
    ours, theirs = made["decode"]
    drift = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if same < CODES_AGREE or drift > DRIFT:
        raise MioError(f"the two sides differ: {same:.4f} of the codes are equal, samples differ by {drift:.2g}")
    return {"codes_equal": same, "samples_relative_error": drift}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", default=".venv-peers/bin/python", help="has torch and safetensors")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--times", type=int, default=5, help="calls of each kind in a turn")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8], help="sounds at once")
    parser.add_argument("--threads", type=int, default=2, help="cores of both sides")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    machine, began = hardware(), time.perf_counter()
    environment = same_cores(args.peer_python, args.threads)
    sides = {
        "mio_jax": [sys.executable, "-m", "benchmarks.speech_tokenizer_ours"],
        "pytorch": [args.peer_python, str(HERE / "speech_tokenizer_peer.py")],
    }
    seconds: dict[tuple[str, int], dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        workers: list[Worker] = []
        try:
            for name, command in sides.items():
                workers.append(Worker(name, command, environment))
                workers[-1].ask("load", folder=folder)
            agreement = agree(workers, Path(folder))
            for turn in range(args.rounds + 1):
                for worker in workers if turn % 2 else workers[::-1]:
                    for what in ("encode", "decode"):
                        for rows in args.rows:
                            taken = [worker.ask(what, rows=rows)["seconds"] for _ in range(args.times)]
                            kept = seconds.setdefault((what, rows), {}).setdefault(worker.name, [])
                            kept += taken if turn else []
                print(f"turn {turn} of {args.rounds}" + ("" if turn else " (warm-up, not counted)"), flush=True)
            about = {worker.name: worker.ask("about") for worker in workers}
        finally:
            for worker in workers:
                worker.close()
    figures: dict[str, Any] = {}
    for (what, rows), taken in seconds.items():
        factors = {n: round(rows * SETTING["seconds"] / statistics.median(t), 2) for n, t in taken.items()}
        ratio = statistics.median(taken["pytorch"]) / statistics.median(taken["mio_jax"])
        figures[f"{what} x{rows}"] = {"ratio": round(ratio, 3), "real_time_factor": factors, "seconds": taken}
        print(
            f"{what}, {rows} at once: {ratio:.2f}x   "
            + "   ".join(f"{n} {f} times real time" for n, f in factors.items())
        )
    result = {
        "figures": figures,
        "ratio_is": "PyTorch's median seconds over those of mio_jax",
        "agreement": agreement,
        "setting": SETTING,
        "sides": about,
        "hardware": machine,
        "wall_seconds": round(time.perf_counter() - began, 1),
    }
    write_result(result, args.out)
    return 0


if __name__ == "__main__":
    run(main)
