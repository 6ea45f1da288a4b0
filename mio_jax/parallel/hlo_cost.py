"""What a compiled program costs: products, memory traffic, the time that these take at best, and its collectives.

The time follows the rule of the compiler's own estimate (`optimal_seconds`): every instruction takes the longer of its
arithmetic at full rate and its traffic at full bandwidth, and nothing overlaps with anything else.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mio_jax.parallel.hlo import Array, Computation, Instruction, Module
from mio_jax.parallel.hlo_kernels import Kernel, kernel_flops

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
# They name values without touching memory, or their work is counted where it is started.
FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"),
    *("copy-done", "async-done", "async-update", "optimization-barrier", "opt-barrier", "send-done", "recv-done"),
    "domain",
)
COPIES = {"copy-start": 0, "slice-start": 1}  # which array of the result is the copy; beside it stands its source
NO_WORK = ("AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast")  # they only tell the compiler something
UNJUDGED = "ConcatBitcast"  # the compiler's own sum holds -1 s for every one of these


@dataclass(frozen=True)
class Rates:
    """Of one device, as the compiler takes them: FLOP/s of matrix products, bytes/s of its memory.

    kernels: FLOP/s that hand-written kernels are taken to reach. Ours: the compiler does not look into them.
    """

    flops: float
    bandwidth: float
    kernels: float = math.inf


@dataclass
class Traffic:
    """Collectives of one kind: `count` runs; `bytes` that one device sends in all of them, by the ring algorithm."""

    count: float = 0.0
    bytes: float = 0.0


@dataclass
class Cost:
    """Of one device and one run of the program; loops counted as often as they run, and (`once`) a single time.

    flops: of matrix products. bytes: to and from HBM. seconds: see the module; like the compiler's, it takes every
    array to lie in HBM. FLOPs and seconds without kernels.
    kernels: hand-written kernels whose work is known, by name. unknown: custom calls whose work is not, by target.
    kernel_traffic_once: seconds of the kernels' memory traffic, which is all that the compiler counts of them.
    unjudged: instructions for each of which the compiler's own sum holds -1 s.
    """

    flops: float = 0.0
    flops_once: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0
    seconds_once: float = 0.0
    collectives: dict[str, Traffic] = field(default_factory=lambda: defaultdict(Traffic))
    synchronous_bytes: float = 0.0  # of collectives during which the device can do nothing else
    kernels: dict[str, Kernel] = field(default_factory=lambda: defaultdict(Kernel))
    unknown: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    kernel_traffic_once: float = 0.0
    unjudged: int = 0


def cost(module: Module, rates: Rates, devices: int) -> Cost:
    """Adds up everything that `module` executes on one of `devices`."""
    out = Cost()
    seen: dict[str, float] = {}
    for times, computation, instruction in module.executed():
        for kind, moved, synchronous in _collectives(module, instruction, devices):
            out.collectives[kind].count += times
            out.collectives[kind].bytes += times * moved
            out.synchronous_bytes += times * moved if synchronous else 0.0
        if instruction.opcode in FREE or instruction.opcode.endswith("-done"):
            continue
        if instruction.opcode == "custom-call":
            target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
            name = target[1] if target else instruction.name
            if name == UNJUDGED:
                out.unjudged += 1
            if name in NO_WORK:
                continue
            if found := kernel_flops(computation, instruction):
                own, flops = found
                moving = hbm_bytes(module, computation, instruction, spaces=None) / rates.bandwidth
                out.kernels[own].add(times, flops, max(flops / rates.kernels, moving))
                out.kernel_traffic_once += moving
                out.bytes += times * hbm_bytes(module, computation, instruction)
                continue
            out.unknown[name] += times
        key = f"{instruction.name} {instruction.calls()}"
        if key not in seen:
            seen[key] = product_flops(module, computation, instruction)
        flops = seen[key]
        traffic = 0.0 if is_collective(instruction) else hbm_bytes(module, computation, instruction)
        everywhere = 0.0 if is_collective(instruction) else hbm_bytes(module, computation, instruction, spaces=None)
        seconds = max(flops / rates.flops, everywhere / rates.bandwidth)
        out.flops += times * flops
        out.flops_once += flops
        out.bytes += times * traffic
        out.seconds += times * seconds
        out.seconds_once += seconds
    return out


# ---------------------------------------------------------------------------------------------- products


def product_flops(module: Module, computation: Computation, instruction: Instruction) -> float:
    """FLOPs (a multiplication and an addition are two) of the matrix products in an instruction and what it calls."""
    if instruction.opcode == "convolution":
        return _convolution_flops(computation, instruction)
    if instruction.opcode == "dot":
        lhs = computation[instruction.operands[0]].result[0]
        found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
        depth = math.prod(lhs.dims[int(d)] for d in found[1].split(",") if d) if found else 1
        return 2.0 * instruction.result[0].size * depth
    if instruction.opcode not in ("fusion", "async-start", "call"):
        return 0.0
    called = [module.computations[name] for name in instruction.calls() if name in module.computations]
    return sum(product_flops(module, inner, i) for inner in called for i in inner.values())


def _convolution_flops(computation: Computation, instruction: Instruction) -> float:
    """Padding and the holes of a dilated operand, with which a TPU writes batched products, are no work."""
    lhs, rhs = (computation[name].result[0] for name in instruction.operands[:2])
    out = instruction.result[0]
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    if labels is None:
        return 0.0
    left, right, result = labels.groups()
    window = _window(instruction.attributes)
    products = 2.0 * lhs.dims[left.index("b")] * rhs.dims[right.index("o")] * rhs.dims[right.index("i")]
    groups = re.search(r"batch_group_count=(\d+)", instruction.attributes)
    products /= int(groups[1]) if groups else 1
    for i in range(len(left) - 2):
        at = str(i)
        axis = {name: values[i] for name, values in window.items()}
        products *= _valid_pairs(lhs.dims[left.index(at)], out.dims[result.index(at)], **axis)
    return products


def _window(attributes: str) -> dict[str, list[int]]:
    """Window settings by spatial dimension."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    parts = dict(part.split("=") for part in found[1].split()) if found else {}
    size = [int(n) for n in parts.get("size", "").split("x") if n]
    ones = "x".join(["1"] * len(size))
    out = {"size": size}
    for ours, theirs in (("stride", "stride"), ("base", "lhs_dilate"), ("hole", "rhs_dilate")):
        out[ours] = [int(n) for n in parts.get(theirs, ones).split("x") if n]
    out["pad"] = [
        int(pair.split("_")[0]) for pair in parts.get("pad", "x".join(["0_0"] * len(size))).split("x") if pair
    ]
    return out


