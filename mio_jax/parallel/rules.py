"""The one table from logical axes to mesh axes. Only this package names mesh axes; models name logical ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mio_jax.errors import MioError
from mio_jax.nn.base import partition_spec


@dataclass(frozen=True)
class Rule:
    """Where a logical axis lies.

    `mesh`: the mesh axes that share it (none: replicated). `may_replicate`: a parameter whose dimension these do not
    divide is replicated along them; without it that is an error, because silence would cost memory unnoticed.
    """

    mesh: tuple[str, ...] = ()
    may_replicate: bool = False


RULES: Mapping[str, Rule] = {
    # activations
    "batch": Rule(("data", "fsdp")),
    "length": Rule(("seq",)),
    "act_embed": Rule(),
    # parameters
    "embed": Rule(("fsdp",)),  # gathered layer by layer inside the scan (ZeRO-3)
    "vocab": Rule(("tensor",)),
    "heads": Rule(("tensor",)),
    "kv_heads": Rule(("tensor",), may_replicate=True),  # grouped-query models have fewer of them than devices
    "mlp": Rule(("tensor",)),
    "kv": Rule(),
    "norm": Rule(),
    "layers": Rule(),
}


def axis_table(rules: Mapping[str, Rule] = RULES) -> dict[str, tuple[str, ...]]:
    """The rules in the form that `mio_jax.nn.base.axis_rules` takes."""
    return {name: rule.mesh for name, rule in rules.items()}


def param_spec(
    name: str, axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh, rules: Mapping[str, Rule] = RULES
) -> PartitionSpec:
    """How the parameter `name` is split: `axes` names each dimension of `shape`.

    Raises:
      MioError: a logical axis without a rule, or a dimension that its mesh axes do not divide and may not replicate.
    """
    try:
        wanted = partition_spec(axes, axis_table(rules), mesh.shape)
    except MioError as error:
        raise MioError(f"parameter {name}: {error}") from None
    out: list[Any] = []
    for axis, size, split in zip(axes, shape, wanted, strict=True):
        over = (split,) if isinstance(split, str) else tuple(split or ())
        ways = math.prod(mesh.shape[m] for m in over)
        if size % ways and not rules[str(axis)].may_replicate:
            raise MioError(
                f"parameter {name}: its axis {axis!r} of {size} does not divide by {ways} devices of mesh axis "
                f"{' x '.join(over)}; choose a mesh.{over[-1]} that divides {size}"
            )
        out.append(None if size % ways else split)
    return PartitionSpec(*out)


def param_shardings(axes: Any, shapes: Any, mesh: Mesh, rules: Mapping[str, Rule] = RULES) -> Any:
    """A `NamedSharding` for every parameter.

    Args:
      axes: nested dict of tuples of logical axis names (`mio_jax.nn.base.axes_of`).
      shapes: nested dict of the same structure whose leaves have `.shape`.

    Raises:
      MioError: see `param_spec`; the message names the parameter.
    """

    def sharding(path: Any, leaf: Any, names: tuple[str | None, ...]) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, param_spec(name, names, leaf.shape, mesh, rules))

    return jax.tree_util.tree_map_with_path(sharding, shapes, axes)


def batch_sharding(mesh: Mesh, rows: int, length: int, rules: Mapping[str, Rule] = RULES) -> NamedSharding:
    """The sharding of a batch array [rows, length]. Raises MioError where the mesh does not divide it."""
    spec = partition_spec(("batch", "length"), axis_table(rules), mesh.shape)
    for what, size, split in zip(("rows of a batch", "data.length"), (rows, length), spec, strict=True):
        over = (split,) if isinstance(split, str) else tuple(split or ())
        ways = math.prod(mesh.shape[m] for m in over)
        if size % ways:
            raise MioError(f"{what}: {size} does not divide by {ways} devices (mesh axis {' x '.join(over)})")
    return NamedSharding(mesh, spec)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())
