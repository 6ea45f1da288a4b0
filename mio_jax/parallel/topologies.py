"""What is known of accelerators: arithmetic, memory and links of each kind, and the names of TPU pods.

Rates are the published ones, per chip: dense bfloat16 products, HBM, and all links to other chips together, one way.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mio_jax.errors import MioError

GIB = 2**30
TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Chip:
    """One TPU chip.

    Attributes:
      flops: published peak of bfloat16 products, FLOP/s. hbm: bytes. bandwidth, links: bytes/s.
      dims: of its pods' tori. devices: JAX devices of one chip.
      device_kind: as JAX calls them.
      compiler_flops, compiler_bandwidth: of one device, as the TPU compiler of libtpu 0.0.42 takes them in its
        estimates (read off its figures for a product of 8192 x 8192 matrices and for an addition).
      kernel_share: of `compiler_flops`, what attention kernels are taken to reach. An assumption and no measurement:
        half of what heads of 128 can fill of the matrix unit, which is 128 wide, and 256 from v6e on.
    """

    flops: float
    hbm: int
    bandwidth: float
    links: float
    dims: int
    devices: int
    device_kind: str
    compiler_flops: float
    compiler_bandwidth: float
    kernel_share: float


CHIPS: dict[str, Chip] = {
    "v4": Chip(275e12, 32 * GIB, 1228e9, 270e9, 3, 1, "TPU v4", 274e12, 982e9, 0.5),
    "v5e": Chip(197e12, 16 * GIB, 819e9, 180e9, 2, 1, "TPU v5 lite", 197e12, 737e9, 0.5),
    "v5p": Chip(459e12, 95 * GIB, 2765e9, 540e9, 3, 1, "TPU v5", 394e12, 2350e9, 0.5),
    "v6e": Chip(918e12, 32 * GIB, 1640e9, 360e9, 2, 1, "TPU v6 lite", 918e12, 1638e9, 0.25),
    "tpu7x": Chip(2307e12, 192 * GIB, 7380e9, 600e9, 3, 2, "TPU7x", 996e12, 3686e9, 0.25),
}

# bfloat16 products of one JAX device, FLOP/s; the first name that the device kind begins with counts.
_GPU_PEAKS = {
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H800": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA A800": 312e12,
}


@dataclass(frozen=True)
class Topology:
    """A pod, or a slice of one: `name` as the compiler takes it (`v5p:4x4x8`), and how many chips it has."""

    name: str
    chip: Chip
    chips: int

    @property
    def devices(self) -> int:
        return self.chips * self.chip.devices


def topology(name: str) -> Topology:
    """Reads `KIND:AxBxC`. Raises MioError with the kinds, or the form that this kind's slices have."""
    kind, _, shape = name.partition(":")
    if kind not in CHIPS:
        raise MioError(f"--topology {name}: no TPU is called {kind!r}; there are: {', '.join(CHIPS)} (e.g. v5p:4x4x8)")
    chip = CHIPS[kind]
    example = "x".join(["4"] * chip.dims)
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape) or shape.count("x") != chip.dims - 1:
        raise MioError(f"--topology {name}: a slice of {kind} has {chip.dims} sides: write {kind}:{example}")
    return Topology(name, chip, math.prod(map(int, shape.split("x"))))


def peak_flops(device_kind: str) -> float | None:
    """Published bfloat16 FLOP/s of one JAX device of this kind; None where it is not known."""
    for chip in CHIPS.values():
        if device_kind in (chip.device_kind, chip.device_kind + "p"):  # v5p calls itself "TPU v5" or "TPU v5p"
            return chip.flops / chip.devices
    return next((peak for name, peak in _GPU_PEAKS.items() if device_kind.startswith(name)), None)
