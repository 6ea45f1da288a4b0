"""Zeros behind dimensions that a mesh does not divide: added when a parameter is placed, taken off before a model.

A model never sees them. The step cuts them off inside the compiled program, where the partitioner splits the odd
dimension as the padded one was split, so that nothing moves; there is no logit, and so no probability, for a row that
does not exist, and the gradient of the cut leaves zeros zero.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def pad_to(tree: Any, shapes: Any) -> Any:
    """Arrays (NumPy's or JAX's) filled up with zeros to the shapes of the leaves of `shapes`."""

    def pad(x: Any, like: Any) -> Any:
        if x.shape == like.shape:
            return x
        pad_array = np.pad if isinstance(x, np.ndarray) else jnp.pad
        return pad_array(x, [(0, b - a) for a, b in zip(x.shape, like.shape, strict=True)])

    return jax.tree.map(pad, tree, shapes)


def strip_to(tree: Any, shapes: Any) -> Any:
    """Arrays cut down to the shapes of the leaves of `shapes`: the inverse of `pad_to`."""

    def strip(x: Any, like: Any) -> Any:
        return x if x.shape == like.shape else x[tuple(slice(n) for n in like.shape)]

    return jax.tree.map(strip, tree, shapes)
