"""The subset of Flax NNX that this project uses, parameters with logical axis names, and the sharding hook.

Models are NNX modules in tree mode: plain pytrees made of constructors and methods. Outside a model the program holds
a static `graphdef` and a nested dict of arrays, so a change in Flax is mended in this file alone. Nothing here names
a mesh axis: layers name logical axes, and `axis_rules` says what they mean where there is a mesh.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from mio_jax.errors import MioError

nnx.set_graph_mode(False)  # tree mode: no shared references between modules,
nnx.set_graph_updates(False)  # and no state written behind the caller's back

Module = nnx.Module
Param = nnx.Param
List = nnx.List
split = nnx.split
merge = nnx.merge
state = nnx.state

Axes = tuple[str | None, ...]
Rules = Mapping[str, str | Sequence[str] | None]
Params = dict[str, Any]  # nested dict of arrays (or of abstract arrays)

LAYERS = "layers"  # the logical axis that stacking adds
TRUNCATED_STD = 0.87962566103423978  # of a standard normal cut off at two standard deviations

_rules: ContextVar[tuple[Rules, frozenset[str]] | None] = ContextVar("axis_rules", default=None)


def param(key: jax.Array, shape: tuple[int, ...], axes: Axes, scale: float, truncated: bool = False) -> Param:
    """A float32 parameter drawn from N(0, scale^2), with one logical axis name for each dimension.

    `truncated`: none is further than two standard deviations from 0 before they are rescaled to `scale`.
    """
    assert len(axes) == len(shape), (shape, axes)
    if truncated:
        unit = jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32) / TRUNCATED_STD
        return Param(scale * unit, axes=axes)
    return Param(scale * jax.random.normal(key, shape, jnp.float32), axes=axes)


def zeros(shape: tuple[int, ...], axes: Axes) -> Param:
    """A float32 parameter of zeros (biases)."""
    return Param(jnp.zeros(shape, jnp.float32), axes=axes)


def ones(shape: tuple[int, ...], axes: Axes) -> Param:
    """A float32 parameter of ones (norm scales)."""
    return Param(jnp.ones(shape, jnp.float32), axes=axes)


@contextlib.contextmanager
def axis_rules(rules: Rules, uneven: frozenset[str] = frozenset()) -> Iterator[None]:
    """Within it, `constrain` maps logical axes to mesh axes by `rules` (None or absent mesh axis: replicated).

    `uneven`: logical axes that are split even where their mesh axes do not divide them; the partitioner then pads.
    Constraints are taken when a function is traced, so a jitted function belongs to the rules of its first call.
    """
    token = _rules.set((rules, uneven))
    try:
        yield
    finally:
        _rules.reset(token)


def partition_spec(
    axes: Axes,
    rules: Rules,
    mesh_shape: Mapping[str, int],
    shape: tuple[int, ...] | None = None,
    uneven: frozenset[str] = frozenset(),
) -> PartitionSpec:
    """The `PartitionSpec` of logical `axes`.

    A mesh axis is used once (the first dimension that asks has it) and, where `shape` is given, only where the mesh
    axes divide the dimension or the axis may be `uneven`. Raises MioError on a logical axis that the rules do not name:
    silence would replicate it.
    """
    used: set[str] = set()
    out: list[str | tuple[str, ...] | None] = []
    for i, name in enumerate(axes):
        if name is not None and name not in rules:
            raise MioError(f"logical axis {name!r} has no sharding rule; the rules name {', '.join(sorted(rules))}")
        want = rules[name] if name is not None else None
        want = (want,) if isinstance(want, str) else tuple(want or ())
        got = tuple(m for m in want if m in mesh_shape and m not in used)
        if shape is not None and name not in uneven and shape[i] % math.prod(mesh_shape[m] for m in got):
            got = ()
        used.update(got)
        out.append(got[0] if len(got) == 1 else (got or None))
    return PartitionSpec(*out)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """`x` with its sharding constrained to logical `axes`; `x` itself where no mesh or no rules are in force."""
    spec = spec_in_force(axes, x.shape)
    return x if spec is None else jax.lax.with_sharding_constraint(x, spec)


def spec_in_force(axes: Axes, shape: tuple[int, ...]) -> PartitionSpec | None:
    """How the rules in force split an array of `shape`; None where no mesh or no rules are in force."""
    mesh, found = jax.sharding.get_abstract_mesh(), _rules.get()
    if found is None or mesh.empty:
        return None
    rules, uneven = found
    return partition_spec(axes, rules, mesh.shape, shape, uneven)


def platform() -> str:
    """ "cpu", "gpu" or "tpu": of the mesh in force, which may be one that this machine only compiles for."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    name = jax.default_backend() if device is None else device.platform
    return "gpu" if name in ("cuda", "rocm") else name


def is_variable(x: Any) -> bool:
    return isinstance(x, nnx.Variable)


def to_pure_dict(variables: Any) -> Params:
    """State of variables -> nested dict of what they hold."""
    return nnx.to_pure_dict(variables)


def split_model(build: Callable[[jax.Array], Module]) -> tuple[Any, Any]:
    """Shapes of a model without its memory.

    Args:
      build: makes the model from a PRNG key.

    Returns:
      (graphdef, abstract): the static structure, and the state whose variables hold `jax.ShapeDtypeStruct` and their
      axis names; see `to_pure_dict` and `axes_of`.
    """
    graphdef, abstract = nnx.split(jax.eval_shape(build, jax.random.key(0)))
    return graphdef, abstract


def init_params(build: Callable[[jax.Array], Module], key: jax.Array) -> Params:
    """The nested dict of arrays of a new model; call it under `jax.jit` with `out_shardings` to make it sharded."""
    return nnx.to_pure_dict(nnx.state(build(key)))


def params_of(model: Module) -> Params:
    """The nested dict of arrays of a model."""
    return nnx.to_pure_dict(nnx.state(model))


def apply(graphdef: Any, params: Params) -> Any:
    """The model of this structure around these arrays."""
    return nnx.merge(graphdef, params)


def axes_of(abstract: Any) -> dict[str, Any]:
    """Nested dict like the parameters, of logical axis names; dimensions that stacking added are named "layers"."""

    def axes(variable: Any) -> Axes:
        names: Axes = variable.get_metadata()["axes"]
        return (LAYERS,) * (len(variable.shape) - len(names)) + names

    return nnx.to_pure_dict(jax.tree.map(lambda v: v.replace(axes(v)), abstract, is_leaf=is_variable))
