"""One optimizer step: loss, gradient, update; one jitted function with its state donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mio_jax.parallel import compiler_options, replicated, rules_in_force
from mio_jax.train.accumulate import summed_gradient
from mio_jax.train.guard import judge, keep_if
from mio_jax.train.offload import fetch
from mio_jax.train.optimizer import Optimizer
from mio_jax.train.state import Plan, State, shardings_of

# (model, batch) -> (summed loss, sums: "weight" and, per modality, "loss/NAME" and "weight/NAME")
Loss = Callable[[Any, dict[str, jax.Array]], tuple[jax.Array, dict[str, jax.Array]]]
Step = Callable[[State, dict[str, jax.Array], jax.Array], tuple[State, dict[str, jax.Array]]]


def make_step(plan: Plan, optimizer: Optimizer, loss: Loss, abstract: State, micro_batches: int = 1) -> Step:
    """Builds `step(state, batch, learning_rate) -> (state, metrics)`; `state` is donated.

    The loss is a sum and the gradient is divided once by the total weight, which stays exact when a batch is cut into
    `micro_batches`. Metrics are float32 scalars: `loss` and `loss/NAME` (means), `weight`, `weight/NAME`, `grad_norm`
    (of what is trained, before clipping); and with a guard `skipped` and `in_a_row` (see `mio_jax.train.guard`).
    """
    optim = optimizer.optim

    def step(state: State, batch: dict[str, jax.Array], rate: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        def summed(part: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            return loss(plan.model(optimizer.merged(state["params"], part)), batch)

        old = optimizer.trainable(state["params"])
        places = shardings_of(optimizer.trainable(plan.params))
        with rules_in_force(plan.rules):  # in force while this is traced
            total, sums, gradient = summed_gradient(summed, old, batch, micro_batches, places)
        gradient = optimizer.of_rows(gradient)
        weight = _at_least_some(sums["weight"])
        norm = optax.tree_utils.tree_norm(gradient) / weight  # of what is in memory already; the quotients never are
        gradient = jax.tree.map(lambda g: (g / weight).astype(g.dtype), gradient)
        resting = fetch(state["opt_state"], abstract["opt_state"])
        updates, opt_state = optimizer.update(gradient, resting, old, rate, norm)
        new = jax.tree.map(lambda p, u: (p - u).astype(p.dtype), old, updates)
        metrics = {"loss": total / weight, "grad_norm": norm}
        after = {"opt_state": opt_state}
        if "ema" in state:
            d = optim.ema_decay
            after["ema"] = jax.tree.map(lambda e, p: d * e + (1 - d) * p, state["ema"], new)
        if "guard" in state:
            bad, guard = judge(state["guard"], optim.guard, metrics["loss"], metrics["grad_norm"])
            new = keep_if(bad, old, new)
            before = {**state, "opt_state": resting}  # where the update was computed
            after = {name: keep_if(bad, before[name], value) for name, value in after.items()} | {"guard": guard}
            metrics |= {name: guard[name].astype(jnp.float32) for name in ("skipped", "in_a_row")}
        for name, value in sums.items():
            kind, _, modality = name.partition("/")
            metrics[name] = value / _at_least_some(sums[f"weight/{modality}"]) if kind == "loss" else value
        return {"params": optimizer.merged(state["params"], new), **after}, metrics

    out = (shardings_of(abstract), replicated(plan.mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out, compiler_options=compiler_options(plan.mesh))


def _at_least_some(weight: jax.Array) -> jax.Array:
    """A divisor that leaves 0 / 0 at 0: a batch may hold no supervised token of a modality, or none at all."""
    return jnp.where(weight > 0, weight, 1.0)
