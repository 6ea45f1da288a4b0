"""Cross-entropy against a large vocabulary without the logits of a whole batch.

The gradient is computed in the forward pass, block by block while a block's logits are at hand: the summed loss has one
scalar cotangent, so the backward pass only scales what is there. Logits are made once and never kept.

Shape letters: B rows, T tokens of a row, W tokens of a row in one block, D model width, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import constrain, platform

# Float32 logits held at once on each device, where the caller leaves the block size open: large enough to keep a device
# busy. On a CPU they should stay in the cache; but every block reads the table and adds to its gradient, so that blocks
# of fewer tokens than twice the table's width would move more of the table than of the logits.
LOGITS_BYTES = 256 << 20
CACHE_BYTES = 8 << 20


class Blocks(NamedTuple):
    """What one loss needs, T cut into blocks of W (padded to a multiple); `used` blocks hold all that has weight."""

    hidden: jax.Array  # [B, blocks * W, D]
    targets: jax.Array  # int32 [B, blocks * W]
    weights: jax.Array  # float32 [B, blocks * W]
    used: jax.Array  # int32 scalar


def tokens_per_block(vocab_size: int, dim: int) -> int:
    """How many tokens (over all devices of the mesh in force) may have their logits in memory together."""
    mesh = jax.sharding.get_abstract_mesh()
    devices = 1 if mesh.empty else mesh.size
    tokens = LOGITS_BYTES // (4 * vocab_size)
    if platform() == "cpu":
        tokens = min(tokens, max(CACHE_BYTES // (4 * vocab_size), 2 * dim))
    return max(1, devices * tokens)


def count_blocks(rows: int, length: int, vocab_size: int, dim: int, block_size: int | None = None) -> int:
    """How many blocks rows of `length` tokens are cut into, on the mesh in force; the table is [vocab_size, dim]."""
    most = max(1, (block_size or tokens_per_block(vocab_size, dim)) // rows)
    return -(-length // most)


def blocked_cross_entropy(
    hidden: jax.Array,
    table: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    *,
    z_loss: float = 0.0,
    block_size: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Sum over tokens of weight * (logsumexp(logits) - logits[target] + z_loss * logsumexp(logits)^2).

    Rows are cut along T, so that a batch sharded over devices stays where it is. Within each row, tokens without weight
    are moved behind the others, and blocks that then hold nothing but them are not computed.

    Args:
      hidden: [B, T, D]. table: [V, D], logits = hidden . table. The loss is differentiated by these two only.
      targets: int32 [B, T] in [0, V). weights: float32 [B, T].
      block_size: tokens a block; None: what fits a fixed amount of memory.

    Returns:
      The sum, a float32 scalar, and what each token contributed to it, float32 [B, T], which carries no gradient.
    """
    if block_size is not None and block_size < 1:
        raise MioError(f"block_size of the cross-entropy is {block_size}; it must be positive")
    rows, length, _ = hidden.shape
    vocab_size, dim = table.shape
    width = -(-length // count_blocks(rows, length, vocab_size, dim, block_size))
    table = constrain(table, "vocab", None)  # gathered once, not once a block
    total, losses = _summed(hidden, table, targets, jax.lax.stop_gradient(weights), z_loss, width)
    return total, jax.lax.stop_gradient(losses)


def _cut(hidden: jax.Array, targets: jax.Array, weights: jax.Array, width: int) -> tuple[Blocks, jax.Array]:
    """The blocks, and for each token of a row its place in them, int32 [B, T]."""
    length = weights.shape[1]
    bare = weights == 0.0
    order = jnp.argsort(bare, axis=1, stable=True)
    place = jnp.argsort(order, axis=1)

    def cut(x: jax.Array) -> jax.Array:
        sorted_x = jnp.take_along_axis(x, order.reshape(order.shape + (1,) * (x.ndim - 2)), axis=1)
        return jnp.pad(sorted_x, ((0, 0), (0, -length % width)) + ((0, 0),) * (x.ndim - 2))

    longest = (~bare).sum(axis=1).max()
    return Blocks(cut(hidden), cut(targets), cut(weights), -(-longest // width)), place


def _block_loss(
    hidden: jax.Array, table: jax.Array, targets: jax.Array, z_loss: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits [B, W, V], logsumexp [B, W] and unweighted losses [B, W] of one block."""
    logits = jnp.einsum("bwd,vd->bwv", hidden, table, preferred_element_type=jnp.float32)
    logits = constrain(logits, "batch", None, "vocab")
    lse = jax.nn.logsumexp(logits, axis=-1)
    losses = lse - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return logits, lse, (losses + z_loss * lse**2 if z_loss else losses)


def _block_gradients(
    logits: jax.Array,
    lse: jax.Array,
    hidden: jax.Array,
    table: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    z_loss: float,
) -> tuple[jax.Array, jax.Array]:
    """Of the block's weighted sum: to hidden [B, W, D] in its dtype, to the transposed table, float32 [D, V]."""
    scale = weights * (1.0 + 2.0 * z_loss * lse) if z_loss else weights
    hit = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2) == targets[..., None]
    d = jnp.exp(logits - lse[..., None]) * scale[..., None] - jnp.where(hit, weights[..., None], 0.0)
    d = d.astype(hidden.dtype)
    to_hidden = jnp.einsum("bwv,vd->bwd", d, table)
    # [D, V] rather than [V, D]: XLA transposes the first operand, and the narrow one is the cheap one to transpose.
    to_table = jnp.einsum("bwd,bwv->dv", hidden, d, preferred_element_type=jnp.float32)
    return to_hidden.astype(hidden.dtype), constrain(to_table, None, "vocab")


def _loop(
    hidden: jax.Array,
    table: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    z_loss: float,
    width: int,
    gradients: bool,
) -> tuple[jax.Array, ...]:
    """Weighted losses [B, T] and, if asked for, the gradients of their sum, [B, T, D] and [V, D]."""
    _, length, dim = hidden.shape
    if width == length:
        logits, lse, losses = _block_loss(hidden, table, targets, z_loss)
        if not gradients:
            return (weights * losses,)
        d_hidden, d_table = _block_gradients(logits, lse, hidden, table, targets, weights, z_loss)
        return weights * losses, d_hidden, jax.lax.optimization_barrier(d_table).T
    blocks, place = _cut(hidden, targets, weights, width)

    def body(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        at = i * width
        h, t, w = (jax.lax.dynamic_slice_in_dim(x, at, width, axis=1) for x in blocks[:3])
        logits, lse, losses = _block_loss(h, table, t, z_loss)

        def put(x: jax.Array, new: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(x, new, at, axis=1)

        if not gradients:
            return (put(carry[0], w * losses),)
        d_hidden, d_table = _block_gradients(logits, lse, h, table, t, w, z_loss)
        return put(carry[0], w * losses), put(carry[1], d_hidden), carry[2] + d_table

    start: tuple[jax.Array, ...] = (jnp.zeros(blocks.weights.shape, jnp.float32),)
    if gradients:
        start += (jnp.zeros_like(blocks.hidden), jnp.zeros((dim, table.shape[0]), jnp.float32))
    most = blocks.weights.shape[1] // width  # a bound that a reader of the compiled program can see (`mio plan`)

    def more(state: tuple[jax.Array, tuple[jax.Array, ...]]) -> jax.Array:
        return (state[0] < blocks.used) & (state[0] < most)

    def turn(state: tuple[jax.Array, tuple[jax.Array, ...]]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        return state[0] + 1, body(*state)

    _, done = jax.lax.while_loop(more, turn, (jnp.zeros((), jnp.int32), start))
    losses = jnp.take_along_axis(done[0], place, axis=1)
    if not gradients:
        return (losses,)
    return losses, jnp.take_along_axis(done[1], place[..., None], axis=1), jax.lax.optimization_barrier(done[2]).T


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _summed(
    hidden: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float, width: int
) -> tuple[jax.Array, jax.Array]:
    (losses,) = _loop(hidden, table, targets, weights, z_loss, width, gradients=False)
    return losses.sum(), losses


def _forward(
    hidden: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float, width: int
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
    losses, d_hidden, d_table = _loop(hidden, table, targets, weights, z_loss, width, gradients=True)
    return (losses.sum(), losses), (d_hidden, d_table.astype(table.dtype), targets, weights)


def _backward(
    z_loss: float, width: int, kept: tuple[jax.Array, ...], g: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array | np.ndarray, ...]:
    d_hidden, d_table, targets, weights = kept
    return (
        (g[0] * d_hidden).astype(d_hidden.dtype),
        (g[0] * d_table).astype(d_table.dtype),
        np.zeros(targets.shape, jax.dtypes.float0),
        jnp.zeros_like(weights),  # the caller has cut their gradient off
    )


_summed.defvjp(_forward, _backward)
