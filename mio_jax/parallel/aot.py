"""Compiling for a TPU pod that is not there, and reading off what the program needs.

The TPU compiler is a package of its own (libtpu, in the `tpu` extra) and runs on any Linux host. It hands out devices
that have a place in a pod and no memory: arrays stay abstract, and nothing can be run on them.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from mio_jax.errors import MioError
from mio_jax.parallel.hlo import parse
from mio_jax.parallel.hlo_cost import Cost, Rates, Traffic, cost
from mio_jax.parallel.hlo_kernels import Kernel
from mio_jax.parallel.topologies import GIB, Topology

SLICE_OPTIONS = {"v4": {"chip_config_name": "megacore"}}  # both cores of a chip as one device, as on real pods
# Importing JAX beside libtpu may have filled these in with what it failed to find out about this host.
COMPILER_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5p-8",  # of this host, a formality; the pod is what is asked for below
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is touched, so several plans may run at once
}


@dataclass(frozen=True)
class Program:
    """A compiled program, per chip and run.

    Attributes:
      arguments, outputs, temporary, code: bytes; `aliased`: bytes of outputs that take their argument's place.
      flops: of matrix products, in kernels too. compiler_flops: as the compiler counts them, bodies of loops once.
      compiler_seconds: the compiler's `optimal_seconds`, bodies of loops once, no kernels; None if it gives none.
      seconds: `compiler_seconds` corrected for loops, and `kernel_seconds`.
      kernel_seconds: of hand-written kernels, which the compiler does not judge: our own sum, see `Chip.kernel_share`.
      exchange_seconds: of all collectives, at the full rate of all links; `blocking_seconds`: of those during which
        the compiler found nothing else to do.
      collectives: by kind; bytes that one chip sends.
      kernels: those whose work is known, by name. unknown: those whose work is not, with how often they run.
    """

    arguments: int
    outputs: int
    aliased: int
    temporary: int
    code: int
    flops: float
    compiler_flops: float
    compiler_seconds: float | None
    seconds: float
    kernel_seconds: float
    exchange_seconds: float
    blocking_seconds: float
    hbm_bytes: float
    collectives: dict[str, Traffic]
    kernels: dict[str, Kernel]
    unknown: dict[str, float]

    @property
    def peak_bytes(self) -> int:
        """Memory that the program needs at its worst."""
        return self.arguments + self.outputs - self.aliased + self.temporary + self.code

    @property
    def step_seconds(self) -> float:
        """Arithmetic and memory, and after it the collectives that nothing hides; never less than the collectives."""
        return max(self.seconds + self.blocking_seconds, self.exchange_seconds)


class DoesNotFit(MioError):
    """The compiler gave up: the program needs at least `used` bytes of a chip's `limit`."""

    def __init__(self, topology: Topology, used: int, limit: int) -> None:
        super().__init__(
            f"the program needs at least {used / GIB:.1f} GiB of a chip's {limit / GIB:.1f} on {topology.name}; more "
            "chips, more micro_batches or model.remat=full need less"
        )
        self.used, self.limit = used, limit


