"""Kills a training run with SIGKILL again and again and compares what it ends with to a run that was left alone.

    make chaos                                                      at least 20 kills with 1 and with 2 processes
    .venv/bin/python -m tests.train.chaos --kills 40 --processes 2 --seed 7

Prints what was survived. Ends with status 1 if a loss, a metric or a parameter differs in a bit, if the processes that
were left alive did not end in time, or if too few kills hit a process in training or in the middle of a save.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mio_jax.config import MeshConfig, RunConfig
from mio_jax.train.run_dir import checkpoint_dir
from tests.train import tiny
from tests.train.processes import HEARTBEAT, JOIN, PATIENCE, Group, last_arrays, rows, steps_done

LIMIT = (
    max(HEARTBEAT, JOIN) + 60.0
)  # seconds in which processes that lost one of them must have ended, on a busy machine

# ------------------------------------------------------------------------------------------- where to kill

Moment = Callable[[RunConfig, float], bool]  # (config, seconds since the start) -> whether the moment has come


def after(seconds: float) -> Moment:
    return lambda config, elapsed: elapsed >= seconds


def at_step(step: int) -> Moment:
    """Just when the row of a step of the whole run has been written."""
    return lambda config, elapsed: steps_done(config) >= step


def while_saving(config: RunConfig, elapsed: float) -> bool:
    """A checkpoint that was begun since the start lies there under its temporary name."""
    return saving(config, time.time() - elapsed)


def saving(config: RunConfig, since: float) -> bool:
    for stage in range(len(config.stages)):
        folder = checkpoint_dir(config, stage)
        for name in os.listdir(folder) if folder.is_dir() else ():
            try:
                if "tmp" in name and (folder / name).stat().st_ctime >= since:
                    return True
            except FileNotFoundError:  # it took its place meanwhile
                continue
    return False


def when_saved(stage: int, step: int) -> Moment:
    """The checkpoint has just taken its place: after a stage's last one, the process is between two stages."""
    return lambda config, elapsed: (checkpoint_dir(config, stage) / str(step)).is_dir()


def at_birth(config: RunConfig, elapsed: float) -> bool:
    """The folder has its config, and nothing else."""
    return (Path(config.run_dir) / "config.json").is_file()


