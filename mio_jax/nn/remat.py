"""Rematerialisation by name: what the backward pass finds kept, and what it computes again.

Layers mark what is worth keeping with `jax.ad_checkpoint.checkpoint_name`: "projections" (what the matrix products of
a block make of its input: queries, keys, values, the merged heads, the two halves of a gated feed-forward) and
"attention" (its output, with the logsumexp where the backend keeps one).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

ATTENTION, PROJECTIONS = "attention", "projections"
_named = jax.checkpoint_policies.save_only_these_names
_offloaded = jax.checkpoint_policies.save_and_offload_only_these_names


def _offload(*names: str) -> Callable[..., Any]:
    return _offloaded(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=list(names),
        offload_src="device",
        offload_dst="pinned_host",
    )


# By `model.remat`; None: no rematerialisation, everything is kept. The last five have JAX's own names.
REMAT_POLICIES: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "save_attention": _named(ATTENTION),
    "save_projections": _named(ATTENTION, PROJECTIONS),
    "offload_attention": _offload(ATTENTION),
    "offload_projections": _offload(ATTENTION, PROJECTIONS),
    "everything_saveable": jax.checkpoint_policies.everything_saveable,
    "nothing_saveable": jax.checkpoint_policies.nothing_saveable,
    "dots_saveable": jax.checkpoint_policies.dots_saveable,
    "dots_with_no_batch_dims_saveable": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "offload_dots_with_no_batch_dims": jax.checkpoint_policies.offload_dot_with_no_batch_dims("device", "pinned_host"),
}


def remat(body: Callable[..., Any], policy: str) -> Callable[..., Any]:
    """The body of a scan over layers, rematerialised by the policy of this name (a key of `REMAT_POLICIES`)."""
    chosen = REMAT_POLICIES[policy]
    if chosen is None:
        return body
    return jax.checkpoint(body, policy=chosen, prevent_cse=False)  # within a scan nothing is merged anyway
