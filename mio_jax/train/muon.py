"""Muon (Jordan et al., 2024): momentum made orthogonal, for the hidden matrices of a model."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from mio_jax.config import MuonConfig
from mio_jax.nn.base import Axes
from mio_jax.train.trees import flatten, map_paths, matrix_sides, unflatten


def is_hidden_matrix(axes: Axes) -> bool:
    """Whether Muon may have a parameter: a matrix that is neither an embedding table nor an output head."""
    return "vocab" not in axes and matrix_sides(axes) is not None


def hidden_matrices(config: MuonConfig, axes: dict[str, Any]) -> optax.GradientTransformation:
    """Updates of `is_hidden_matrix` parameters, which are all that `axes` has.

    Every layer of a stack is made orthogonal by itself, as the matrix of its inputs (all heads together) and outputs.
    """
    dimensions = unflatten({path: _dimensions(names) for path, names in flatten(axes).items()})
    orthogonal = scale_by_muon(
        beta=config.beta,
        ns_steps=config.ns_steps,
        nesterov=config.nesterov,
        weight_dimension_numbers=dimensions,
    )

    def scale(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def scaled(path: Any, update: jax.Array, numbers: MuonDimensionNumbers) -> jax.Array:
            inputs = math.prod(update.shape[i] for i in numbers.reduction_axis)
            outputs = math.prod(update.shape[i] for i in numbers.output_axis)
            # An orthogonal matrix has an RMS of 1 / sqrt(its longer side).
            rms = config.update_rms * max(inputs, outputs) ** 0.5
            return (rms or max(1.0, outputs / inputs) ** 0.5) * update

        return map_paths(scaled, updates, dimensions), state

    return optax.chain(orthogonal, optax.GradientTransformation(lambda params: optax.EmptyState(), scale))


def _dimensions(names: Axes) -> MuonDimensionNumbers:
    sides = matrix_sides(names)
    assert sides is not None, names
    return MuonDimensionNumbers(sides.inputs, sides.outputs)
