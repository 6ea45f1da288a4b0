"""The optimizer of a stage, put together from optax's parts: AdamW, Adafactor or Muon, with parameter groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mio_jax.config import OptimConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import Axes
from mio_jax.train import lora
from mio_jax.train.adafactor import scale_by_adafactor
from mio_jax.train.groups import assign_groups
from mio_jax.train.muon import hidden_matrices, is_hidden_matrix
from mio_jax.train.schedule import learning_rate
from mio_jax.train.trees import Path, flatten, map_paths, name_of, pick, put, within_layer

__all__ = ["Optimizer", "decay_mask", "learning_rate", "make_optimizer"]


@dataclass(frozen=True)
class Optimizer:
    """What updates the parameters that are not frozen.

    Attributes:
      optim: the config that it was made from.
      axes: logical axis names, nested dict like the parameters.
      transformation: of the trainable part; its `update` takes `rate` and returns what is subtracted.
      trained: paths of that part, or None if it is everything.
      rows: path -> first row that is trained, of the tables of which only a part is. Their moments are as large as they
        are: the rows of one id lie on any device, and moments lie like their parameters.
    """

    optim: OptimConfig
    axes: dict[str, Any]
    transformation: optax.GradientTransformationExtraArgs
    trained: tuple[Path, ...] | None
    rows: dict[Path, int] = field(default_factory=dict)

    def of_rows(self, part: dict[str, Any]) -> dict[str, Any]:
        """A gradient or an update with zeros in the rows that are not trained; the same tree where all are.

        Raises MioError where a table ends before its first trained row.
        """
        if not self.rows:
            return part

        def zeroed(path: Path, value: jax.Array) -> jax.Array:
            first = self.rows.get(path, 0)
            if not first:
                return value
            if first >= value.shape[0]:
                raise MioError(f"optim.groups: from_row is {first}, and {name_of(path)} has {value.shape[0]} rows")
            return jnp.where(jnp.arange(value.shape[0])[:, None] < first, jnp.zeros((), value.dtype), value)

        return map_paths(zeroed, part)

    def trainable(self, params: dict[str, Any]) -> dict[str, Any]:
        """The part of the parameters that is trained: what gradients, optimizer state and moving average are like."""
        return params if self.trained is None else pick(params, self.trained)

    def merged(self, params: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
        """`params` with its trainable part replaced."""
        return part if self.trained is None else put(params, part)

    def init(self, params: dict[str, Any]) -> Any:
        """A fresh state for all the parameters of a model, of which frozen ones have none."""
        return self.transformation.init(self.trainable(params))

    def update(
        self, gradient: Any, state: Any, part: Any, rate: jax.Array | float, norm: jax.Array | None = None
    ) -> tuple[Any, Any]:
        """(what to subtract from the trainable `part`, new state) at learning rate `rate`, a float32 scalar.

        `gradient` is one of `of_rows`. `norm`: the global norm of `gradient`, where the caller has it already.
        """
        updates, state = self.transformation.update(gradient, state, part, rate=rate, norm=norm)
        return self.of_rows(updates), state  # weight decay and momentum reach every row


def decay_mask(axes: Any) -> Any:
    """True for the parameters that weight decay touches: matrices, embedding tables included, and nothing else.

    A matrix has at least two logical axes besides "layers"; norm scales and biases have one. Rank alone would be wrong:
    the norm scales of a stack of layers are a matrix too.
    """

    def is_matrix(names: Axes) -> bool:
        return len(within_layer(names)) >= 2

    return jax.tree.map(is_matrix, axes, is_leaf=lambda x: isinstance(x, tuple))


def make_optimizer(optim: OptimConfig, axes: dict[str, Any]) -> Optimizer:
    """The optimizer that `optim` describes, for parameters with these logical axes.

    Gradients are clipped by the global norm of all that is trained (`clip_norm` 0: not), then go to the optimizer,
    whose updates are scaled by the learning rate and the group's factor. Of a model with adapters, the parameters that
    no group names are frozen, the adapters apart.

    Raises:
      MioError: a group that matches no parameter, rows of what is no table, or nothing left to train.
    """
    groups = assign_groups((*optim.groups, *lora.GROUPS) if lora.KEY in axes else optim.groups, axes)
    rows = {path: group.from_row for path, group in groups.items() if group.from_row}
    if rows and optim.optimizer == "adafactor":
        raise MioError(
            "optim.groups: from_row and adafactor, whose clipping and scale are of whole tables; use adamw or muon"
        )
    frozen = any(group.frozen for group in groups.values())
    trained = tuple(path for path, group in groups.items() if not group.frozen) if frozen else None
    own = pick(axes, trained) if trained is not None else axes
    rates = {path: group.rate for path, group in groups.items()}
    clip = [clip_to(optim.clip_norm)] if optim.clip_norm > 0 else []
    if optim.optimizer == "adafactor":
        transformation = _adafactor(optim, own, clip, rates)
    else:
        adam = optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=optim.eps)
        update = adam if optim.optimizer == "adamw" else _muon(optim, own, adam)
        decay = optax.add_decayed_weights(optim.weight_decay, mask=decay_mask(own))
        transformation = _at_rate(optax.chain(*clip, update, decay), rates)
    return Optimizer(optim, axes, transformation, trained, rows)


def clip_to(most: float) -> optax.GradientTransformationExtraArgs:
    """Scales updates down to a global norm of at most `most`; it adds nothing to the state.

    Like `optax.clip_by_global_norm`, but with one factor for all of them: a product by a number is made again by
    whoever reads it, where a quotient and a choice are written to memory first. `norm` is the updates' own, if known.
    """

    def update(
        updates: Any, state: Any, params: Any = None, *, norm: jax.Array | None = None, **extra: Any
    ) -> tuple[Any, Any]:
        del params, extra
        norm = optax.tree_utils.tree_norm(updates) if norm is None else norm
        factor = jnp.where(norm < most, 1.0, most / norm)
        return jax.tree.map(lambda u: (u * factor).astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _adafactor(
    optim: OptimConfig, axes: dict[str, Any], clip: list[optax.GradientTransformation], rates: dict[Path, float]
) -> optax.GradientTransformationExtraArgs:
    """Adafactor in T5X's order: its momentum is of updates at their learning rate, and its decay knows no rate."""
    config = optim.adafactor
    parts = [_at_rate(optax.chain(*clip, scale_by_adafactor(config, axes)), rates)]
    if config.beta1:
        parts.append(optax.ema(config.beta1, debias=False, accumulator_dtype=config.momentum_dtype))
    if config.weight_decay_rate:
        parts.append(optax.add_decayed_weights(config.weight_decay_rate))
    return optax.with_extra_args_support(optax.chain(*parts))


