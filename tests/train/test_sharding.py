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

from tests.environment import UNOPTIMISED
from tests.train.sharded_steps import MODELS, meshes_of

WARNING = "Involuntary full rematerialization"
SCRIPT = Path(__file__).with_name("sharded_steps.py")
Results = dict[str, dict[str, dict[str, Any]]]


def run_script(*arguments: str) -> tuple[Results, str]:
    root = Path(__file__).parents[2]
    flags = f"--xla_force_host_platform_device_count=8 {UNOPTIMISED}"
    path = f"{root}{os.pathsep}{root / 'tokenizers'}"
    env = os.environ | {"PYTHONPATH": path, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "0"}
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), done.stderr


def require_equal(results: dict[str, dict[str, Any]], model: str) -> None:
    """Losses of every step and parameters after them, on each of the meshes that were run."""
    one = results["one"]["losses"]
    assert one[-1]["loss"] < 0.9 * one[0]["loss"]  # it does learn, so five equal steps say something about gradients
    for mesh, result in results.items():
        for got, want in zip(result["losses"], one, strict=True):
            for key, value in want.items():
                np.testing.assert_allclose(got[key], value, rtol=1e-5, err_msg=f"{model} {mesh} {key}")
        error, name = result["worst"]
        assert error < 1e-5, f"{model} {mesh}: {name} differs by {error} of its largest value"
        assert error > 0 or mesh == "one", f"{mesh} rounds as one device does: was it a mesh of eight?"


def require_no_replication(said: str) -> None:
    """The partitioner never replicates what it should move."""
    ours, _, control = said.partition("CONTROL")
    assert WARNING in control, "the partitioner no longer says this: find its new words"
    assert WARNING not in ours


def test_meshes_of_eight_do_what_one_device_does() -> None:
    """One test, for what it needs takes a minute to compute and workers do not share it."""
    results, said = run_script()
    for model in MODELS:
        assert list(results[model]) == meshes_of(model, rest=False)
        require_equal(results[model], model)
    require_no_replication(said)
    padded = {"one": 98, "data": 98, "tensor": 104, "fsdp+tensor": 100, "data+fsdp+tensor": 98}
    for mesh, rows in padded.items():  # split, and padded to what the mesh divides
        assert results["decoder"][mesh]["table"] == [[rows, 32], ["tensor", "fsdp"]], mesh


@pytest.mark.slow
def test_so_do_the_other_meshes_of_every_kind_of_model() -> None:
    results, said = run_script("rest")
    for model in MODELS:
        require_equal(results[model], model)
    require_no_replication(said)
