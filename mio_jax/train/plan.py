"""The train step of a config compiled for a pod, and what the run would take there: memory, time, days."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from mio_jax.config import RunConfig, StageConfig
from mio_jax.errors import MioError
from mio_jax.parallel import batch_sharding, make_mesh, replicated, rules_of
from mio_jax.parallel.aot import DoesNotFit, Program, compile_for, pod_devices
from mio_jax.parallel.flops import model_flops_per_token
from mio_jax.parallel.topologies import Topology
from mio_jax.protocols import Recipe, load_recipe
from mio_jax.train.offload import rest_on_host
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.processes import sharding_of
from mio_jax.train.run import assemble
from mio_jax.train.state import Plan, abstract_state, plan_model
from mio_jax.train.step import make_step

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Laid:
    """A config's model on the mesh of a pod: nothing but shapes. `vocabulary`: where its number of rows is from."""

    recipe: Recipe
    spec: Any
    vocabulary: str
    mesh: Mesh
    plan: Plan


def lay_out(config: RunConfig, topology: Topology) -> Laid:
    """The config's model on the config's mesh of that pod.

    Where a tokenizer of the config is a file that is not here, the vocabulary is the published one.

    Raises:
      MioError: mesh sizes that the pod does not allow, a parameter that they do not divide.
    """
    from mio_tokenizers import files_of

    named = [getattr(config.tokenizers, modality) for modality in ("text", "image", "audio")]
    files = [path for name in named for path in files_of(name) if not path.exists()]
    if files:
        recipe = load_recipe(config.recipe)
        spec = recipe.resolve_model(config.model, recipe.published_space())
        source = f"published ({files[0]} is not here)"
    else:
        parts = assemble(config)
        recipe, spec, source = parts.recipe, parts.spec, "tokenizers"
    mesh = make_mesh(config.mesh, pod_devices(topology))
    if mesh.size != topology.devices:
        raise MioError(
            f"the config's mesh has {mesh.size} devices and {topology.name} has {topology.devices}: set one of its "
            "axes to -1, e.g. --config.mesh.fsdp=-1 --config.mesh.data=1"
        )
    model = config.model
    plan = plan_model(
        lambda key: recipe.build_model(spec, key), mesh, rules_of(config.mesh), model.param_dtype, model.lora
    )
    return Laid(recipe, spec, source, mesh, plan)


def compile_train(config: RunConfig, stage: StageConfig, topology: Topology, laid: Laid) -> tuple[Program, int, int]:
    """The compiled train step of a stage, and bytes a chip of parameters and of optimizer state.

    Raises:
      DoesNotFit: see `compile_for`.
      MioError: a batch that the mesh does not divide.
    """
    mesh, plan = laid.mesh, laid.plan
    part = stage.rows // stage.micro_batches
    batch_sharding(mesh, part, config.data.length, plan.rules)  # of a micro-batch: says what does not divide
    sharding = batch_sharding(mesh, stage.rows, config.data.length, plan.rules)
    optimizer = make_optimizer(stage.optim, plan.axes)
    abstract = abstract_state(plan, optimizer)
    if config.mesh.offload_optimizer:
        abstract["opt_state"] = rest_on_host(abstract["opt_state"], mesh)
    loss = functools.partial(laid.recipe.loss, z_loss=stage.optim.z_loss)
    step = make_step(plan, optimizer, loss, abstract, stage.micro_batches)
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(mesh))
    program = compile_for(
        topology, mesh, step, abstract, abstract_batch(laid.recipe, config, stage.rows, sharding), rate
    )
    rest = {name: value for name, value in abstract.items() if name != "params"}
    own = topology.chip.devices
    return program, own * bytes_a_device(abstract["params"]), own * bytes_a_device(rest)


def abstract_batch(recipe: Recipe, config: RunConfig, rows: int, sharding: NamedSharding) -> dict[str, Any]:
    """The arrays of a batch of `rows` rows, without their data, where `processes.place` puts them."""
    row = recipe.rows(config).row([])  # shapes are static: those of an empty row are those of every row
    return {
        name: jax.ShapeDtypeStruct(
            (rows, *array.shape), array.dtype, sharding=sharding_of(array.shape, sharding, config.data.length)
        )
        for name, array in row.items()
    }


