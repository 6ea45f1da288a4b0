"""The whole way in one command: prepare token records, train, evaluate, report.

Run it again after an interruption and it goes on where it was: prepared sets, finished stages and a finished evaluation
are skipped. Times add up over interruptions and end in `results.json`.

  mio quickstart
  mio quickstart --config configs/quickstart.py --config.run_dir=runs/second --config.seed=1
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mio_jax.config import RunConfig
from mio_jax.config_loading import add_config_arguments, config_from_args, to_dict
from mio_jax.errors import MioError

SUMMARY = "prepare, train, evaluate and report in one go; resumes where it stopped"

PHASES = ("prepare", "train", "evaluate", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser, default="configs/quickstart.py")


def run(args: argparse.Namespace) -> int:
    from mio_jax.train import Stopped
    from mio_jax.train.compilation import use_compilation_cache

    config = config_from_args(args)
    run_dir = Path(config.run_dir)
    times = PhaseTimes(run_dir / "phases.json", key=config_key(config))
    if install := float(os.environ.get("MIO_INSTALL_SECONDS") or 0):  # told by the Makefile
        times.record("install", install, finished=True)
    use_compilation_cache()
    work: dict[str, Callable[[], Any]] = {
        "prepare": lambda: _prepare(config),
        "train": lambda: _train(config),
        "evaluate": lambda: _evaluate(config),
        "report": lambda: _report(run_dir, times),
    }
    for number, phase in enumerate(PHASES, 1):
        print(f"\n[{number}/{len(PHASES)}] {phase}", flush=True)
        # Each phase knows itself what of it is finished; a report is quick and always drawn anew.
        try:
            began = time.monotonic()
            with times.measure(phase, add=phase != "report"):
                work[phase]()
            print(f"{phase} took {time.monotonic() - began:.0f} s", flush=True)
        except Stopped as stopped:
            print(f"stopped at {stopped.where}, with a checkpoint; the same command goes on from there", flush=True)
            return int(stopped.code or 1)
    times.write_totals(run_dir / "results.json")
    print(closing(run_dir, times))
    return 0


# ------------------------------------------------------------------------------------------------- the phases


def _prepare(config: RunConfig) -> None:
    from mio_jax.cli.data import progress_report
    from mio_jax.data.prepare import prepare
    from mio_jax.protocols import load_recipe
    from mio_tokenizers import load_set

    tokenizers = load_set(config.tokenizers)
    space = load_recipe(config.recipe).token_space(tokenizers)
    outcome = prepare(config, tokenizers, space=space, report=progress_report())
    for record_set, what in outcome.items():
        print(f"{what} {Path(config.data.records_dir) / record_set}", flush=True)


def _train(config: RunConfig) -> None:
    from mio_jax.train import train

    train(config)


def _evaluate(config: RunConfig) -> None:
    from mio_jax.evaluate import evaluate

    evaluate(config)


def _report(run_dir: Path, times: PhaseTimes) -> None:
    from mio_jax.web.report import write_report

    times.write_totals(run_dir / "results.json")
    write_report(run_dir)


# ------------------------------------------------------------------------------------------------- time spent


def config_key(config: RunConfig) -> str:
    """Changes with anything in the config: a finished evaluation of another config does not count."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:16]


class PhaseTimes:
    """Wall seconds of each phase in `phases.json`, added up over interrupted and repeated attempts at one config.

    While a phase runs, the file is brought up to date every few seconds, so that even a killed attempt is counted.
    """

    def __init__(self, path: Path, key: str, every: float = 5.0) -> None:
        self._path, self._key, self._every = path, key, every
        self._phases: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))["phases"]
                self._phases = {name: entry for name, entry in stored.items() if entry["key"] == key}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise MioError(f"{path} is damaged ({error}); delete it and run the same command again") from None

    def record(self, phase: str, seconds: float, *, finished: bool) -> None:
        self._phases[phase] = {"wall_s": round(seconds, 3), "finished": finished, "key": self._key}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, {"phases": self._phases})

    def seconds(self, phase: str) -> float:
        return float(self._phases.get(phase, {}).get("wall_s", 0.0))

    def finished(self, phase: str) -> bool:
        """Whether the phase ended for this very config."""
        return bool(self._phases.get(phase, {}).get("finished"))

    def totals(self) -> dict[str, float]:
        """Seconds of every phase and their sum."""
        spent = {phase: round(self.seconds(phase), 1) for phase in ("install", *PHASES)}
        return {**spent, "total": round(sum(spent.values()), 1)}

    @contextlib.contextmanager
    def measure(self, phase: str, *, add: bool = True) -> Iterator[None]:
        """Times what is done inside; if it raises, the time counts and the phase is not finished."""
        before, began = self.seconds(phase) if add else 0.0, time.monotonic()
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._every):
                self.record(phase, before + time.monotonic() - began, finished=False)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        finished = False
        try:
            yield
            finished = True
        finally:
            over.set()
            thread.join()
            self.record(phase, before + time.monotonic() - began, finished=finished)

    def write_totals(self, results: Path) -> None:
        """Puts `wall_s` into results.json."""
        data = json.loads(results.read_text(encoding="utf-8"))
        write_json(results, {**data, "wall_s": self.totals()})


def write_json(path: Path, data: Any) -> None:
    """Replaces the file whole."""
    new = path.with_suffix(".json.tmp")
    new.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(new, path)


# ------------------------------------------------------------------------------------------------- the end


def closing(run_dir: Path, times: PhaseTimes) -> str:
    """The last lines: what each direction scored, what it took, where to look, what to do next."""
    from mio_jax.web.results import duration, read_run, score_lines

    spent = times.totals()
    parts = ", ".join(f"{name} {duration(s)}" for name, s in spent.items() if name != "total" and s >= 1)
    return "\n".join(
        [
            "",
            *score_lines(read_run(run_dir).scores),
            "",
            f"time: {duration(spent['total'])} ({parts})",
            f"report: {(run_dir / 'report.html').resolve()}   (open it in a browser)",
            "next:",
            f'  .venv/bin/mio generate --run {run_dir} --ask image --prompt "red heart" --out out/',
            "  .venv/bin/mio data list",
            "  .venv/bin/mio train --config configs/quickstart.py --config.run_dir=runs/mine --config.model.depth=8",
        ]
    )
