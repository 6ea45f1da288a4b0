"""MIO's objective: causal modelling of every modality with one cross-entropy."""

from __future__ import annotations

import jax

from mio_jax.objectives.causal import causal_loss
from mio_jax.protocols import Model

MODALITIES = ("text", "image", "audio")


def loss(model: Model, batch: dict[str, jax.Array], *, z_loss: float = 0.0) -> tuple[jax.Array, dict[str, jax.Array]]:
    """See `mio_jax.objectives.causal.causal_loss`."""
    return causal_loss(model, batch, modalities=MODALITIES, z_loss=z_loss)