def _valid_pairs(have: int, outputs: int, *, size: int, stride: int, base: int, hole: int, pad: int) -> int:
    """Pairs of an output and a window place that meet an element, in one spatial dimension."""
    at = np.arange(outputs)[:, None] * stride + np.arange(size)[None] * hole - pad
    return int(((at >= 0) & (at <= (have - 1) * base) & (at % base == 0)).sum())


# ---------------------------------------------------------------------------------------------- memory traffic


def hbm_bytes(
    module: Module, computation: Computation, instruction: Instruction, spaces: tuple[int, ...] | None = (0,)
) -> float:
    """Bytes that an instruction reads from and writes to HBM (`spaces` None: to any memory); of a sliced operand only
    the slice."""

    def counts(array: Array) -> bool:
        return spaces is None or array.space in spaces

    if instruction.opcode in COPIES:
        copy = instruction.result[COPIES[instruction.opcode]]
        return float(sum(copy.bytes for side in (computation[instruction.operands[0]].result[0], copy) if counts(side)))
    read: list[float] = []
    sources = [computation[name] for name in instruction.operands if name in computation]
    inner = None
    if instruction.opcode == "fusion":
        inner = module.computations[instruction.calls()[0]]
    for n, source in enumerate(sources):
        arrays = [a for a in source.result if counts(a)]
        whole = float(sum(a.bytes for a in arrays))
        if inner is not None and len(source.result) == 1 and arrays:
            read.append(_used_bytes(module, inner, n, whole))
        elif instruction.opcode in ("dynamic-slice", "slice", "gather") and n == 0:
            read.append(float(sum(a.bytes for a in instruction.result)))
        elif instruction.opcode == "dynamic-update-slice" and n == 0:
            read.append(0.0)
        else:
            read.append(whole)
    parts = _written(instruction, computation, inner)
    return sum(read) + sum(part.bytes for part, whole in zip(parts, instruction.result, strict=True) if counts(whole))


def _users(inner: Computation, name: str) -> Iterator[tuple[Instruction, int]]:
    for i in inner.values():
        for n, operand in enumerate(i.operands):
            if operand == name:
                yield i, n


