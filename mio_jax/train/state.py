"""What a run holds on its devices: parameters and optimizer state, each array born where it will live."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import DictKey, KeyPath, keystr, tree_map_with_path

from mio_jax.config import LoraConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, axes_of, init_params, split_model, to_pure_dict
from mio_jax.parallel import RULES, Rules, pad_to, place_params, replicated, strip_to
from mio_jax.train.adafactor import dropped_dims
from mio_jax.train.guard import new_guard
from mio_jax.train.lora import KEY, Lora, find_kernels
from mio_jax.train.optimizer import Optimizer
from mio_jax.train.trees import Path, flatten

# {"params": nested dict of arrays, "opt_state": what optax made of it}; and where the config asks for them "ema"
# (nested dict of what is trained) and "guard" (scalars, see mio_jax.train.guard).
State = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A model laid out on a mesh, before any memory is taken.

    Attributes:
      build: makes the model from a PRNG key.
      graphdef: its static structure.
      params: nested dict of `jax.ShapeDtypeStruct` with shardings, as the arrays lie on the mesh: padded where the
        rules say so.
      axes: nested dict of logical axis names.
      shapes: nested dict of `jax.ShapeDtypeStruct` as the model knows them.
      rules: the table by which all this was decided.
      lora: its low-rank adapters, or None; with them `build` and `graphdef` are of the adapted model.
    """

    mesh: Mesh
    build: Callable[[jax.Array], Any]
    graphdef: Any
    params: Any
    axes: Any
    shapes: Any
    rules: Rules
    lora: Lora | None = None

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.shapes))

    @property
    def padding(self) -> dict[int, int]:
        """Sizes of padded dimensions, each with the size that the model knows."""
        pairs = zip(jax.tree.leaves(self.params), jax.tree.leaves(self.shapes), strict=True)
        return {a: b for on_mesh, own in pairs for a, b in zip(on_mesh.shape, own.shape, strict=True) if a != b}

    def model(self, params: Any) -> Any:
        """The model around arrays as they lie on the mesh; call it where a function is traced."""
        stripped = strip_to(params, self.shapes)
        return apply(self.graphdef, self.lora.together(stripped) if self.lora else stripped)

    def place(self, path: tuple[str, ...], value: np.ndarray) -> jax.Array:
        """A whole parameter from the host, padded and split; for `import_params` of a recipe's checkpoint module."""
        own, on_mesh = self.shapes, self.params
        for name in path:
            own, on_mesh = own[name], on_mesh[name]
        if value.shape != own.shape:
            raise MioError(f"parameter {'/'.join(path)} is {value.shape}; this model's is {own.shape}")
        whole = pad_to(value.astype(on_mesh.dtype), on_mesh)
        return jax.make_array_from_callback(on_mesh.shape, on_mesh.sharding, lambda index: whole[index])


def plan_model(
    build: Callable[[jax.Array], Any],
    mesh: Mesh,
    rules: Rules = RULES,
    param_dtype: str = "float32",
    lora: LoraConfig | None = None,
) -> Plan:
    """Lays the model that `build` makes on `mesh`, its float32 parameters in `param_dtype`, and adapters in float32.

    Raises:
      MioError: names a parameter that does not fit the rules, or a pattern of `lora` that matches nothing.
    """
    graphdef, abstract = split_model(build)
    adapters = find_kernels(lora, axes_of(abstract)) if lora else None
    if adapters:
        build = adapters.adapted(build)
        graphdef, abstract = split_model(build)

    def cast(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, jnp.dtype(param_dtype) if x.dtype == jnp.float32 else x.dtype)

    axes, whole = axes_of(abstract), to_pure_dict(abstract)
    if adapters:
        axes, whole = adapters.apart(axes), adapters.apart(whole)
    shapes = {name: part if name == KEY else jax.tree.map(cast, part) for name, part in whole.items()}
    return Plan(mesh, build, graphdef, place_params(axes, shapes, mesh, rules), axes, shapes, rules, adapters)


def shardings_of(abstract: Any) -> Any:
    """The shardings of a tree of arrays or abstract arrays."""
    return jax.tree.map(lambda x: x.sharding, abstract)


def new_params(plan: Plan, seed: int) -> Any:
    """Freshly drawn parameters, made sharded: no device ever holds all of a parameter that the mesh splits."""
    return maker(plan)(jax.random.key(seed))


def drawn_params(plan: Plan, key: jax.Array) -> Any:
    """New parameters as the model draws them, neither cast nor padded."""
    params = init_params(plan.build, key)
    return plan.lora.apart(params) if plan.lora else params


def maker(plan: Plan) -> Any:
    """The jitted function from a key to new parameters, sharded and padded."""

    def make(key: jax.Array) -> Any:
        params = jax.tree.map(lambda x, s: x.astype(s.dtype), drawn_params(plan, key), plan.shapes)
        return pad_to(params, plan.params)

    return jax.jit(make, out_shardings=shardings_of(plan.params))


def abstract_state(plan: Plan, optimizer: Optimizer) -> State:
    """Shapes and shardings of a train state: moments lie like their parameters, counters are replicated.

    A moment that lacks some dimensions of its parameter (Adafactor's) lies like the parameter along the others.
    """
    whole = replicated(plan.mesh)
    params, axes = flatten(plan.params), flatten(plan.axes)

    def place(keys: KeyPath, leaf: Any) -> jax.ShapeDtypeStruct:
        path = _parameter_path(keys)
        if path not in params:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole)
        param, field = params[path], keys[-len(path) - 1]
        dropped = dropped_dims(getattr(field, "name", ""), axes[path], param.shape)
        if leaf.shape != tuple(size for i, size in enumerate(param.shape) if i not in dropped):
            raise MioError(
                f"optimizer state {keystr(keys)} has shape {leaf.shape}, its parameter {param.shape}: state.py has no "
                "rule that says how it lies on a mesh"
            )
        spec = [*param.sharding.spec, *[None] * (len(param.shape) - len(param.sharding.spec))]
        kept = PartitionSpec(*(split for i, split in enumerate(spec) if i not in dropped))
        sharding = param.sharding if not dropped else NamedSharding(plan.mesh, kept)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    opt_state = tree_map_with_path(place, jax.eval_shape(optimizer.init, plan.params))
    state = {"params": plan.params, "opt_state": opt_state}
    if optimizer.optim.ema_decay:
        state["ema"] = optimizer.trainable(plan.params)
    if optimizer.optim.guard.skips:
        guard = jax.eval_shape(new_guard)
        state["guard"] = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), guard)
    return state


def _parameter_path(keys: KeyPath) -> Path:
    """The dictionary keys at the end of a path into optimizer state: trees like the parameters are in fields."""
    fields = [i for i, key in enumerate(keys) if not isinstance(key, DictKey)]
    return tuple(key.key for key in keys[fields[-1] + 1 if fields else 0 :])


def new_state(params: Any, optimizer: Optimizer, abstract: State) -> State:
    """A train state around `params` with a fresh optimizer; the moving average begins at them."""

    def make(params: Any) -> State:
        made = {"opt_state": optimizer.init(params), "guard": new_guard()}
        made["ema"] = jax.tree.map(jnp.copy, optimizer.trainable(params))
        return {name: made[name] for name in abstract if name != "params"}

    shardings = shardings_of({name: part for name, part in abstract.items() if name != "params"})
    return {"params": params, **jax.jit(make, out_shardings=shardings)(params)}
