"""Cross-entropy against a large vocabulary without the logits of a whole batch.

Shape letters: B rows, T tokens of a row, D model width, V vocabulary.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import constrain

LOGITS_BYTES = 128 << 20  # float32 logits held at once, on each device, where the caller leaves the block size open

Residuals = tuple[jax.Array, ...]


def tokens_per_block(vocab_size: int) -> int:
    """How many tokens (over all devices of the mesh in force) may have their logits in memory together."""
    mesh = jax.sharding.get_abstract_mesh()
    devices = 1 if mesh.empty else mesh.size
    return max(1, devices * LOGITS_BYTES // (4 * vocab_size))


def blocked_cross_entropy(
    hidden: jax.Array,
    table: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    *,
    z_loss: float = 0.0,
    block_size: int | None = None,
) -> jax.Array:
    """weights * (logsumexp(logits) - logits[target] + z_loss * logsumexp(logits)^2) of every token, float32 [B, T].

    Rows are cut along T, so that a batch sharded over devices stays where it is. One block's logits exist at a time:
    a single block keeps them for the gradient, several compute them again.

    Args:
      hidden: [B, T, D]. table: [V, D], logits = hidden . table.
      targets: int32 [B, T] in [0, V). weights: float32 [B, T].
      block_size: tokens a block; None: what `LOGITS_BYTES` allows.
    """
    if block_size is not None and block_size < 1:
        raise MioError(f"block_size of the cross-entropy is {block_size}; it must be positive")
    rows, length, _ = hidden.shape
    per_block = block_size or tokens_per_block(table.shape[0])
    blocks = -(-length // max(1, per_block // rows))
    width = -(-length // blocks)  # tokens of a row in one block; the last block is padded up to it
    blocks = -(-length // width)
    if blocks == 1:
        return _cross_entropy(hidden, table, targets, weights, z_loss)
    pad = blocks * width - length
    cut = lambda x: jnp.moveaxis(
        jnp.pad(x, ((0, 0), (0, pad)) + ((0, 0),) * (x.ndim - 2)).reshape(rows, blocks, width, *x.shape[2:]), 1, 0
    )
    losses = _scanned_cross_entropy(cut(hidden), table, cut(targets), cut(weights), z_loss)
    return jnp.moveaxis(losses, 0, 1).reshape(rows, blocks * width)[:, :length]


def _logits(hidden: jax.Array, table: jax.Array) -> jax.Array:
    logits = jnp.einsum("btd,vd->btv", hidden, table, preferred_element_type=jnp.float32)
    return constrain(logits, "batch", "length", "vocab")


def _losses(logits: jax.Array, targets: jax.Array, z_loss: float) -> tuple[jax.Array, jax.Array]:
    """Loss and logsumexp [B, T]."""
    lse = jax.nn.logsumexp(logits, axis=-1)
    loss = lse - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return (loss + z_loss * lse**2 if z_loss else loss), lse


def _gradients(
    logits: jax.Array, lse: jax.Array, hidden: jax.Array, table: jax.Array, targets: jax.Array, g: jax.Array, z_loss: float
) -> tuple[jax.Array, jax.Array]:
    """Gradients to hidden (its dtype) and table (float32), `g` [B, T] being that to the unweighted losses."""
    p_scale = g * (1.0 + 2.0 * z_loss * lse) if z_loss else g
    hit = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2) == targets[..., None]
    d = jnp.exp(logits - lse[..., None]) * p_scale[..., None] - jnp.where(hit, g[..., None], 0.0)
    d = d.astype(hidden.dtype)
    d_hidden = jnp.einsum("btv,vd->btd", d, table)
    d_table = jnp.einsum("btv,btd->vd", d, hidden, preferred_element_type=jnp.float32)
    return d_hidden.astype(hidden.dtype), d_table


def _no_gradient(x: jax.Array) -> np.ndarray:
    return np.zeros(x.shape, jax.dtypes.float0)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _cross_entropy(
    hidden: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float
) -> jax.Array:
    return weights * _losses(_logits(hidden, table), targets, z_loss)[0]


def _forward(
    hidden: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float
) -> tuple[jax.Array, Residuals]:
    logits = _logits(hidden, table)
    loss, lse = _losses(logits, targets, z_loss)
    return weights * loss, (logits, lse, loss, hidden, table, targets, weights)


def _backward(z_loss: float, kept: Residuals, g: jax.Array) -> tuple[jax.Array | np.ndarray, ...]:
    logits, lse, loss, hidden, table, targets, weights = kept
    d_hidden, d_table = _gradients(logits, lse, hidden, table, targets, g * weights, z_loss)
    return d_hidden, d_table.astype(table.dtype), _no_gradient(targets), g * loss


_cross_entropy.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scanned_cross_entropy(
    hidden: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float
) -> jax.Array:
    """The same with a leading axis of blocks on everything but the table."""
    return _scanned_forward(hidden, table, targets, weights, z_loss)[0]


def _scanned_forward(
    hidden: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float
) -> tuple[jax.Array, Residuals]:
    block = lambda _, x: (None, _losses(_logits(x[0], table), x[1], z_loss))
    _, (loss, lse) = jax.lax.scan(block, None, (hidden, targets))
    return weights * loss, (lse, loss, hidden, table, targets, weights)


def _scanned_backward(z_loss: float, kept: Residuals, g: jax.Array) -> tuple[jax.Array | np.ndarray, ...]:
    lse, loss, hidden, table, targets, weights = kept

    def block(d_table: jax.Array, x: Residuals) -> tuple[jax.Array, jax.Array]:
        h, e, t, d_loss = x
        d_hidden, d = _gradients(_logits(h, table), e, h, table, t, d_loss, z_loss)
        return d_table + d, d_hidden

    start = jnp.zeros(table.shape, jnp.float32)
    d_table, d_hidden = jax.lax.scan(block, start, (hidden, lse, targets, g * weights))
    return d_hidden, d_table.astype(table.dtype), _no_gradient(targets), g * loss


_scanned_cross_entropy.defvjp(_scanned_forward, _scanned_backward)
