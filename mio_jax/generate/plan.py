"""Prefill and one decoding step compiled for a pod."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.config import LoraConfig, RunConfig
from mio_jax.errors import MioError
from mio_jax.generate import decode
from mio_jax.generate.engine import STOP_SLOTS
from mio_jax.generate.sampling import Knobs, SamplingConfig
from mio_jax.nn.base import apply, axes_of, split, to_pure_dict
from mio_jax.parallel import batch_sharding, place_params, replicated, rules_in_force
from mio_jax.parallel.aot import DoesNotFit, compile_for
from mio_jax.parallel.flops import forward_flops_per_token
from mio_jax.parallel.topologies import Topology
from mio_jax.train.plan import Laid, bytes_a_device, heading, lay_out, memory_report, time_report, too_large


def plan_generate(
    config: RunConfig, sampling: SamplingConfig, topology: Topology, *, rows: int, prompt: int, new: int
) -> dict[str, Any]:
    """What `mio plan` says of `prefill` (prompts and the first new token) and `decode` (one more token for every row).

    Rows lie on the mesh as the rows of a training batch do, weights by the same rules and in the compute dtype.

    Args:
      rows, prompt, new: prompts of one batch, tokens of each, and places for new tokens.

    Raises:
      MioError: rows that the mesh does not divide; see also `lay_out`.
    """
    for name, value in (("rows", rows), ("prompt", prompt), ("new", new)):
        if value < 1:
            raise MioError(f"--{name} is {value}; it must be at least 1")
    # A run decodes with its adapters added to its kernels.
    plain = config.replace(model=dataclasses.replace(config.model, lora=LoraConfig()))
    laid = lay_out(plain, topology)
    report = heading(config, topology, laid) | {"rows": rows, "prompt": prompt, "new": new}
    try:
        parts = _compiled(topology, laid, sampling, rows, prompt, new)
    except DoesNotFit as error:
        return report | too_large(error, topology)
    return report | {"fits": all(part["fits"] for part in parts.values()), **parts}


def _compiled(
    topology: Topology, laid: Laid, sampling: SamplingConfig, rows: int, prompt: int, new: int
) -> dict[str, dict[str, Any]]:
    """The reports of the two programs."""
    mesh = laid.mesh
    by_row, whole = batch_sharding(mesh, rows, prompt, laid.plan.rules), replicated(mesh)
    vector = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(by_row.spec[0]))
    graphdef, params = decoding_params(laid)

    def abstract(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=(whole, vector, by_row)[len(shape)])

    tokens, valid = abstract(jnp.int32, rows, prompt), abstract(jnp.bool_, rows, prompt)
    prompts = decode.Prompts(tokens, valid, valid)
    knobs = Knobs(*[abstract(jnp.float32)] * len(Knobs._fields))
    stops: Any = jax.ShapeDtypeStruct((STOP_SLOTS,), jnp.int32, sharding=whole)
    inputs = decode.Inputs(knobs, abstract(jnp.uint32, rows), abstract(jnp.int32, rows), stops, None)
    arguments = graphdef, params, prompts, inputs, None
    static: dict[str, Any] = {"plan": sampling.plan, "room": new}
    with rules_in_force(laid.plan.rules):
        with jax.set_mesh(mesh):
            state = jax.eval_shape(partial(decode.begin, **static), *arguments)
        state = jax.tree.map(partial(_place, rows=rows, vector=vector, whole=whole), state)
        prefill = compile_for(topology, mesh, decode.begin, *arguments, static=static)
        step = compile_for(topology, mesh, decode.step, graphdef, params, inputs, state, static={"plan": sampling.plan})
    weights = topology.chip.devices * bytes_a_device(params)
    cache = topology.chip.devices * bytes_a_device(state.cache)
    sizes = laid.recipe.model_sizes(laid.spec)
    peak = topology.chips * topology.chip.flops
    out = {}
    for name, program, kinds, count in (
        ("prefill", prefill, {"parameters": weights}, prompt),
        ("decode", step, {"parameters": weights, "cache": cache}, 1),
    ):
        # Logits are made for the last place alone; a new token attends to everything before it.
        length = prompt if name == "prefill" else 2 * (prompt + new)
        body = forward_flops_per_token(sizes._replace(vocab_size=0), length)
        model = rows * (count * body + 2.0 * sizes.output_dim * sizes.vocab_size)
        out[name] = {
            **memory_report(program, topology, kinds),
            "flops_per_step": program.flops * topology.chips,
            "model_flops_per_step": model,
            **time_report(program, topology),
            "mfu": model / (program.step_seconds * peak),
            "tokens_per_second": rows * count / program.step_seconds,
        }
    return out


def decoding_params(laid: Laid) -> tuple[Any, Any]:
    """Graph definition and abstract parameters of the model arranged for decoding, placed by the rules.

    A table that the mesh does not divide keeps its padding here: logits have a few places more than the model's.
    """
    plan = laid.plan
    with jax.set_mesh(laid.mesh):  # the arrangement depends on the device
        graphdef, variables = split(jax.eval_shape(lambda p: apply(plan.graphdef, p).for_decoding(), plan.shapes))
    shapes = to_pure_dict(variables)
    return graphdef, place_params(axes_of(variables), shapes, laid.mesh, plan.rules)


def _place(leaf: Any, rows: int, vector: Any, whole: Any) -> jax.ShapeDtypeStruct:
    """Whatever begins with the rows of the batch is split like them."""
    sharding = vector if leaf.shape[:1] == (rows,) else whole
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
