"""What the table of axis rules (`config.mesh.rules`) means on a mesh. Only this package names mesh axes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mio_jax.config import AXIS_RULES, AxisRule, MeshConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import axis_rules, partition_spec

Rules = Mapping[str, AxisRule]  # by logical axis

RULES: Rules = {rule.axis: rule for rule in AXIS_RULES}


def rules_of(config: MeshConfig) -> Rules:
    """The table of a config: its own rules, and the defaults of the axes that it does not list."""
    return {**RULES, **{rule.axis: rule for rule in config.rules}}


def axis_table(rules: Rules = RULES) -> dict[str, tuple[str, ...]]:
    """The rules in the form that `mio_jax.nn.base.axis_rules` takes."""
    return {name: rule.mesh for name, rule in rules.items()}


def rules_in_force(rules: Rules = RULES) -> contextlib.AbstractContextManager[None]:
    """A context in which the layers' constraints follow `rules`; enter it where a function is traced."""
    return axis_rules(axis_table(rules), frozenset(name for name, rule in rules.items() if rule.pad))


def param_spec(
    name: str, axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh, rules: Rules = RULES
) -> tuple[PartitionSpec, tuple[int, ...]]:
    """How the parameter `name` lies on `mesh`: its split, and its shape there.

    Args:
      axes: names each dimension of `shape`.

    Returns:
      (spec, padded): `padded` is `shape`, except where a rule pads a dimension to what its mesh axes divide.

    Raises:
      MioError: a logical axis without a rule, or a dimension that its mesh axes do not divide and that may neither be
        padded nor replicated.
    """
    try:
        wanted = partition_spec(axes, axis_table(rules), mesh.shape)
    except MioError as error:
        raise MioError(f"parameter {name}: {error}") from None
    split: list[Any] = []
    padded: list[int] = []
    for axis, size, over in zip(axes, shape, wanted, strict=True):
        ways = ways_of(over, mesh)
        if size % ways == 0 or rules[str(axis)].pad:
            split.append(over)
            padded.append(-(-size // ways) * ways)
        elif rules[str(axis)].may_replicate:
            split.append(None)
            padded.append(size)
        else:
            names = mesh_axes(over)
            raise MioError(
                f"parameter {name}: its axis {axis!r} of {size} does not divide by {ways} devices of mesh axis "
                f"{' x '.join(names)}; choose a mesh.{names[-1]} that divides {size}, or allow copies of it with "
                f"mesh.rules.{axis}.may_replicate=true"
            )
    return PartitionSpec(*split), tuple(padded)


def mesh_axes(over: Any) -> tuple[str, ...]:
    """The mesh axes in one entry of a `PartitionSpec`."""
    return (over,) if isinstance(over, str) else tuple(over or ())


def ways_of(over: Any, mesh: Mesh) -> int:
    """How many parts one entry of a `PartitionSpec` makes."""
    return math.prod(mesh.shape[m] for m in mesh_axes(over))


def place_params(axes: Any, shapes: Any, mesh: Mesh, rules: Rules = RULES) -> Any:
    """What every parameter is on the mesh.

    Args:
      axes: nested dict of tuples of logical axis names (`mio_jax.nn.base.axes_of`).
      shapes: nested dict of the same structure whose leaves have `.shape` and `.dtype`.

    Returns:
      The same structure of `jax.ShapeDtypeStruct`, with the padded shapes and their `NamedSharding`.

    Raises:
      MioError: see `param_spec`; the message names the parameter.
    """

    def place(path: Any, leaf: Any, names: tuple[str | None, ...]) -> jax.ShapeDtypeStruct:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec, shape = param_spec(name, names, leaf.shape, mesh, rules)
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(place, shapes, axes)


def batch_sharding(mesh: Mesh, rows: int, length: int, rules: Rules = RULES) -> NamedSharding:
    """The sharding of a batch array [rows, length]. Raises MioError where the mesh does not divide it."""
    spec = partition_spec(("batch", "length"), axis_table(rules), mesh.shape)
    for what, size, over in zip(("rows of a batch", "data.length"), (rows, length), spec, strict=True):
        ways = ways_of(over, mesh)
        if size % ways:
            wide = [axis for axis in mesh_axes(over) if mesh.shape[axis] > 1]
            raise MioError(f"{what}: {size} does not divide by {ways} devices (mesh axis {' x '.join(wide)})")
    return NamedSharding(mesh, spec)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())
