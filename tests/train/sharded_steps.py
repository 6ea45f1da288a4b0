"""Run by test_sharding.py in a process of its own: five steps of every model on one device and on meshes of eight.

Prints {model: {mesh: {"losses": [...], "embed": spec, "worst": [error, name]}}} as JSON; the partitioner's warnings go
to stderr. After the word CONTROL comes what it says about a move that it can only make by replicating.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mio_jax.config import MeshConfig, ModelConfig, OptimConfig
from mio_jax.data.token_space import Block, TokenSpace
from mio_jax.parallel import batch_sharding, make_mesh, replicated, rules_of, strip_to
from mio_jax.protocols import load_recipe
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import make_step

ROWS, LENGTH, VOCAB = 8, 32, 98  # 98 rows: neither 4 nor 8 devices divide them
SPACE = TokenSpace("test", (Block("text", "text", 0, VOCAB),), (), (), bos=1, eos=2, pad=0)
Batch = dict[str, np.ndarray]

MESHES = {
    "one": MeshConfig(data=1),
    "data": MeshConfig(preset="data"),
    "fsdp": MeshConfig(preset="fsdp"),
    "tensor": MeshConfig(preset="tensor"),
    "sequence": MeshConfig(preset="sequence"),
    "multislice": MeshConfig(preset="multislice"),
    "multislice+fsdp": MeshConfig(preset="multislice+fsdp", replica=2),
    "fsdp+tensor": MeshConfig(preset="fsdp+tensor", tensor=4),
    "data+fsdp+tensor": MeshConfig(preset="data+fsdp+tensor", fsdp=2, tensor=2),
    "fsdp+sequence+tensor": MeshConfig(preset="fsdp+sequence+tensor", seq=2, tensor=2),
}


def decoder_batch() -> Batch:
    """Packed rows of three examples and padding."""
    rng = np.random.default_rng(0)
    segments = np.repeat([[1, 1, 2, 2, 2, 3, 3, 0]], ROWS, 0).repeat(LENGTH // 8, 1).astype(np.int32)
    return {
        "tokens": rng.integers(0, VOCAB, (ROWS, LENGTH), dtype=np.int32),
        "positions": np.repeat(np.arange(LENGTH, dtype=np.int32)[None], ROWS, 0),
        "segment_ids": segments,
        "modality_ids": rng.integers(0, 3, (ROWS, LENGTH), dtype=np.int32),
        "loss_weights": rng.integers(0, 2, (ROWS, LENGTH)).astype(np.float32),
    }


# Name -> recipe, sizes that 8 devices divide, batch. A new kind of model adds its line here, and every mesh is run.
MODELS: dict[str, tuple[str, ModelConfig, Callable[[], Batch]]] = {
    "decoder": ("mio", ModelConfig(dim=32, depth=2, heads=8, kv_heads=2, head_dim=4, mlp_dim=64), decoder_batch),
}


def run(name: str, config: MeshConfig, reference: Any = None) -> tuple[dict[str, object], Any]:
    """Five steps -> (what is printed, parameters on the host as the model knows them)."""
    recipe_name, sizes, make_batch = MODELS[name]
    recipe, batch = load_recipe(recipe_name), make_batch()
    spec = recipe.resolve_model(sizes, SPACE)
    mesh = make_mesh(config)
    # A parameter whose gradient is nothing but rounding moves by eps' grace: with a tiny one, Adam makes steps of it.
    optim = OptimConfig(learning_rate=1e-2, eps=1e-4)
    with jax.set_mesh(mesh):
        plan = plan_model(lambda key: recipe.build_model(spec, key), mesh, rules_of(config))
        optimizer = make_optimizer(optim, plan.axes)
        abstract = abstract_state(plan, optimizer)
        state = new_state(new_params(plan, seed=0), optimizer, abstract)
        step = make_step(plan, optimizer, recipe.loss, abstract)
        sharding = batch_sharding(mesh, ROWS, LENGTH, plan.rules)
        on_device = {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}
        rate = jax.device_put(jnp.float32(1e-2), replicated(mesh))
        losses = []
        first = state["params"]["embed"]
        for _ in range(5):
            with jax.transfer_guard("disallow"):
                state, metrics = step(state, on_device, rate)
            losses.append({k: float(v) for k, v in jax.device_get(metrics).items()})
        assert first.is_deleted(), "the state was not donated"
        moments = state["opt_state"][1].mu["embed"]
        assert moments.sharding.is_equivalent_to(state["params"]["embed"].sharding, 2), "moments lie elsewhere"
        table = np.asarray(jax.device_get(state["params"]["embed"]))
        assert not table[VOCAB:].any(), "rows of padding have moved"
        params = jax.device_get(strip_to(state["params"], plan.shapes))
    return {
        "losses": losses,
        "embed": [list(table.shape), list(state["params"]["embed"].sharding.spec)],
        "worst": [0.0, ""] if reference is None else worst_difference(params, reference),
    }, params


def worst_difference(params: Any, reference: Any) -> list[Any]:
    """The largest |a - b|, relative to the largest |b| of the same parameter, and that parameter's name."""

    def relative(path: Any, a: np.ndarray, b: np.ndarray) -> tuple[float, str]:
        return float(np.abs(a - b).max() / np.abs(b).max()), jax.tree_util.keystr(path, simple=True, separator="/")

    pairs = jax.tree_util.tree_map_with_path(relative, params, reference)
    return list(max(jax.tree.leaves(pairs, is_leaf=lambda x: isinstance(x, tuple))))


def control() -> None:
    """Moves an array from one axis to another and to more devices, which the partitioner does by replicating it."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    before = NamedSharding(mesh, PartitionSpec(None, None, "fsdp"))
    after = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, None))
    constrain = jax.lax.with_sharding_constraint
    move = jax.jit(lambda x: constrain(jnp.sin(constrain(x * 2, before)), after))
    move.lower(jnp.zeros((8, 32, 32))).compile()


if __name__ == "__main__":
    results: dict[str, dict[str, object]] = {}
    for model in MODELS:
        results[model], whole = {}, None
        for mesh_name, mesh_config in MESHES.items():
            print("RUN", model, mesh_name, file=sys.stderr, flush=True)
            results[model][mesh_name], params = run(model, mesh_config, whole)
            whole = params if whole is None else whole  # of "one", which is the first
    print("CONTROL", file=sys.stderr, flush=True)
    control()
    json.dump(results, sys.stdout)
