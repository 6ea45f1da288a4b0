"""Several processes are one run: the same losses and checkpoints, an end together, a resume on any number of them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mio_jax.config import CheckpointConfig, MeshConfig, RunConfig
from mio_jax.errors import MioError
from mio_jax.parallel import make_mesh
from mio_jax.parallel.distributed import LOST_STATUS, Job, gather_json, job_from, rows_here
from mio_jax.train.checkpoint import Checkpoints, latest_step
from mio_jax.train.run_dir import checkpoint_dir
from tests.train import tiny
from tests.train.chaos import LIMIT
from tests.train.processes import Group, last_arrays, rows, steps_done

pytestmark = pytest.mark.xdist_group("tiny_run")

STEPS = 8


def short(run_dir: Path, records_dir: Path) -> RunConfig:
    """One stage of four rows a batch, which up to four processes can share."""
    config = tiny.config(run_dir, records_dir)
    stage = tiny.stage("only", STEPS, rows=4)
    return config.replace(
        stages=(stage,), mesh=MeshConfig(data=-1), checkpoint=CheckpointConfig(every_steps=2, keep_last=2, keep_every=4)
    )


@pytest.fixture(scope="module")
def alone(group: Group, records_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The run of one process."""
    config = short(tmp_path_factory.mktemp("alone") / "run", records_dir)
    group.start(config, 1)
    assert group.wait() == [0], group.log(config)
    return config


def position(config: RunConfig, step: int) -> dict[str, Any]:
    with Checkpoints(checkpoint_dir(config, 0)) as checkpoints:
        return checkpoints.read_data(step)


def assert_same_run(config: RunConfig, alone: RunConfig) -> None:
    """Figures to 1e-5, counts and the place in the data exactly."""
    for row, want in zip(rows(config), rows(alone), strict=True):
        assert row.keys() == want.keys()
        for name, value in want.items():
            if isinstance(value, float) and name != "packing_fill":
                np.testing.assert_allclose(row[name], value, rtol=1e-4 if name == "grad_norm" else 1e-5, err_msg=name)
            else:
                assert row[name] == value, name
    arrays, wanted = last_arrays(config), last_arrays(alone)
    assert arrays.keys() == wanted.keys()
    for name, array in wanted.items():
        if name.startswith("params/"):
            np.testing.assert_allclose(arrays[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
    assert position(config, STEPS) == position(alone, STEPS)


# Two of them are compared with one after each of the ends below, too.
@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_losses_and_checkpoints_are_those_of_one_process(
    group: Group, alone: RunConfig, records_dir: Path, tmp_path: Path, processes: int
) -> None:
    config = short(tmp_path / "run", records_dir)
    group.start(config, processes)
    assert group.wait() == [0] * processes, group.log(config)
    assert_same_run(config, alone)
    assert "step 8/8" in group.log(config, 0)
    assert "step" not in group.log(config, 1).replace("Gloo", ""), "the second process reports too"


def wait_for(condition: Any, group: Group, config: RunConfig) -> None:
    began = time.monotonic()
    while not condition():
        assert group.alive(), group.log(config)
        assert time.monotonic() - began < 300
        time.sleep(0.001)


@pytest.mark.parametrize(("victim", "then"), [(1, 1), pytest.param(0, 4, marks=pytest.mark.slow)])
def test_a_process_that_dies_ends_the_others_and_the_run_goes_on_with_another_number(
    group: Group, alone: RunConfig, records_dir: Path, tmp_path: Path, victim: int, then: int
) -> None:
    config = short(tmp_path / "run", records_dir)
    group.start(config, 2)
    wait_for(lambda: steps_done(config) >= 3, group, config)
    killed = time.monotonic()
    group.kill(victim, signal.SIGKILL)
    statuses = group.wait()
    assert time.monotonic() - killed < LIMIT
    assert statuses[victim] == -signal.SIGKILL
    said = group.log(config, 1 - victim)
    if statuses[1 - victim] == LOST_STATUS:
        assert f"error: process {1 - victim} of 2: another process of this job ended" in said
        assert "start all of them again, on as many processes as you like" in said
    else:  # the coordinator is served by the first process, and JAX ends the others when it is gone
        assert statuses[1 - victim] == -signal.SIGABRT
        assert "This most likely indicates that another task died" in said
    # None: killed before the first was committed, and so begun anew; the results below are the same.
    reached = latest_step(checkpoint_dir(config, 0))
    assert reached in (None, 2, 4, 6)
    group.start(config, then)
    assert group.wait() == [0] * then, group.log(config)
    assert ("going on from step" in group.log(config, 0)) == (reached is not None)
    assert_same_run(config, alone)


def test_sigterm_to_one_of_them_saves_and_ends_all(
    group: Group, alone: RunConfig, records_dir: Path, tmp_path: Path
) -> None:
    config = short(tmp_path / "run", records_dir)
    group.start(config, 2)
    wait_for(lambda: steps_done(config) >= 1, group, config)
    group.kill(1, signal.SIGTERM)
    assert group.wait() == [143, 143], group.log(config)
    assert latest_step(checkpoint_dir(config, 0)) == steps_done(config)
    group.start(config, 1)
    assert group.wait() == [0], group.log(config)
    assert_same_run(config, alone)


# -------------------------------------------------------------------------------------------------- parts of it


def test_which_job_the_flags_and_the_environment_describe() -> None:
    environment = {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
    assert job_from(None, None, None, environment={}) is None
    assert job_from(None, None, None, 9, environment=environment) == Job("h:1", 4, 3, 9)
    assert job_from("g:2", None, 0, 9, environment=environment) == Job("g:2", 4, 0, 9)
    assert job_from("auto", None, None, 9, 60, {}) == Job("auto", heartbeat_seconds=9, join_seconds=60)


@pytest.mark.parametrize(
    ("given", "environment", "said"),
    [
        (("h:1", 2, None), {}, r"several processes need --process_id \(JAX_PROCESS_ID\) too"),
        ((None, None, None), {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "need --coordinator"),
        (("h:1", 2, 2), {}, "process_id is 2 of 2 processes; it must be from 0"),
        (("h", 2, 1), {}, "the coordinator is 'h'; it must be HOST:PORT"),
        (("h:1", None, 0), {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two'; it must be a whole number"),
        (("h:1", 2, 0, 1), {}, "--heartbeat_seconds is 1; it must be 2 or more"),
    ],
)
def test_a_job_that_makes_no_sense(given: tuple[Any, ...], environment: dict[str, str], said: str) -> None:
    with pytest.raises(MioError, match=said):
        job_from(*given, environment=environment)


def test_rows_here_are_those_that_the_devices_hold() -> None:
    mesh = make_mesh(MeshConfig(data=4, seq=2))
    assert rows_here(NamedSharding(mesh, PartitionSpec(("data", "fsdp"), "seq")), 8, 16) == list(range(8))
    half = jax.sharding.Mesh(mesh.devices[:, 1:3], mesh.axis_names)
    assert rows_here(NamedSharding(half, PartitionSpec(("data", "fsdp"), "seq")), 8, 16) == list(range(8))


def test_alone_there_is_nobody_to_ask() -> None:
    assert gather_json({"a": [1]}) == [{"a": [1]}]
    assert json.dumps(gather_json("x")) == '["x"]'
