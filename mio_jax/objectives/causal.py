"""Causal multimodal modelling: predict the next token, whatever its modality, within one packed example."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.objectives.cross_entropy import blocked_cross_entropy


def next_token_targets(batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Targets int32 [B, T] and their weights float32 [B, T]: position t predicts tokens[t + 1].

    `loss_weights[t]` of the batch is the weight of tokens[t] as a target. The first token of an example, padding, and
    what lies beyond the row are no one's target: the weight there is 0.
    """

    def following(x: jax.Array) -> jax.Array:
        return jnp.concatenate([x[:, 1:], jnp.zeros_like(x[:, :1])], axis=1)

    segments = batch["segment_ids"]
    within = (following(segments) == segments) & (segments != 0)
    return following(batch["tokens"]), jnp.where(within, following(batch["loss_weights"]), 0.0)


def causal_loss(
    model: Any,
    batch: dict[str, jax.Array],
    *,
    modalities: tuple[str, ...],
    z_loss: float = 0.0,
    block_size: int | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted sum of next-token losses.

    Args:
      model: a `mio_jax.protocols.Model`.
      batch: int32 [B, T] `tokens`, `positions`, `segment_ids` (0 is padding), `modality_ids` (index into
        `modalities`), float32 [B, T] `loss_weights`.

    Returns:
      The sum, a float32 scalar, and sums to be added over micro-batches and devices before dividing: `weight`, and for
      each modality of the target `loss/NAME` and `weight/NAME`.
    """
    targets, weights = next_token_targets(batch)
    hidden = model.hidden(batch["tokens"], batch["positions"], batch["segment_ids"])
    total, losses = blocked_cross_entropy(
        hidden, model.output_table(), targets, weights, z_loss=z_loss, block_size=block_size
    )
    modality = jnp.roll(batch["modality_ids"], -1, axis=1)  # of the target; what is rolled in has weight 0
    sums = {"weight": weights.sum()}
    for i, name in enumerate(modalities):
        sums[f"loss/{name}"] = jnp.where(modality == i, losses, 0.0).sum()
        sums[f"weight/{name}"] = jnp.where(modality == i, weights, 0.0).sum()
    return total, sums