def bytes_a_device(tree: Any) -> int:
    """Bytes of one device's share of abstract arrays with shardings."""

    def share(leaf: Any) -> int:
        return math.prod(leaf.sharding.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize

    return sum(map(share, jax.tree.leaves(tree)))


def plan_train(config: RunConfig, stage: StageConfig, topology: Topology) -> dict[str, Any]:
    """What `mio plan` says of a stage's train step, ready for JSON; bytes are per chip, FLOPs and tokens of all chips.

    A program that is too large has no times (None).

    Raises:
      MioError: a config that does not fit the pod; no TPU compiler.
    """
    laid = lay_out(config, topology)
    report = heading(config, topology, laid)
    chip, tokens = topology.chip, stage.rows * config.data.length
    model = tokens * model_flops_per_token(laid.recipe.model_sizes(laid.spec), config.data.length)
    report |= {
        "stage": stage.name,
        "rows": stage.rows,
        "length": config.data.length,
        "micro_batches": stage.micro_batches,
        "tokens_per_step": tokens,
        "model_flops_per_step": model,
        "budget": {"steps": stage.steps, "tokens": stage.steps * tokens, "days": None},
    }
    try:
        program, parameters, optimizer = compile_train(config, stage, topology, laid)
    except DoesNotFit as error:
        return report | too_large(error, topology)
    seconds = program.step_seconds
    report["budget"]["days"] = stage.steps * seconds / SECONDS_A_DAY
    return report | {
        **memory_report(program, topology, {"parameters": parameters, "optimizer": optimizer}),
        "flops_per_step": program.flops * topology.chips,
        "compiler_flops_per_step": program.compiler_flops * topology.chips,
        **time_report(program, topology),
        "mfu": model / (seconds * topology.chips * chip.flops),
        "tokens_per_second": tokens / seconds,
        "tokens_per_day": tokens / seconds * SECONDS_A_DAY,
    }


def heading(config: RunConfig, topology: Topology, laid: Laid) -> dict[str, Any]:
    """What a report is of."""
    return {
        "config": config.name,
        "topology": topology.name,
        "chips": topology.chips,
        "mesh": dict(laid.mesh.shape),
        "remat": config.model.remat,
        "dtype": config.model.dtype,
        "parameters": laid.plan.parameter_count,
        "vocabulary": {"rows": laid.spec.vocab_size, "from": laid.vocabulary},
    }


def too_large(error: DoesNotFit, topology: Topology) -> dict[str, Any]:
    """The same keys as a program that fits, as far as the compiler's refusal says them."""
    return {
        "fits": False,
        "hbm_per_chip": topology.chip.hbm,
        "spare_bytes": error.limit - error.used,
        "bytes_per_chip": {"total": error.used},
        "step_seconds": None,
        "mfu": None,
    }


def memory_report(program: Program, topology: Topology, kinds: dict[str, int]) -> dict[str, Any]:
    """`bytes_per_chip` by kind; `fits`, and what is to spare (negative: missing). `kinds`: parts of the arguments."""
    total = program.peak_bytes
    return {
        "fits": total <= topology.chip.hbm,
        "hbm_per_chip": topology.chip.hbm,
        "spare_bytes": topology.chip.hbm - total,
        "bytes_per_chip": {
            **kinds,
            "other_arguments": program.arguments - sum(kinds.values()),
            "new_outputs": program.outputs - program.aliased,
            "temporary": program.temporary,
            "code": program.code,
            "total": total,
        },
    }


def time_report(program: Program, topology: Topology) -> dict[str, Any]:
    """Times of one run, and its collectives; what each is stands in `Program`."""
    return {
        "step_seconds": program.step_seconds,
        "compiler_seconds": program.seconds,
        "compiler_seconds_uncorrected": program.compiler_seconds,
        "collective_seconds": program.exchange_seconds,
        "blocking_collective_seconds": program.blocking_seconds,
        "hbm_traffic_per_chip": program.hbm_bytes,
        "collectives": {k: {"count": t.count, "bytes_sent_per_chip": t.bytes} for k, t in program.collectives.items()},
        "kernel_seconds": program.kernel_seconds,
        "kernel_share_assumed": topology.chip.kernel_share,
        "kernels": {k: {"count": w.count, "flops": w.flops, "seconds": w.seconds} for k, w in program.kernels.items()},
        "kernels_without_figures": program.unknown,
    }
