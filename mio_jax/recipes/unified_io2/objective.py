"""The loss of a training batch, whose rows hold several examples each (`row_arrays.Rows`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_jax.recipes.unified_io2.inputs import Batch
from mio_jax.recipes.unified_io2.loss import loss as loss_of_examples
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.packed import PackedShape, packed_loss


def loss(model: UnifiedIO2, batch: Batch, *, z_loss: float = 0.0) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`loss.loss` of arrays [rows, examples, ...], whose trunk runs on packed rows as long as `rows/inputs` and
    `rows/targets` [rows, tokens]; without these, of arrays [examples, ...] as they are."""
    if "rows/inputs" not in batch:
        return loss_of_examples(model, batch, z_loss=z_loss)
    media = {name: value for name, value in batch.items() if name.startswith(("inputs/", "targets/"))}
    rows, slots = next(iter(media.values())).shape[:2]
    examples = {name: value.reshape(rows * slots, *value.shape[2:]) for name, value in media.items()}
    # Every row is a group of its own: rows on different devices exchange nothing. Blanks have no tokens to pack.
    shape = PackedShape(rows, batch["rows/inputs"].shape[1], batch["rows/targets"].shape[1], groups=rows)
    owner = jnp.repeat(jnp.arange(rows, dtype=jnp.int32), slots)
    return packed_loss(model, examples, owner, shape, z_loss=z_loss)
