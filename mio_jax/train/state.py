"""What a run holds on its devices: parameters and optimizer state, each array born where it will live."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from mio_jax.nn.base import axes_of, init_params, split_model, to_pure_dict
from mio_jax.parallel import param_shardings, replicated

State = dict[str, Any]  # {"params": nested dict of arrays, "opt_state": what optax made of it}


@dataclass(frozen=True)
class Plan:
    """A model laid out on a mesh, before any memory is taken.

    Attributes:
      build: makes the model from a PRNG key.
      graphdef: its static structure.
      params: nested dict of `jax.ShapeDtypeStruct` with shardings.
      axes: nested dict of logical axis names.
    """

    mesh: Mesh
    build: Callable[[jax.Array], Any]
    graphdef: Any
    params: Any
    axes: Any

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.params))


def plan_model(build: Callable[[jax.Array], Any], mesh: Mesh) -> Plan:
    """Lays the model that `build` makes on `mesh`. Raises MioError naming a parameter that does not fit the rules."""
    graphdef, abstract = split_model(build)
    axes, shapes = axes_of(abstract), to_pure_dict(abstract)
    shardings = param_shardings(axes, shapes, mesh)
    params = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)
    return Plan(mesh, build, graphdef, params, axes)


def shardings_of(abstract: Any) -> Any:
    """The shardings of a tree of arrays or abstract arrays."""
    return jax.tree.map(lambda x: x.sharding, abstract)


def new_params(plan: Plan, seed: int) -> Any:
    """Freshly drawn parameters, made sharded: no device ever holds all of a parameter that the mesh splits."""
    make = jax.jit(lambda key: init_params(plan.build, key), out_shardings=shardings_of(plan.params))
    return make(jax.random.key(seed))


def abstract_state(plan: Plan, optimizer: optax.GradientTransformation) -> State:
    """Shapes and shardings of a train state: moments lie like their parameters, counters are replicated."""
    shapes = jax.eval_shape(optimizer.init, plan.params)
    whole = replicated(plan.mesh)

    def place(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    opt_state = optax.tree_utils.tree_map_params(
        optimizer,
        lambda leaf, param: place(leaf, param.sharding),
        shapes,
        plan.params,
        transform_non_params=lambda leaf: place(leaf, whole),
    )
    return {"params": plan.params, "opt_state": opt_state}


def new_state(params: Any, optimizer: optax.GradientTransformation, abstract: State) -> State:
    """A train state around `params` with a fresh optimizer."""
    make = jax.jit(optimizer.init, out_shardings=shardings_of(abstract["opt_state"]))
    return {"params": params, "opt_state": make(params)}
