"""Judging updates on the device: what is not finite, or a spike of the loss, is skipped and counted."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.config import GuardConfig

Guard = dict[str, jax.Array]
# float32 scalar `mean` (running mean of the losses that were not skipped), and int32 scalars `seen` (how many those
# are), `skipped` (all that were) and `in_a_row` (of those, the latest without a good one between).


def new_guard() -> Guard:
    """Nothing seen yet."""
    zero = jnp.zeros([], jnp.int32)
    return {"mean": jnp.zeros([], jnp.float32), "seen": zero, "skipped": zero, "in_a_row": zero}


def judge(guard: Guard, config: GuardConfig, loss: jax.Array, grad_norm: jax.Array) -> tuple[jax.Array, Guard]:
    """(whether this update is bad, the guard after it). `loss` (a mean) and `grad_norm` are float32 scalars."""
    bad = ~(jnp.isfinite(loss) & jnp.isfinite(grad_norm))
    if config.spike_factor:
        known = guard["seen"] >= config.spike_window
        bad |= known & (loss > config.spike_factor * guard["mean"])
    seen = guard["seen"] + 1
    mean = guard["mean"] + (loss - guard["mean"]) / jnp.minimum(seen, config.spike_window)
    count = bad.astype(jnp.int32)
    return bad, {
        "mean": jnp.where(bad, guard["mean"], mean),
        "seen": jnp.where(bad, guard["seen"], seen),
        "skipped": guard["skipped"] + count,
        "in_a_row": jnp.where(bad, guard["in_a_row"] + 1, 0),
    }


def keep_if(bad: jax.Array, old: Any, new: Any) -> Any:
    """`old` where the update is bad, `new` elsewhere; trees of arrays of the same shapes."""
    return jax.tree.map(lambda a, b: jnp.where(bad, a, b), old, new)
