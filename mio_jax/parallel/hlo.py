"""A compiled program's text (HLO) as data: computations, instructions, arrays, and how often each one runs.

The compiler's own cost analysis counts the body of a loop once. Here loops are followed, with their trip counts read
from their conditions, so that what lies inside a scan over layers is counted as often as it runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mio_jax.errors import MioError

BITS = {"pred": 8, "bf16": 16, "token": 0, "opaque": 0}  # others carry their size in their name: f32, s8, u4, f8e4m3fn
_NAME = r"%?([\w.\-]+)"
_ARRAY = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_HEADER = re.compile(rf"^(ENTRY )?{_NAME} \(.*\{{$")
_START = re.compile(rf"^\s+(ROOT )?{_NAME} = ")
_CALLED = re.compile(rf"(?:calls|to_apply|true_computation|false_computation)={_NAME}")
_BRANCHES = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")


@dataclass(frozen=True)
class Array:
    """One array of a result. `space` is the memory that it lies in: 0 is the device's main memory (HBM)."""

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        return -(-self.size * bits(self.dtype) // 8)


@dataclass(frozen=True)
class Instruction:
    """`name = result opcode(operands), attributes`; `literal` is what stands between the brackets of a constant."""

    name: str
    result: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    literal: str = ""
    root: bool = False

    def calls(self) -> tuple[str, ...]:
        """Computations that it names, those of a loop excepted."""
        names = _CALLED.findall(self.attributes)
        for group in _BRANCHES.findall(self.attributes):
            names += [part.strip().lstrip("%") for part in group.split(",")]
        return tuple(names)

    def loop(self) -> tuple[str, str]:
        """(condition, body) of a while loop."""
        found = re.search(rf"condition={_NAME}, body={_NAME}", self.attributes)
        if not found:
            raise MioError(f"compiled program: the loop {self.name} names no condition and body")
        return found[1], found[2]


Computation = dict[str, Instruction]  # in the order of the text


@dataclass
class Module:
    """A whole program. `dynamic_trips`: how often loops run whose count depends on data."""

    computations: dict[str, Computation] = field(default_factory=dict)
    entry: str = ""
    dynamic_trips: int = 1

    def executed(self) -> Iterator[tuple[float, Computation, Instruction]]:
        """Every instruction that runs by itself (not inside a fusion), with how often it runs, and its computation."""
        yield from self._walk(self.entry, 1.0)

    def _walk(self, name: str, times: float) -> Iterator[tuple[float, Computation, Instruction]]:
        computation = self.computations[name]
        for instruction in computation.values():
            if instruction.opcode == "while":
                yield from self._walk(instruction.loop()[1], times * self.trips(computation, instruction))
            elif instruction.opcode in ("call", "conditional"):
                for called in instruction.calls():
                    yield from self._walk(called, times)
            else:
                yield times, computation, instruction

    def trips(self, computation: Computation, loop: Instruction) -> int:
        """How often a loop runs: the constant that its counter is compared with, else `dynamic_trips`."""
        known = re.search(r'known_trip_count"?[=:]\{"?n"?[=:]"?(\d+)', loop.attributes)
        if known:
            return int(known[1])
        bound = self._bound(self.computations[loop.loop()[0]], {})
        if isinstance(bound, str):  # the condition reads it from the loop's state: look at what the state begins with
            source = computation[loop.operands[0]]
            if source.opcode != "tuple" or not bound.isdigit():
                return self.dynamic_trips
            value = computation.get(source.operands[int(bound)])
            while value is not None and value.opcode in ("copy", "bitcast", "convert"):
                value = computation.get(value.operands[0])
            if value is None or value.opcode != "constant":
                return self.dynamic_trips
            return int(value.literal)
        return bound

    def _bound(self, condition: Computation, arguments: dict[int, int | str]) -> int | str:
        """What the root `counter < bound` compares with: a number, or the index in the loop's state, or `?`."""
        root = next(i for i in condition.values() if i.root)

        def value(name: str) -> int | str:
            i = condition[name]
            if i.opcode == "constant" and re.fullmatch(r"-?\d+", i.literal):
                return int(i.literal)
            if i.opcode == "parameter" and int(i.literal) in arguments:
                return arguments[int(i.literal)]
            if i.opcode == "get-tuple-element":
                index = re.search(r"index=(\d+)", i.attributes)
                return index[1] if index else "?"
            return value(i.operands[0]) if i.opcode in ("bitcast", "copy") else "?"

        def bound(name: str) -> int | str:
            """Of a condition; of two that must both hold, the number that can be read: the loop may stop before it."""
            i = condition[name]
            if i.opcode == "fusion":
                inner = {n: value(operand) for n, operand in enumerate(i.operands)}
                return self._bound(self.computations[i.calls()[0]], inner)
            if i.opcode == "and":
                found = [bound(operand) for operand in i.operands]
                numbers = [one for one in found if isinstance(one, int)]
                return min(numbers) if numbers else found[0]
            if i.opcode in ("bitcast", "copy"):
                return bound(i.operands[0])
            if i.opcode != "compare" or "direction=LT" not in i.attributes:
                return "?"
            return value(i.operands[1])

        return bound(root.name)


def bits(dtype: str) -> int:
    """Bits of one element. Raises MioError on a type that says nothing of its size."""
    if dtype in BITS:
        return BITS[dtype]
    found = re.match(r"(?:f|s|u|c)(\d+)", dtype)
    if not found:
        raise MioError(f"compiled program: element type {dtype!r} has no known size")
    return int(found[1])


def arrays(text: str) -> tuple[Array, ...]:
    """The arrays of a type: `f32[2,3]{1,0:T(8,128)S(1)}`, or a tuple of such."""
    out = []
    for dtype, dims, layout in _ARRAY.findall(text):
        space = re.search(r"S\((\d+)\)", layout)
        out.append(Array(dtype, tuple(map(int, filter(None, dims.split(",")))), int(space[1]) if space else 0))
    return tuple(out)


def parse(text: str, dynamic_trips: int = 1) -> Module:
    """Reads the text of a compiled program. Raises MioError if it has no entry computation."""
    module = Module(dynamic_trips=dynamic_trips)
    current: Computation | None = None
    for line in _lines(text):
        header = _HEADER.match(line) if not line.startswith(" ") else None
        if header:
            current = module.computations[header[2]] = {}
            if header[1]:
                module.entry = header[2]
        elif line.startswith("}"):
            current = None
        elif current is not None and (start := _START.match(line)):
            instruction = _instruction(start[2], bool(start[1]), line[start.end() :])
            current[instruction.name] = instruction
    if not module.entry:
        raise MioError("compiled program: the text has no entry computation")
    return module


def _lines(text: str) -> Iterator[str]:
    """Lines; an instruction that a kernel's metadata breaks off goes on until its braces close."""
    pending = ""
    for line in text.splitlines():
        line, pending = pending + line, ""
        broken = _START.match(line) and (line.endswith("{") or "kernel_metadata={" in line)
        if broken and line.count("{") > line.count("}"):
            pending = line
        else:
            yield line


def _instruction(name: str, root: bool, text: str) -> Instruction:
    """From what stands behind `name = `."""
    stop = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    result, rest = text[:stop], text[stop:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    inside = rest[opening + 1 : closing]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, arrays(result), rest[:opening], operands, rest[closing + 1 :], inside.strip(), root)


def _closing(text: str, opening: int) -> int:
    """Where the bracket that opens at `opening` is closed."""
    depth = 0
    for i in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    raise MioError(f"compiled program: a bracket is not closed in {text[:80]!r}")
