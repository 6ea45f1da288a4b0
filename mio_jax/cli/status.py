"""One page about a run: what it is doing, how far it is, how fast, what it learns, where its time and disk went.

mio status runs/quickstart
mio status runs/quickstart --json
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

from mio_jax.config import RunConfig

SUMMARY = "one page about a run: state, rate, losses, goodput, disk"
RECENT_ROWS = 50  # whose mean is the rate and the losses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the run's folder")
    parser.add_argument("--json", action="store_true", help="the same figures as JSON")


def run(args: argparse.Namespace) -> int:
    from mio_jax.train.run_dir import load_config

    found = status(load_config(args.run))
    print(json.dumps(found, indent=2) if args.json else page(found))
    return 0


def status(config: RunConfig) -> dict[str, Any]:
    """Everything the page shows, as plain values; None where nothing is known yet. Seconds, bytes, nats.

    Reads files only, so it may be asked while the run is training.
    """
    from mio_jax.train.goodput import read_goodput
    from mio_jax.train.metrics import read_rows
    from mio_jax.train.run_dir import checkpoint_dir, stage_dir

    stages = [read_rows(stage_dir(config, i) / "metrics.jsonl") for i in range(len(config.stages))]
    last_stage = max((i for i, rows in enumerate(stages) if rows), default=0)
    rows = stages[last_stage]
    stage = config.stages[last_stage]
    done, total = (rows[-1]["global_step"] if rows else 0), sum(s.steps for s in config.stages)
    saved = [(i, step) for i in range(len(config.stages)) for step in _saved_steps(checkpoint_dir(config, i))]
    finished = saved[-1:] == [(len(config.stages) - 1, config.stages[-1].steps)]
    recent = [row for row in rows[-RECENT_ROWS:] if row["step"] > 1] or rows[-1:]  # the first step compiles
    seconds_a_step = _seconds_a_step(recent)
    goodput = read_goodput(Path(config.run_dir))
    checkpoint = None
    if saved:
        index, step = saved[-1]
        folder = checkpoint_dir(config, index) / str(step)
        checkpoint = {
            "stage": config.stages[index].name,
            "step": step,
            "age_s": round(time.time() - folder.stat().st_mtime, 1),
            "path": str(folder),
        }
    # A step's time is taken to grow with its rows, as the progress line of training does.
    stage_step = rows[-1]["step"] if rows else 0
    rows_left = sum(s.steps * s.rows for s in config.stages[last_stage:]) - stage_step * stage.rows
    return {
        "run": config.run_dir,
        "state": "training" if _held(Path(config.run_dir) / ".lock") else "finished" if finished else "stopped",
        "stage": stage.name,
        "stage_number": last_stage + 1,
        "stages": len(config.stages),
        "stage_step": stage_step,
        "stage_steps": stage.steps,
        "step": done,
        "steps": total,
        "tokens_per_s": _tokens_a_second(recent),
        "seconds_per_step": seconds_a_step,
        "eta_s": 0.0 if finished else seconds_a_step / stage.rows * rows_left if seconds_a_step else None,
        "last_row_age_s": _age(stage_dir(config, last_stage) / "metrics.jsonl"),
        "losses": _losses(recent),
        "goodput": {
            "share": goodput.share,
            "seconds": {kind: round(value, 1) for kind, value in goodput.seconds.items()},
            "attempts": goodput.attempts,
            "stopped_s": round(goodput.stopped, 1),
        },
        "checkpoint": checkpoint,
        "disk": {
            "run_bytes": _size(Path(config.run_dir)),
            "checkpoint_bytes": sum(_size(checkpoint_dir(config, i)) for i in range(len(config.stages))),
            "free_bytes": shutil.disk_usage(config.run_dir).free,
        },
    }


def _saved_steps(folder: Path) -> list[int]:
    """Committed steps; what is being written has another name."""
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit()) if folder.is_dir() else []


def _held(lock: Path) -> bool:
    """Whether a process trains in the run: it has an exclusive lock (`run_dir.open_run`), which excludes a shared one.

    The shared one is held for microseconds; a run that is started in just these is turned away, and can be again.
    """
    if not lock.is_file():
        return False
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _seconds_a_step(recent: list[dict[str, Any]]) -> float | None:
    if len(recent) < 2 or recent[-1]["step"] == recent[0]["step"]:
        return None
    return (recent[-1]["wall_s"] - recent[0]["wall_s"]) / (recent[-1]["step"] - recent[0]["step"])


def _tokens_a_second(recent: list[dict[str, Any]]) -> float | None:
    """Tokens over seconds; a mean of the rows' own rates would give too much to rows that were read in one go."""
    if len(recent) < 2 or recent[-1]["wall_s"] <= recent[0]["wall_s"]:
        return recent[-1]["tokens_per_s"] if recent else None
    tokens = sum(b["tokens_per_s"] * (b["wall_s"] - a["wall_s"]) for a, b in itertools.pairwise(recent))
    return tokens / (recent[-1]["wall_s"] - recent[0]["wall_s"])


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _losses(recent: list[dict[str, Any]]) -> dict[str, float | None]:
    names = [k for k in (recent[-1] if recent else {}) if k == "loss" or k.startswith("loss/")]
    return {n.removeprefix("loss/"): _mean([r[n] for r in recent if r.get(n) is not None]) for n in names}


def _age(path: Path) -> float | None:
    return round(time.time() - path.stat().st_mtime, 1) if path.is_file() else None


def _size(folder: Path) -> int:
    """Bytes of the files under a folder; one that goes away meanwhile, such as an old checkpoint, counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def page(found: dict[str, Any]) -> str:
    """The page as text."""
    from mio_jax.train.progress import clock, short

    def ago(seconds: float | None) -> str:
        return f"{clock(seconds)} ago" if seconds is not None else "never"

    rate, each = found["tokens_per_s"], found["seconds_per_step"]
    losses = "  ".join(f"{name} {value:.4f}" for name, value in found["losses"].items() if value is not None)
    goodput, disk, checkpoint = found["goodput"], found["disk"], found["checkpoint"]
    used = sorted(((k, s) for k, s in goodput["seconds"].items() if s >= 0.05), key=lambda item: -item[1])
    spent = "  ".join(f"{kind} {clock(s) if s >= 60 else f'{s:.1f} s'}" for kind, s in used)
    lines = {
        "run": found["run"],
        "state": f"{found['state']}, last row {ago(found['last_row_age_s'])}",
        "stage": f"{found['stage_number']}/{found['stages']} {found['stage']}  "
        f"step {found['stage_step']}/{found['stage_steps']}",
        "steps": f"{found['step']}/{found['steps']} of all stages ({found['step'] / found['steps']:.0%})",
        "rate": (f"{short(rate)} tokens/s" if rate else "not known yet") + (f", {each:.3g} s a step" if each else ""),
        "left": "nothing" if found["state"] == "finished" else clock(-1 if found["eta_s"] is None else found["eta_s"]),
        "loss": losses or "not known yet",
        "goodput": f"{goodput['share']:.1%} of the time in steps that count; started {goodput['attempts']} times"
        if goodput["attempts"]
        else "no books kept",
        "time": spent or "none",
        "checkpoint": f"{checkpoint['stage']} step {checkpoint['step']}, {ago(checkpoint['age_s'])}"
        if checkpoint
        else "none yet",
        "disk": f"{short(disk['run_bytes'])}B here, {short(disk['checkpoint_bytes'])}B of it checkpoints, "
        f"{short(disk['free_bytes'])}B free",
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())
