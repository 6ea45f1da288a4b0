"""Run by test_sharding.py in a process of its own: losses of five steps on one device and on meshes of eight.

Prints {mesh: {"losses": [...], "embed": spec}} as JSON; the partitioner's warnings go to stderr. After the word CONTROL
comes what it says about a move that it can only make by replicating.
"""

from __future__ import annotations

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mio_jax.config import MeshConfig, OptimConfig
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import batch_sharding, make_mesh, replicated
from mio_jax.recipes.mio.loss import loss
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import make_step

ROWS, LENGTH, VOCAB = 8, 32, 96
MESHES = {
    "one": {},
    "data2_fsdp2_tensor2": {"data": 2, "fsdp": 2, "tensor": 2},
    "fsdp2_seq2_tensor2": {"fsdp": 2, "seq": 2, "tensor": 2},
}


def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    segments = np.repeat([[1, 1, 2, 2, 2, 3, 3, 0]], ROWS, 0).repeat(LENGTH // 8, 1).astype(np.int32)
    return {
        "tokens": rng.integers(0, VOCAB, (ROWS, LENGTH), dtype=np.int32),
        "positions": np.repeat(np.arange(LENGTH, dtype=np.int32)[None], ROWS, 0),
        "segment_ids": segments,
        "modality_ids": rng.integers(0, 3, (ROWS, LENGTH), dtype=np.int32),
        "loss_weights": rng.integers(0, 2, (ROWS, LENGTH)).astype(np.float32),
    }


def run(sizes: dict[str, int]) -> dict[str, object]:
    mesh = make_mesh(MeshConfig(**({"data": 1} | sizes)))
    spec = DecoderSpec(vocab_size=VOCAB, dim=32, depth=2, heads=4, kv_heads=2, head_dim=8, mlp_dim=64)
    optim = OptimConfig(learning_rate=1e-2)
    with jax.set_mesh(mesh):
        plan = plan_model(lambda key: Decoder(spec, key), mesh)
        optimizer = make_optimizer(optim, plan.axes)
        abstract = abstract_state(plan, optimizer)
        state = new_state(new_params(plan, seed=0), optimizer, abstract)
        step = make_step(plan, optimizer, loss, abstract)
        sharding = batch_sharding(mesh, ROWS, LENGTH)
        on_device = {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch().items()}
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
        return {"losses": losses, "embed": list(state["params"]["embed"].sharding.spec)}


def control() -> None:
    """Moves an array from one axis to another and to more devices, which the partitioner does by replicating it."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    before = NamedSharding(mesh, PartitionSpec(None, None, "fsdp"))
    after = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, None))
    constrain = jax.lax.with_sharding_constraint
    move = jax.jit(lambda x: constrain(jnp.sin(constrain(x * 2, before)), after))
    move.lower(jnp.zeros((8, 32, 32))).compile()


if __name__ == "__main__":
    results = {name: run(sizes) for name, sizes in MESHES.items()}
    print("CONTROL", file=sys.stderr, flush=True)
    control()
    json.dump(results, sys.stdout)