def random_moments(seed: int, count: int) -> list[Moment]:
    """Some of every kind, in the order of the run where they have one, with moments in wall time among them."""
    rng = random.Random(seed)
    steps = sorted(rng.sample(range(1, 3 * tiny.STEPS), count))
    moments: list[Moment] = [at_birth]
    for step in steps:
        kind = rng.choice(["step", "step", "saving", "saving", "saved", "time"])
        saved = when_saved((step - 1) // tiny.STEPS, rng.choice([5, 10, tiny.STEPS]))
        choices = {"step": at_step(step), "saving": while_saving, "saved": saved, "time": after(rng.uniform(0, 6))}
        moments.append(choices[kind])
    return moments


# ------------------------------------------------------------------------------------------------- killing


class Tally:
    """Kills that hit a living process, by what it was doing; `slowest`: seconds until the others had ended."""

    def __init__(self) -> None:
        self.hits: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0

    @property
    def total(self) -> int:
        return sum(self.hits.values())


def kill_and_resume(
    group: Group, config: RunConfig, processes: int, moments: list[Moment], tally: Tally, rng: random.Random
) -> None:
    """Runs until finished, with one process, drawn by `rng`, killed at each moment in turn.

    Raises AssertionError if a process fails in another way, or one that should have ended lives on.
    """
    for moment in [*moments, None]:
        before = steps_done(config)
        group.start(config, processes)
        began = time.monotonic()
        while moment is not None and not moment(config, time.monotonic() - began):
            assert time.monotonic() - began < PATIENCE, group.log(config)
            if not group.alive():
                break
            time.sleep(0.0005)
        victim = rng.randrange(processes)
        if moment is not None:
            doing = "in a save" if saving(config, time.time() - (time.monotonic() - began)) else "in training"
            if doing == "in training" and steps_done(config) <= before:
                doing = "before its first step"
            group.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        statuses = group.wait()
        if moment is None or statuses[victim] == 0:  # it came too late
            assert statuses == [0] * processes, f"statuses {statuses}: {group.log(config)}"
            continue
        assert statuses[victim] == -signal.SIGKILL, f"statuses {statuses}: {group.log(config)}"
        tally.hits[doing] += 1
        tally.slowest = max(tally.slowest, time.monotonic() - killed)
        assert time.monotonic() - killed < LIMIT, f"the others took {time.monotonic() - killed:.0f} s to end"
        for i, status in enumerate(statuses):
            # 75: the loop noticed; SIGABRT: JAX's coordination service ended it. 0: it had finished its work.
            assert i == victim or status in (75, 0, -signal.SIGABRT), f"statuses {statuses}: {group.log(config)}"


def chaos(folder: Path, processes: int, kills: int, seed: int) -> tuple[Tally, list[str]]:
    """One run left alone, and as many runs as `kills` kills take. Returns what was survived, and what differs."""
    records = folder / "records"
    if not records.is_dir():
        tiny.write_records(records)
    group = Group(folder / "cache")
    rng, tally, wrong = random.Random(seed), Tally(), []
    try:
        quiet = several(tiny.config(folder / f"alone{processes}" / "run", records), processes)
        group.start(quiet, processes)
        assert group.wait() == [0] * processes, group.log(quiet)
        for attempt in range(1, 11):
            config = several(tiny.config(folder / f"killed{processes}_{attempt}" / "run", records), processes)
            kill_and_resume(group, config, processes, random_moments(rng.randrange(10**6), kills), tally, rng)
            wrong += differences(quiet, config)
            print(f"  run {attempt}: {tally.total} kills so far", flush=True)
            if tally.total >= kills:
                break
    except AssertionError as error:
        wrong.append(str(error))
    finally:
        group.close()
    return tally, wrong


def several(config: RunConfig, processes: int) -> RunConfig:
    """The run on one device a process; a micro-batch has a row for each."""
    if processes == 1:
        return config
    stages = [
        dataclasses.replace(s, batch_size=processes * s.batch_size) if s.micro_batches > 1 else s for s in config.stages
    ]
    return config.replace(mesh=MeshConfig(data=-1), stages=tuple(stages))


def differences(one: RunConfig, other: RunConfig) -> Iterator[str]:
    """What differs between two finished runs: rows of metrics, but for the times in them, and arrays, by bits."""
    a, b = rows(one), rows(other)
    if len(a) != len(b):
        yield f"{len(b)} rows of metrics, not {len(a)}"
    for row, wanted in zip(b, a, strict=False):
        if row != wanted:
            yield f"step {wanted['global_step']}: {row} is not {wanted}"
    for name, wanted_array in last_arrays(one).items():
        found = last_arrays(other).get(name)
        if found is None or not np.array_equal(found, wanted_array):
            yield f"the last checkpoint's {name} differs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="at least so many, for each number of processes (20)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="mio_chaos_") as folder:
        for processes in args.processes:
            print(f"{processes} process(es), {args.kills} kills, seed {args.seed}:", flush=True)
            tally, wrong = chaos(Path(folder), processes, args.kills, args.seed)
            hits = ", ".join(f"{count} {doing}" for doing, count in sorted(tally.hits.items()))
            print(f"  {tally.total} SIGKILLs survived: {hits}")
            if processes > 1:
                print(f"  the other processes had ended {tally.slowest:.1f} s after the kill at the latest")
            if tally.total < args.kills or (args.kills >= 20 and not {"in a save", "in training"} <= tally.hits.keys()):
                wrong.append(f"only {tally.total} of {args.kills} kills hit, or none in training or in a save ({hits})")
            for line in wrong[:10]:
                print(f"  WRONG: {line}")
            equal = "losses, metrics and the last checkpoint equal the unbroken run, bit for bit"
            print(f"  {'FAILED' if wrong else equal}")
            failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
