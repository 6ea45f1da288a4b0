"""Killed with SIGKILL anywhere and started again, a run has the losses of an unbroken one, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mio_jax.config import RunConfig
from mio_jax.train import restore_params
from mio_jax.train.run_dir import checkpoint_dir
from tests.train import tiny
from tests.train.chaos import Tally, at_birth, at_step, chaos, kill_and_resume, random_moments, when_saved, while_saving
from tests.train.processes import Group, Server, rows, start, steps_done

pytestmark = pytest.mark.xdist_group("tiny_run")  # one worker, which makes the run once


def test_killed_at_the_moments_that_matter(
    group: Group, finished: RunConfig, unbroken: list[dict[str, Any]], records_dir: Path, tmp_path: Path
) -> None:
    config = tiny.config(tmp_path / "run", records_dir)
    moments = [at_birth, at_step(3), while_saving, when_saved(0, tiny.STEPS), at_step(14), while_saving]
    tally = Tally()
    kill_and_resume(group, config, 1, moments, tally, random.Random(0))
    assert tally.total >= len(moments) - 2, "too many kills came too late"  # a save is short, the machine may be busy
    assert rows(config) == unbroken
    jax.tree.map(np.testing.assert_array_equal, restore_params(config.run_dir), restore_params(finished.run_dir))


def test_killed_at_random_moments(
    group: Group, unbroken: list[dict[str, Any]], records_dir: Path, tmp_path: Path
) -> None:
    config, tally = tiny.config(tmp_path / "run", records_dir), Tally()
    kill_and_resume(group, config, 1, random_moments(seed=1, count=5), tally, random.Random(0))
    assert tally.total >= 3
    assert rows(config) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_chaos(tmp_path: Path, processes: int) -> None:
    tally, wrong = chaos(tmp_path, processes, kills=20, seed=0)
    assert not wrong
    assert tally.total >= 20
    assert {"in a save", "in training"} <= tally.hits.keys()


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
