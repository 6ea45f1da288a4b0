"""One device and every preset give the same losses and parameters; the partitioner never falls back to replicating."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.sharded_steps import MESHES, MODELS

WARNING = "Involuntary full rematerialization"
SCRIPT = Path(__file__).with_name("sharded_steps.py")
Results = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def runs() -> tuple[Results, str]:
    root = Path(__file__).parents[2]
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"  # quick to compile
    path = f"{root}{os.pathsep}{root / 'tokenizers'}"
    env = os.environ | {"PYTHONPATH": path, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run([sys.executable, str(SCRIPT)], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mesh", [name for name in MESHES if name != "one"])
def test_losses_and_parameters_equal_one_device(runs: tuple[Results, str], model: str, mesh: str) -> None:
    one, result = runs[0][model]["one"]["losses"], runs[0][model][mesh]
    assert one[-1]["loss"] < 0.9 * one[0]["loss"]  # it does learn, so five equal steps say something about gradients
    for got, want in zip(result["losses"], one, strict=True):
        for key, value in want.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-5, err_msg=f"{model} {mesh} {key}")
    error, name = result["worst"]
    assert error < 1e-5, f"{model} {mesh}: {name} differs by {error} of its largest value"
    assert error > 0, "a mesh of eight rounds as one device does: was it a mesh of eight?"


@pytest.mark.parametrize(
    ("mesh", "rows"), [("one", 98), ("data", 98), ("tensor", 104), ("fsdp+tensor", 100), ("data+fsdp+tensor", 98)]
)
def test_tables_are_split_and_padded_to_what_the_mesh_divides(runs: tuple[Results, str], mesh: str, rows: int) -> None:
    shape, spec = runs[0]["decoder"][mesh]["table"]
    assert (shape, spec) == ([rows, 32], ["tensor", "fsdp"])


def test_the_partitioner_never_replicates_what_it_should_move(runs: tuple[Results, str]) -> None:
    ours, _, control = runs[1].partition("CONTROL")
    assert WARNING in control, "the partitioner no longer says this: find its new words"
    assert WARNING not in ours
