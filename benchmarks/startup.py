"""How long one waits: for `mio --help`, and for the first step of the quickstart with and without a compile cache.

    .venv/bin/python -m benchmarks.startup [--rounds 5] [--records-dir data/quickstart]

`mio --help` is timed beside an interpreter that does nothing. A start of training is a real `mio train` on the
quickstart's config in a fresh run directory, from the start of the process until the row of its first step stands in
`metrics.jsonl`; it is then ended. Cold and warm starts take turns: a cold one has an empty compile cache, the warm one
that of the cold one before it. Wall time, and the CPU time of the process, which a busy machine does not stretch.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.output import RESULTS, hardware, run, write_result
from mio_jax.errors import MioError

RESULT = RESULTS / "startup.json"
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart.py"
PATIENCE = 300  # seconds until a start that has no first step is given up

Seconds = dict[str, float]  # "wall" and "cpu"


def timed(work: Callable[[], float | None]) -> Seconds:
    """Wall and CPU seconds of a piece of work in child processes; it may say itself when its wall time ended."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = work() or time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(ended - began, 3), "cpu": round(cpu, 3)}


def quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def first_step(run_dir: Path, cache: Path, records_dir: str) -> float:
    """Starts a training, waits for its first step, ends it -> when the step was there."""
    command = [sys.executable, "-m", "mio_jax.cli", "train", f"--config={CONFIG}", f"--config.run_dir={run_dir}"]
    command += [f"--config.data.records_dir={records_dir}"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        try:
            began = time.perf_counter()
            while not any(path.stat().st_size for path in run_dir.glob("stages/*/metrics.jsonl")):
                if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                    said.seek(0)
                    last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                    raise MioError(f"mio train has no first step after {time.perf_counter() - began:.0f} s: {last}")
                time.sleep(0.02)
            return time.perf_counter()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def medians(turns: list[Seconds]) -> dict[str, Any]:
    return {**{kind: statistics.median(turn[kind] for turn in turns) for kind in ("wall", "cpu")}, "turns": turns}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--starts", type=int, default=3, help="turns of a cold and a warm start of training")
    parser.add_argument("--records-dir", default="data/quickstart")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    turns: dict[str, list[Seconds]] = {}
    for _ in range(args.rounds):
        for name, command in {
            "python": [sys.executable, "-c", "pass"],
            "mio --help": [sys.executable, "-m", "mio_jax.cli", "--help"],
        }.items():
            turns.setdefault(name, []).append(timed(lambda command=command: quietly(command)))  # type: ignore[misc]
    for turn in range(args.starts):
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("cold", "warm"):
                work = lambda kind=kind: first_step(Path(folder, kind), Path(folder, "cache"), args.records_dir)  # noqa: E731
                turns.setdefault(f"first step, {kind}", []).append(timed(work))
        print(f"turn {turn + 1} of {args.starts}", flush=True)
    result = {
        "seconds": {name: medians(its) for name, its in turns.items()},
        "hardware": hardware(),
    }
    for name, its in result["seconds"].items():
        print(f"{name:<18} {its['wall']:7.2f} s, of which {its['cpu']:.2f} s on the CPU")
    write_result(result, args.out)
    return 0


if __name__ == "__main__":
    run(main)