def require_compiler() -> None:
    """Raises MioError, naming the extra, where the TPU compiler is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        raise MioError("planning for a TPU pod needs the TPU compiler of the `tpu` extra: pip install -e '.[tpu]'")


def pod_devices(topology: Topology) -> list[jax.Device]:
    """Devices of a pod that is not there.

    Raises:
      MioError: no TPU compiler here, or a slice that it does not know.
    """
    require_compiler()
    os.environ |= COMPILER_ENVIRONMENT
    jax.config.update("jax_platforms", "cpu")  # an installed libtpu would else be asked for chips of this host
    options = SLICE_OPTIONS.get(topology.name.partition(":")[0], {})
    try:
        made = topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **options)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MioError(f"--topology {topology.name}: the TPU compiler does not give this slice: {reason}") from None
    devices = list(made.devices)
    if len(devices) != topology.devices:
        raise MioError(
            f"--topology {topology.name}: the TPU compiler gives {len(devices)} devices, the table of chips says "
            f"{topology.devices}; mio_jax/parallel/topologies.py does not fit this libtpu"
        )
    return devices


def compile_for(
    topology: Topology, mesh: Mesh, function: Any, *arguments: Any, static: dict[str, Any] | None = None
) -> Program:
    """Compiles a jitted function for abstract arguments that lie on `mesh` (made of `pod_devices`).

    Args:
      static: further keyword arguments of the function.

    Raises:
      DoesNotFit: the compiler refuses the program because it does not fit into memory.
      MioError: the compiler refuses it for another reason.
    """
    try:
        with jax.set_mesh(mesh):
            compiled = function.lower(*arguments, **static or {}).compile()
    except jax.errors.JaxRuntimeError as error:
        raise _refused(str(error), topology) from None
    return read(compiled, topology, mesh.size)


def _refused(message: str, topology: Topology) -> MioError:
    own = topology.chip.devices
    size = r"([\d.]+)([KMGT]?)"
    for form in (rf"Used {size} of {size} hbm", rf"HLO temporaries \({size}\) exceeds available HBM \({size}\)"):
        if told := re.search(form, message):
            unit = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
            used, limit = (int(own * float(told[i]) * unit[told[i + 1]]) for i in (1, 3))
            return DoesNotFit(topology, used, limit)
    first = next((line.strip() for line in message.splitlines() if line.strip()), "no reason given")
    return MioError(f"the TPU compiler refuses this program for {topology.name}: {first[:400]}")


def read(compiled: Any, topology: Topology, devices: int) -> Program:
    """What a compiled program needs of one chip."""
    chip, own = topology.chip, topology.chip.devices
    memory = compiled.memory_analysis()
    told = compiled.cost_analysis() or {}
    rates = Rates(chip.compiler_flops, chip.compiler_bandwidth, chip.kernel_share * chip.compiler_flops)
    counted: Cost = cost(parse(compiled.as_text()), rates, devices)
    optimal = _optimal_seconds(told, counted)
    # The compiler's figure covers more than products and traffic, so its size is kept and only the loops are corrected.
    seconds = optimal * counted.seconds / counted.seconds_once if optimal else counted.seconds
    in_kernels = sum(k.seconds for k in counted.kernels.values())
    sent = sum(t.bytes for t in counted.collectives.values())
    return Program(
        arguments=own * memory.argument_size_in_bytes,
        outputs=own * memory.output_size_in_bytes,
        aliased=own * memory.alias_size_in_bytes,
        temporary=own * memory.temp_size_in_bytes,
        code=own * memory.generated_code_size_in_bytes,
        flops=own * (counted.flops + sum(k.flops for k in counted.kernels.values())),
        compiler_flops=own * float(told.get("flops", 0.0)),
        compiler_seconds=optimal,
        seconds=seconds + in_kernels,
        kernel_seconds=in_kernels,
        exchange_seconds=own * sent / chip.links,
        blocking_seconds=own * counted.synchronous_bytes / chip.links,
        hbm_bytes=own * counted.bytes,
        collectives={k: Traffic(t.count, own * t.bytes) for k, t in sorted(counted.collectives.items())},
        kernels={name: Kernel(k.count, own * k.flops, k.seconds) for name, k in sorted(counted.kernels.items())},
        unknown=dict(counted.unknown),
    )


def _optimal_seconds(told: dict[str, Any], counted: Cost) -> float | None:
    """The compiler's own estimate, bodies of loops once, kernels left out; None where it gives none.

    Its sum holds -1 s for every instruction that it cannot judge. These are given back; what is left is believed only
    if it is near the sum by its rule. Of kernels it holds the memory traffic, which is taken out.
    """
    optimal = told.get("optimal_seconds")
    if optimal is None:
        return None
    given = float(optimal) + counted.unjudged - counted.kernel_traffic_once
    near = counted.seconds_once / 2 < given < 2 * counted.seconds_once
    mended = counted.unjudged or counted.kernels
    return given if given > 0 and (near or not mended) else None
