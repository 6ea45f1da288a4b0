"""Killed with SIGKILL anywhere and started again, a run has the losses of an unbroken one, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mio_jax.config import RunConfig
from mio_jax.train import restore_params
from mio_jax.train.run_dir import checkpoint_dir
from tests.train import tiny
from tests.train.processes import PATIENCE, Server, rows, start, steps_done

pytestmark = pytest.mark.xdist_group("tiny_run")  # one worker, which makes the run once

# --------------------------------------------------------------------------------------------- where to kill

Moment = Callable[[RunConfig, float], bool]  # (config, seconds since the start) -> whether the moment has come


def after(seconds: float) -> Moment:
    return lambda config, elapsed: elapsed >= seconds


def at_step(step: int) -> Moment:
    """Just when the row of a step of the whole run has been written."""
    return lambda config, elapsed: steps_done(config) >= step


def while_saving(stage: int) -> Moment:
    """A checkpoint of the stage lies there under its temporary name."""

    def now(config: RunConfig, elapsed: float) -> bool:
        folder = checkpoint_dir(config, stage)
        return folder.is_dir() and any("tmp" in name for name in os.listdir(folder))

    return now


def when_saved(stage: int, step: int) -> Moment:
    """The checkpoint has just taken its place: after a stage's last one, the process is between two stages."""
    return lambda config, elapsed: (checkpoint_dir(config, stage) / str(step)).is_dir()


def at_birth() -> Moment:
    """The folder has its config, and nothing else."""
    return lambda config, elapsed: (Path(config.run_dir) / "config.json").is_file()


def kill_and_resume(server: Server, config: RunConfig, moments: list[Moment]) -> int:
    """Runs until finished, killed once at each moment in turn; returns how many kills hit a living process."""
    log, hits = Path(config.run_dir) / "log.txt", 0
    for moment in [*moments, None]:
        before = steps_done(config)
        pid = start(server, config)
        began = time.monotonic()
        while moment is not None and not moment(config, time.monotonic() - began):
            assert time.monotonic() - began < PATIENCE, log.read_text()[-3000:]
            if not Path(f"/proc/{pid}").exists() or (Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"):
                break
            time.sleep(0.0005)
        if moment is not None:
            os.kill(pid, signal.SIGKILL)
        status = server.wait()
        if status == -signal.SIGKILL:
            hits += 1
        else:
            assert status == 0, f"after {before} steps: {log.read_text()[-3000:]}"
    return hits


def random_moments(seed: int, count: int) -> list[Moment]:
    """Some of every kind, in the order of the run where they have one, with moments in wall time among them."""
    rng = random.Random(seed)
    total = 3 * tiny.STEPS
    steps = sorted(rng.sample(range(1, total), count))
    moments: list[Moment] = [at_birth()]
    for step in steps:
        stage = (step - 1) // tiny.STEPS
        kind = rng.choice(["step", "step", "saving", "saved", "time"])
        moments.append(
            {
                "step": at_step(step),
                "saving": while_saving(stage),
                "saved": when_saved(stage, rng.choice([5, 10, tiny.STEPS])),
                "time": after(rng.uniform(0.0, 6.0)),
            }[kind]
        )
    return moments


# ----------------------------------------------------------------------------------------------------- tests


def test_killed_at_the_moments_that_matter(
    server: Server, finished: RunConfig, unbroken: list[dict[str, Any]], records_dir: Path, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "run", records_dir)
    moments = [at_birth(), at_step(3), while_saving(0), when_saved(0, tiny.STEPS), at_step(14), while_saving(2)]
    hits = kill_and_resume(server, config, moments)
    assert hits >= len(moments) - 2, "too many kills came too late"  # a save is short, and the machine may be busy
    assert rows(config) == unbroken
    jax.tree.map(np.testing.assert_array_equal, restore_params(config.run_dir), restore_params(finished.run_dir))


def test_killed_at_random_moments(
    server: Server, unbroken: list[dict[str, Any]], records_dir: Path, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "run", records_dir)
    assert kill_and_resume(server, config, random_moments(seed=1, count=5)) >= 3
    assert rows(config) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_killed_at_many_random_moments(
    server: Server, unbroken: list[dict[str, Any]], records_dir: Path, tmp_path: Path, seed: int
) -> None:
    config = tiny.config(tmp_path / "run", records_dir)
    kill_and_resume(server, config, random_moments(seed, count=12))
    assert rows(config) == unbroken


def test_sigterm_ends_with_143_and_a_finished_run_with_0(
    server: Server, unbroken: list[dict[str, Any]], records_dir: Path, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "run", records_dir)
    log = tmp_path / "run" / "log.txt"
    pid = start(server, config)
    while steps_done(config) < 1:
        time.sleep(0.0005)
    os.kill(pid, signal.SIGTERM)
    assert server.wait() == 143, log.read_text()[-3000:]
    assert f"go on with: mio train --run {config.run_dir}" in log.read_text()
    assert (steps_done(config) - 1) % tiny.STEPS + 1 in [
        max(int(p.name) for p in checkpoint_dir(config, i).iterdir())
        for i in range(3)
        if checkpoint_dir(config, i).is_dir()
    ], "the last step reported is not the step saved"
    for said in ("going on from step", "is finished"):
        start(server, config)
        assert server.wait() == 0
        assert said in log.read_text()
    assert rows(config) == unbroken
