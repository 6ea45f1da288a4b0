"""What is read off a compiled program, and what stands in the way of compiling one."""

from __future__ import annotations

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from mio_jax.errors import MioError
from mio_jax.parallel import aot
from mio_jax.parallel.aot import DoesNotFit, Program, pod_devices, read
from mio_jax.parallel.hlo_cost import Cost, Traffic
from mio_jax.parallel.topologies import GIB, topology
from mio_jax.train.plan import memory_report, too_large

POD = topology("v5e:2x2")


def program(**changes: Any) -> Program:
    """4 GiB of arguments, of which 3 are given back in place of outputs, and 8 GiB of temporaries."""
    values: dict[str, Any] = {
        "arguments": 4 * GIB,
        "outputs": 4 * GIB,
        "aliased": 3 * GIB,
        "temporary": 8 * GIB,
        "code": GIB,
        "flops": 1e12,
        "compiler_flops": 1e11,
        "compiler_seconds": 0.1,
        "seconds": 0.5,
        "kernel_seconds": 0.0,
        "kernels": {},
        "hbm_bytes": 1e9,
        "exchange_seconds": 0.3,
        "blocking_seconds": 0.2,
        "collectives": {"all-gather": Traffic(2, 1e9)},
    }
    return Program(**{**values, "unknown": {}, **changes})


def test_memory_is_arguments_and_what_does_not_take_their_place() -> None:
    report = memory_report(program(), POD, {"parameters": GIB, "optimizer": 2 * GIB})
    assert report["bytes_per_chip"] == {
        "parameters": GIB,
        "optimizer": 2 * GIB,
        "other_arguments": GIB,
        "new_outputs": GIB,
        "temporary": 8 * GIB,
        "code": GIB,
        "total": 14 * GIB,
    }
    assert (report["fits"], report["spare_bytes"], report["hbm_per_chip"]) == (True, 2 * GIB, 16 * GIB)
    tight = memory_report(program(temporary=11 * GIB), POD, {})
    assert (tight["fits"], tight["spare_bytes"]) == (False, -GIB)


def test_a_step_takes_its_work_and_the_collectives_that_nothing_hides() -> None:
    assert program().step_seconds == 0.7
    assert program(exchange_seconds=2.0).step_seconds == 2.0


@pytest.mark.parametrize(
    "told",
    [
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 22.50G of 15.75G hbm. Exceeded by 6.75G.",
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (22.50G) exceeds "
        "available HBM (15.75G).",
    ],
)
def test_the_refusal_of_a_program_that_is_too_large_says_by_how_much(told: str) -> None:
    error = aot._refused(told, POD)
    assert isinstance(error, DoesNotFit)
    assert str(error).startswith("the program needs at least 22.5 GiB of a chip's 15.8 on v5e:2x2")
    report = too_large(error, POD)
    assert (report["fits"], report["mfu"]) == (False, None)
    assert report["spare_bytes"] == int(15.75 * GIB) - int(22.5 * GIB)


def test_another_refusal_is_passed_on() -> None:
    other = aot._refused("INTERNAL: a bug\nmore", POD)
    assert not isinstance(other, DoesNotFit)
    assert "refuses this program for v5e:2x2: INTERNAL: a bug" in str(other)


def test_loops_correct_the_compilers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product inside a scan of 6: the estimate, which holds it once, is scaled up; its own size is kept."""

    def f(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]

    x, w = jax.ShapeDtypeStruct((64, 64), jnp.float32), jax.ShapeDtypeStruct((6, 64, 64), jnp.float32)
    compiled = jax.jit(f).lower(x, w).compile()
    told = compiled.cost_analysis()
    plain = read(compiled, POD, 1)
    assert plain.compiler_seconds is None  # the CPU's compiler has no estimate: ours alone is left
    monkeypatch.setattr(type(compiled), "cost_analysis", lambda self: {**told, "optimal_seconds": 10.0})
    scaled = read(compiled, POD, 1)
    assert scaled.compiler_seconds == 10.0
    assert 30.0 < scaled.seconds <= 60.0
    assert plain.flops == scaled.flops == 6 * 2 * 64**3


@pytest.mark.parametrize(
    ("told", "unjudged", "believed"),
    [
        ({}, 0, None),
        ({"optimal_seconds": 0.1}, 0, 0.1),
        ({"optimal_seconds": -74.9}, 75, 0.1),  # -1 s for everything that the compiler cannot judge
        ({"optimal_seconds": -74.9}, 0, None),
        ({"optimal_seconds": -74.9}, 76, None),  # 1.1 s: far from the sum by the rule
    ],
)
def test_what_the_compiler_cannot_judge_is_given_back(
    told: dict[str, float], unjudged: int, believed: float | None
) -> None:
    found = aot._optimal_seconds(told, Cost(seconds_once=0.09, unjudged=unjudged))
    assert found == (None if believed is None else pytest.approx(believed))


def test_the_traffic_of_kernels_leaves_the_compilers_estimate() -> None:
    counted = Cost(seconds_once=0.09, kernel_traffic_once=0.02)
    counted.kernels["k"].add(1, 1e12, 0.5)
    assert aot._optimal_seconds({"optimal_seconds": 0.12}, counted) == pytest.approx(0.1)


def test_without_the_compiler_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MioError, match="needs the TPU compiler of the `tpu` extra: pip install"):
        pod_devices(POD)
