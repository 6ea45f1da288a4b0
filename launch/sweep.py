"""Trains every combination of some values, several runs at a time, and draws what they reached.

    python -m launch.sweep --config configs/quickstart.py --out runs/sweeps/depth --jobs 2 \\
        --grid model.depth 2 4 --grid stages.alignment.optim.learning_rate 3e-3 8e-3 --config.data.prefetch=1

Each run has its folder under --out, named after its values. Every combination is checked before the first is started.
The same command goes on where it stopped: finished runs are left alone, interrupted ones resumed, failed ones tried
again. `comparison.html` and a table are written in the end; --compare draws them of what is there and starts nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.actions import Parser, entry
from mio_jax.config import RunConfig
from mio_jax.config_loading import add_config_arguments, apply_overrides, config_from_args, parse_args
from mio_jax.errors import MioError
from mio_jax.web.comparison import Entry, figure, page, text_table
from mio_jax.web.results import read_run


@dataclass(frozen=True)
class Cell:
    """One combination: what is set, the config it makes, and the command that trains it."""

    name: str
    settings: dict[str, str]
    config: RunConfig
    command: list[str]

    @property
    def folder(self) -> Path:
        return Path(self.config.run_dir)

    @property
    def log(self) -> Path:
        return self.folder.parent / f"{self.name}.log"

    def state(self) -> str:
        """Finished, begun or not begun: finished is a run whose last stage has its last checkpoint."""
        from mio_jax.train.run_dir import checkpoint_dir

        done = checkpoint_dir(self.config, len(self.config.stages) - 1) / str(self.config.stages[-1].steps)
        return "finished" if done.is_dir() else "begun" if (self.folder / "config.json").is_file() else "not begun"


def grid(args: argparse.Namespace) -> list[Cell]:
    """Every combination. Raises MioError if one of them makes no valid config."""
    keys = [words[0] for words in args.grid]
    for words in args.grid:
        if len(words) < 2:
            raise MioError(f"--grid {words[0]} has no values: write it as --grid KEY VALUE VALUE ...")
    if len(set(keys)) < len(keys):
        raise MioError(f"--grid names a key twice: {', '.join(keys)}")
    base = config_from_args(args)
    given = [f"--gin_file={file}" for file in args.gin_file] or [f"--config={args.config}"]
    given += [f"--gin.{binding}" for binding in args.gin_bindings]
    given += [f"--config.{override}" for override in args.config_overrides]
    cells = []
    for values in itertools.product(*(words[1:] for words in args.grid)):
        settings = dict(zip(keys, values, strict=True))
        name = "_".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in settings.items())
        name = re.sub(r"[^\w.=+-]+", "-", name)
        overrides = [f"{key}={value}" for key, value in settings.items()] + [f"run_dir={Path(args.out) / name}"]
        config = apply_overrides(base, overrides)
        command = [sys.executable, "-m", "mio_jax.train", *given, *(f"--config.{override}" for override in overrides)]
        cells.append(Cell(name, settings, config, command))
    names = [cell.name for cell in cells]
    if len(set(names)) < len(names):
        raise MioError("two combinations have one name: keys end in the same word, or a value is given twice")
    return cells


class Runner:
    """Trains cells in threads of a pool; a signal is passed on to the processes and lets no other begin."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.stopped = 0

    def stop(self, signum: int, frame: object) -> None:
        self.stopped = signum
        for process in list(self._running):
            process.send_signal(signum)

    def train(self, cell: Cell) -> str:
        """Trains one cell to its end and says how that was."""
        if cell.state() == "finished":
            return "finished"
        if self.stopped:
            return "stopped"
        cell.log.parent.mkdir(parents=True, exist_ok=True)
        with open(cell.log, "ab") as log:
            process = subprocess.Popen(cell.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            with self._lock:
                self._running.add(process)
            status = process.wait()
            with self._lock:
                self._running.discard(process)
        outcome = "finished" if status == 0 else "stopped" if self.stopped else f"failed ({status})"
        print(f"{outcome:<12} {cell.name}" + (f"  see {cell.log}" if outcome.startswith("failed") else ""), flush=True)
        return outcome


def compare(out: Path, cells: Sequence[Cell], states: Sequence[str], drawing: str | None) -> None:
    """Prints the table and writes comparison.html, and the loss of the last stage as an SVG file where one is named."""
    entries = [
        Entry(c.name, c.settings, read_run(c.folder) if (c.folder / "config.json").is_file() else None, state)
        for c, state in zip(cells, states, strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    path = out / "comparison.html"
    new = path.with_suffix(".tmp")
    new.write_text(page(out.name, entries), encoding="utf-8")
    os.replace(new, path)
    if drawing and (drawn := figure(f"{out.name}: training loss of the last stage", entries)):
        Path(drawing).parent.mkdir(parents=True, exist_ok=True)
        Path(drawing).write_text(drawn, encoding="utf-8")
    print(f"\n{text_table(entries)}\n\nwritten: {path}")


def main(argv: Sequence[str]) -> int:
    parser = Parser(__doc__)
    add_config_arguments(parser)
    parser.add_argument("--grid", nargs="+", action="append", required=True, metavar="WORD", help="KEY VALUE VALUE ...")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the runs and of the comparison")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    parser.add_argument("--figure", metavar="FILE", help="also draw the loss of the last stage as an SVG file")
    parser.add_argument("--compare", action="store_true", help="only draw the comparison of what is there")
    args = parse_args(parser, argv)
    if args.jobs < 1:
        raise MioError(f"--jobs is {args.jobs}; it must be at least 1")
    cells = grid(args)
    if args.dry_run:
        for cell in cells:
            print(f"# {cell.state()}: {cell.name}\n{shlex.join(cell.command)}")
        return 0
    states = [cell.state() for cell in cells]
    runner = Runner()
    if not args.compare:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, runner.stop)
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            states = list(pool.map(runner.train, cells))
    compare(Path(args.out), cells, states, args.figure)
    if runner.stopped:
        return 128 + runner.stopped
    return int(any(state.startswith("failed") for state in states))


if __name__ == "__main__":
    entry(main)