def _used_bytes(module: Module, inner: Computation, number: int, whole: float) -> float:
    """How much of parameter `number` a fusion reads: slices, where it takes nothing else of it."""
    start = next((i for i in inner.values() if i.opcode == "parameter" and i.literal == str(number)), None)
    if start is None:
        return whole
    used, names = 0.0, [start.name]
    while names:
        for user, place in _users(inner, names.pop()):
            if user.opcode in ("bitcast", "reshape"):
                names.append(user.name)
            elif user.opcode in ("dynamic-slice", "slice", "gather") and place == 0:
                used += sum(a.bytes for a in user.result)
            elif user.opcode == "dynamic-update-slice" and place == 0:
                continue  # overwritten in place
            elif user.opcode == "fusion":
                used += _used_bytes(module, module.computations[user.calls()[0]], place, whole)
            else:
                return whole
    return min(used, whole)


def _written(instruction: Instruction, computation: Computation, inner: Computation | None) -> tuple[Array, ...]:
    """What is written of each array of the result: of one that is updated in place, the update alone."""
    if inner is None:
        if instruction.opcode == "dynamic-update-slice":
            return computation[instruction.operands[1]].result
        return instruction.result
    root = next(i for i in inner.values() if i.root)
    ends = [inner[name] for name in root.operands] if root.opcode == "tuple" else [root]
    if len(ends) != len(instruction.result):  # an array that is a tuple itself
        return instruction.result
    return tuple(_update(inner, end) or whole for end, whole in zip(ends, instruction.result, strict=True))


def _update(inner: Computation, end: Instruction) -> Array | None:
    """What a dynamic-update-slice behind an output of a fusion writes; None for everything else."""
    while end.opcode in ("bitcast", "reshape", "copy"):
        end = inner[end.operands[0]]
    return inner[end.operands[1]].result[0] if end.opcode == "dynamic-update-slice" else None


# ---------------------------------------------------------------------------------------------- collectives


def is_collective(instruction: Instruction) -> bool:
    return instruction.opcode.removesuffix("-start") in COLLECTIVES


def _collectives(module: Module, instruction: Instruction, devices: int) -> Iterator[tuple[str, float, bool]]:
    """(kind, bytes sent by one device, whether nothing else can run meanwhile) of the collectives in an instruction."""
    if is_collective(instruction):
        kind = instruction.opcode.removesuffix("-start")
        yield kind, _sent(kind, instruction, devices), not instruction.opcode.endswith("-start")
    elif instruction.opcode in ("fusion", "async-start"):
        for name in instruction.calls():
            for i in module.computations.get(name, {}).values():
                for kind, moved, _ in _collectives(module, i, devices):
                    scatter = "all-reduce-scatter" in name and kind == "all-reduce"
                    # An all-reduce of which each device keeps its part moves half as much.
                    yield (
                        "reduce-scatter" if scatter else kind,
                        moved / 2 if scatter else moved,
                        instruction.opcode == "fusion" and "async" not in instruction.name + name,
                    )


def _sent(kind: str, instruction: Instruction, devices: int) -> float:
    """Bytes that one device sends: of an array of S bytes (the larger side) in a group of n, S (n - 1) / n; an
    all-reduce sends it twice, a permutation once."""
    size = group_size(instruction.attributes, devices)
    arrays = instruction.result
    if instruction.opcode.endswith("-start"):  # its result holds the operand beside the outcome
        arrays = (max(arrays, key=lambda a: a.bytes),)
    total = float(sum(a.bytes for a in arrays))
    if kind == "collective-permute":
        return total
    if kind == "reduce-scatter":
        total *= size
    return total * (size - 1) / size * (2 if kind == "all-reduce" else 1)


def group_size(attributes: str, devices: int) -> int:
    """How many devices take part in one group of a collective.

    It is written as `replica_groups=[4,16]<=...`, `{{0,1},{2,3}}` or `mesh['axis_0'=4,'axis_1'=16] {'axis_1'}`.
    """
    named = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", attributes)
    if named:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", named[2]))
    compact = re.search(r"replica_groups=\[(\d+(?:,\d+)*)\]<=", attributes)
    if compact:
        return int(compact[1].split(",")[-1])
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", attributes)
    return len(listed[1].split(",")) if listed and listed[1] else devices
