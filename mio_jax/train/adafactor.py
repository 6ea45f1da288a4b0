"""Adafactor (Shazeer and Stern, 2018) with T5X's semantics.

optax.adafactor gives T5X's numbers only for parameters of two dimensions or fewer: it factors over the two largest
dimensions and takes its means over whole arrays. T5X factors [embed, heads, kv] as the matrix embed x (heads kv), and
treats a stack of layers as so many parameters: each layer has its own scale, and its own clipping. The statistics are
therefore kept here; momentum and decay are optax's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mio_jax.config import AdafactorConfig
from mio_jax.nn.base import LAYERS, Axes
from mio_jax.train.trees import Path, Sides, flatten, matrix_sides, unflatten, within_layer


class FactoredState(NamedTuple):
    """Second moments: means of squared gradients.

    Attributes:
      updates: int32 scalar, how many so far.
      v_row, v_col: nested dicts with the factored parameters only, float32, the parameter's shape without its columns
        and without its rows.
      v: nested dict with the other parameters, float32.
    """

    updates: jax.Array
    v_row: dict[Any, Any]
    v_col: dict[Any, Any]
    v: dict[Any, Any]


def factored_sides(axes: Axes, shape: tuple[int, ...], smallest: int) -> Sides | None:
    """(rows, columns) of a factored parameter, as T5X decides; None: its second moments are kept whole.

    A parameter of two dimensions is factored if both have at least `smallest` places, its columns being the larger. One
    with more dimensions, or with layers stacked, is factored by its axes: rows are "embed", whatever its size.
    """
    if len(shape) == 2 and LAYERS not in axes:
        small, large = (int(i) for i in np.argsort(shape))
        return Sides((small,), (large,)) if shape[small] >= smallest else None
    sides = matrix_sides(axes)
    if sides is not None and [axes[i] for i in sides.outputs] == ["embed"]:
        return Sides(sides.outputs, sides.inputs)
    return sides


def dropped_dims(field: str, axes: Axes, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions of a parameter that its moment in `field` of `FactoredState` lacks: how to lay it on a mesh."""
    if field not in ("v_row", "v_col"):
        return ()
    sides = factored_sides(axes, shape, smallest=0)
    assert sides is not None, (axes, shape)  # it would have no such moment
    return sides.outputs if field == "v_row" else sides.inputs


def scale_by_adafactor(config: AdafactorConfig, axes: dict[str, Any]) -> optax.GradientTransformation:
    """Gradients -> updates: divided by their factored RMS, clipped, and scaled by the parameter's RMS.

    Args:
      axes: nested dict like the parameters, of logical axis names.
    """
    axes_of = flatten(axes)

    def sides(path: Path, param: Any) -> Sides | None:
        return factored_sides(axes_of[path], param.shape, config.min_dim_size_to_factor)

    def init(params: Any) -> FactoredState:
        row, col, whole = {}, {}, {}
        for path, param in flatten(params).items():
            split = sides(path, param)
            if split is None:
                whole[path] = jnp.zeros(param.shape, jnp.float32)
            else:
                row[path] = jnp.zeros(_without(param.shape, split.outputs), jnp.float32)
                col[path] = jnp.zeros(_without(param.shape, split.inputs), jnp.float32)
        return FactoredState(jnp.zeros([], jnp.int32), unflatten(row), unflatten(col), unflatten(whole))

    def update(gradients: Any, state: FactoredState, params: Any = None) -> tuple[Any, FactoredState]:
        decay = 1.0 - (state.updates.astype(jnp.float32) + 1.0) ** -config.decay_rate
        old_row, old_col, old_whole = flatten(state.v_row), flatten(state.v_col), flatten(state.v)
        row, col, whole, updates = {}, {}, {}, {}
        param_at = flatten(params)
        for path, gradient in flatten(gradients).items():
            param, split = param_at[path], sides(path, param_at[path])
            g = gradient.astype(jnp.float32)
            square = g * g + config.eps1
            if split is None:
                whole[path] = decay * old_whole[path] + (1.0 - decay) * square
                y = g * whole[path] ** -0.5
            else:
                rows, columns = split
                row[path] = decay * old_row[path] + (1.0 - decay) * square.mean(columns)
                col[path] = decay * old_col[path] + (1.0 - decay) * square.mean(rows)
                rows_of_row = tuple(d - sum(c < d for c in columns) for d in rows)  # where the rows are in v_row
                share = row[path] / row[path].mean(rows_of_row, keepdims=True)
                y = g * jnp.expand_dims(share**-0.5, columns) * jnp.expand_dims(col[path] ** -0.5, rows)
            layer = within_layer(axes_of[path])
            if config.clipping_threshold:
                y /= jnp.maximum(1.0, _rms(y, layer) / config.clipping_threshold)
            if config.multiply_by_parameter_scale:
                y *= jnp.maximum(_rms(param, layer), config.eps2)
            updates[path] = y
        count = optax.safe_increment(state.updates)
        return unflatten(updates), FactoredState(count, unflatten(row), unflatten(col), unflatten(whole))

    return optax.GradientTransformation(init, update)


def keep_where_nan(inner: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """T5X's `skip_nan_updates`: every element of a parameter or of the state that would become NaN stays as it was.

    In training the guard (`optim.guard`) comes before it and skips the whole step; this is for parity with T5X alone.
    """

    def update(gradients: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        updates, new = inner.update(gradients, state, params, **extra)
        new = jax.tree.map(lambda a, b: jnp.where(jnp.isnan(b), a, b), state, new)
        return jax.tree.map(lambda u: jnp.where(jnp.isnan(u), 0.0, u), updates), new

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _without(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for i, size in enumerate(shape) if i not in dims)


def _rms(x: jax.Array, dims: tuple[int, ...]) -> jax.Array:
    return jnp.sqrt(jnp.mean(x * x, axis=dims, keepdims=True))