def _muon(optim: OptimConfig, axes: dict[str, Any], adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """Muon for hidden matrices and Adam for the rest; the state is {"muon": ..., "adam": ...}, each with its part."""
    flat = flatten(axes)
    parts = {
        "muon": tuple(path for path, names in flat.items() if is_hidden_matrix(names)),
        "adam": tuple(path for path, names in flat.items() if not is_hidden_matrix(names)),
    }
    by_name = {"muon": hidden_matrices(optim.muon, pick(axes, parts["muon"])), "adam": adam}

    def init(params: Any) -> dict[str, Any]:
        return {name: by_name[name].init(pick(params, paths)) for name, paths in parts.items()}

    def update(gradient: Any, state: dict[str, Any], params: Any = None) -> tuple[Any, dict[str, Any]]:
        updates, new = gradient, {}
        for name, paths in parts.items():
            part, new[name] = by_name[name].update(pick(gradient, paths), state[name])
            updates = put(updates, part)
        return updates, new

    return optax.GradientTransformation(init, update)


def _at_rate(inner: optax.GradientTransformation, factors: dict[Path, float]) -> optax.GradientTransformationExtraArgs:
    """`inner` times `rate` times each parameter's factor; it adds nothing to the state."""
    inner = optax.with_extra_args_support(inner)

    def update(
        gradient: Any, state: Any, params: Any = None, *, rate: jax.Array, norm: jax.Array | None = None
    ) -> tuple[Any, Any]:
        updates, state = inner.update(gradient, state, params, norm=norm)

        def scaled(path: Path, update: jax.Array) -> jax.Array:
            return (rate if factors[path] == 1.0 else rate * factors[path]) * update

        return map_paths(scaled, updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)
