"""What must be in the environment before anything imports jax; importing this puts it there."""

from __future__ import annotations

import os
from importlib.metadata import version

# Nearly all of a test's time is XLA's compiling of programs that run for milliseconds, so it is told not to optimise:
# half of the CPU time or less. `make golden` compares what users run, and sets MIO_TEST_OPTIMISED.
UNOPTIMISED = "--xla_backend_optimization_level=0"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    UNOPTIMISED += " --xla_cpu_use_fusion_emitters=false"  # XLA ends a process that gives it a flag of the past
if os.environ.get("MIO_TEST_OPTIMISED") == "1":
    UNOPTIMISED = ""

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    filter(None, [os.environ.get("XLA_FLAGS"), "--xla_force_host_platform_device_count=8", UNOPTIMISED])
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up log would drown pytest's
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
