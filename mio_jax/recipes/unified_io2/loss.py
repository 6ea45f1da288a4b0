"""Unified-IO 2's objective: the sum over target modalities of each one's mean cross-entropy (paper section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mio_jax.objectives.cross_entropy import blocked_cross_entropy
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.targets import Said, Wanted


def loss(
    model: UnifiedIO2, batch: dict[str, jax.Array], *, z_loss: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Every modality counts the same, however few of a batch's tokens are of it.

    Returns:
      The sum of the means, a float32 scalar, and sums to add over micro-batches: `weight`, which is 1 (the loss of
      several micro-batches is the mean of theirs), and for each modality `loss/NAME` and `weight/NAME`.
    """
    hidden, said = model.hidden(batch)
    return summed_means(model, hidden, said, z_loss=z_loss)


def summed_means(
    model: UnifiedIO2, hidden: dict[str, jax.Array], said: Mapping[str, Said | Wanted], *, z_loss: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The same from states by modality, [B, T, D] each: also for rows that were packed in the trunk, as they are."""
    total, sums = jnp.zeros((), jnp.float32), {"weight": jnp.ones((), jnp.float32)}
    for name, states in hidden.items():
        table, weights = model.table(name), said[name].weights
        summed, _ = blocked_cross_entropy(
            model.before_logits(states), table, said[name].targets, weights, z_loss=z_loss
        )
        weight = weights.sum()
        total = total + summed / jnp.maximum(weight, 1.0)
        sums |= {f"loss/{name}": jax.lax.stop_gradient(summed), f"weight/{name}": weight}
    return total, sums
