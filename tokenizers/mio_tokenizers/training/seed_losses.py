"""Losses of SEED's two stages (specification section 7.6)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from mio_jax.nn.norms import unit_norm


def contrastive_loss(image: jax.Array, text: jax.Array, temperature: jax.Array, smoothing: float) -> jax.Array:
    """Each picture picks its text out of the batch and each text its picture; the mean of both directions.

    Args:
      image, text: float [batch, dim] of unit length; row i of both belong together.
      temperature: scalar that similarities are divided by.
      smoothing: share of the target that is spread over the whole batch.
    """
    scores = image @ text.T / temperature
    targets = optax.smooth_labels(jnp.eye(len(image)), smoothing)
    both = [optax.softmax_cross_entropy(s, targets) for s in (scores, scores.T)]
    return jnp.mean(jnp.stack(both))


def cosine_loss(made: jax.Array, target: jax.Array) -> jax.Array:
    """1 - the mean cosine of vectors along the last axis. Scalar."""
    return 1 - jnp.mean(jnp.sum(unit_norm(made) * unit_norm(target), axis=-1))


def distillation_loss(made: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference of two embeddings [batch, dim]. Scalar."""
    return jnp.mean((made - target) ** 2)
