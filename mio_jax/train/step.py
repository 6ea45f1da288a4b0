"""One optimizer step: loss, gradient, update; one jitted function with its state donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mio_jax.parallel import replicated, rules_in_force
from mio_jax.train.offload import fetch
from mio_jax.train.state import Plan, State, shardings_of

# (model, batch) -> (summed loss, sums: "weight" and, per modality, "loss/NAME" and "weight/NAME")
Loss = Callable[[Any, dict[str, jax.Array]], tuple[jax.Array, dict[str, jax.Array]]]
Step = Callable[[State, dict[str, jax.Array], jax.Array], tuple[State, dict[str, jax.Array]]]


def make_step(plan: Plan, optimizer: optax.GradientTransformation, loss: Loss, abstract: State) -> Step:
    """Builds `step(state, batch, learning_rate) -> (state, metrics)`; `state` is donated.

    The loss is a sum and the gradient is divided once by the total weight, which stays exact when a batch is cut into
    micro-batches. Metrics are float32 scalars: `loss` and `loss/NAME` (means), `weight`, `weight/NAME`, `grad_norm`
    (before clipping).
    """

    def step(state: State, batch: dict[str, jax.Array], rate: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        def summed(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            return loss(plan.model(params), batch)

        with rules_in_force(plan.rules):  # in force while this is traced
            (total, sums), gradient = jax.value_and_grad(summed, has_aux=True)(state["params"])
        gradient = jax.tree.map(lambda g: (g / _at_least_some(sums["weight"])).astype(g.dtype), gradient)
        resting = fetch(state["opt_state"], abstract["opt_state"])
        updates, opt_state = optimizer.update(gradient, resting, state["params"])
        params = jax.tree.map(lambda p, u: (p - rate * u).astype(p.dtype), state["params"], updates)
        metrics = {"loss": total / _at_least_some(sums["weight"]), "grad_norm": optax.tree_utils.tree_norm(gradient)}
        for name, value in sums.items():
            kind, _, modality = name.partition("/")
            metrics[name] = value / _at_least_some(sums[f"weight/{modality}"]) if kind == "loss" else value
        return {"params": params, "opt_state": opt_state}, metrics

    out = (shardings_of(abstract), replicated(plan.mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out)


def _at_least_some(weight: jax.Array) -> jax.Array:
    """A divisor that leaves 0 / 0 at 0: a batch may hold no supervised token of a modality, or none at all."""
    return jnp.where(weight > 0, weight, 1.0)
