"""Vocabulary tables that a mesh does not divide: padded where they lie, whole for the model, stripped on export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.config import CheckpointConfig, MeshConfig, OptimConfig
from mio_jax.errors import MioError
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import make_mesh, rules_in_force
from mio_jax.recipes.mio.checkpoint import export_params, import_params
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import Plan, abstract_state, maker, new_params, new_state, plan_model, shardings_of

SPEC = DecoderSpec(vocab_size=50, dim=16, depth=2, heads=8, kv_heads=2, head_dim=4, mlp_dim=32)
TOKENS = np.arange(24, dtype=np.int32).reshape(2, 12) * 2 % 50


def plan_on(**sizes: int) -> Plan:
    return plan_model(lambda key: Decoder(SPEC, key), make_mesh(MeshConfig(**({"data": 1} | sizes))))


def logits(plan: Plan, params: Any) -> jax.Array:
    def run(params: Any) -> jax.Array:
        with rules_in_force(plan.rules):
            model = plan.model(params)
            return model.logits(model.hidden(TOKENS, np.broadcast_to(np.arange(12), TOKENS.shape)))

    with jax.set_mesh(plan.mesh):
        return jax.jit(run)(params)


def test_the_model_sees_no_padding() -> None:
    one, four = plan_on(), plan_on(tensor=4)
    assert one.padding == {}
    assert four.padding == {52: 50}
    assert four.parameter_count == one.parameter_count
    params = new_params(four, 0)
    assert params["embed"].shape == params["head"].shape == (52, 16)
    assert not np.asarray(params["embed"])[50:].any()
    seen = logits(four, params)
    assert seen.shape == (2, 12, 50)
    np.testing.assert_allclose(seen, logits(one, new_params(one, 0)), atol=1e-6)


def test_checkpoint_of_one_mesh_serves_another(tmp_path: Path) -> None:
    optimizer = make_optimizer(OptimConfig(), plan_on().axes)

    def state_of(plan: Plan, fill: Callable[[jax.Array], jax.Array] = jnp.asarray) -> Any:
        state = new_state(new_params(plan, 0), optimizer, abstract_state(plan, optimizer))
        return state | {"opt_state": jax.tree.map(fill, state["opt_state"])}

    first, second, third = plan_on(tensor=4), plan_on(), plan_on(tensor=8)  # 52, 50 and 56 rows
    rows = jax.tree.map(lambda x: np.asarray(x)[:50], state_of(first)["params"]["embed"])
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=3), first.padding) as checkpoints:
        checkpoints.save(1, state_of(first), {}, {})
    for step, plan in ((1, second), (2, third)):
        with Checkpoints(tmp_path, CheckpointConfig(keep_last=3), plan.padding) as checkpoints:
            state, _ = checkpoints.restore(step, abstract_state(plan, optimizer))
            checkpoints.save(step + 1, state, {}, {})
        table = np.asarray(state["params"]["embed"])
        np.testing.assert_array_equal(table[:50], rows)
        assert not table[50:].any()
        assert state["opt_state"][1].mu["embed"].shape == table.shape
    spec = dataclasses.replace(SPEC, vocab_size=51)
    other = plan_model(lambda key: Decoder(spec, key), make_mesh(MeshConfig(data=1, tensor=4)))
    for step, rows_of_file in ((1, 52), (2, 50), (3, 56)):  # 1: the padded sizes are equal, the vocabularies are not
        with (
            Checkpoints(tmp_path, padding=other.padding) as checkpoints,
            pytest.raises(MioError, match=rf"params/embed is \({rows_of_file}, 16\), this model's is \(52, 16\)"),
        ):
            checkpoints.restore(step, abstract_state(other, optimizer))


def test_published_weights_come_and_go_without_padding(tmp_path: Path) -> None:
    one, four = plan_on(), plan_on(tensor=4, fsdp=2)
    weights = jax.device_get(new_params(one, 0))
    export_params(weights, SPEC, tmp_path / "a")
    placed = import_params(tmp_path / "a", SPEC, four.place)
    assert placed["head"].shape == (52, 16)
    assert placed["layers"]["mlp"]["up"].sharding == four.params["layers"]["mlp"]["up"].sharding
    export_params(placed, SPEC, tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    spoiled = placed | {"head": jnp.ones((52, 16))}
    with pytest.raises(MioError, match="head has 52 rows, the model's vocabulary 50, and the rest is not padding"):
        export_params(spoiled, SPEC, tmp_path / "c")


def test_parameters_are_born_where_they_live() -> None:
    """The program that draws them puts them out split, and holds no whole table on a device at any time."""
    spec = DecoderSpec(vocab_size=4090, dim=256, depth=1, heads=8, kv_heads=8, head_dim=8, mlp_dim=512)
    mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=4))
    plan = plan_model(lambda key: Decoder(spec, key), mesh)
    compiled = maker(plan).lower(jax.random.key(0)).compile()
    made = jax.tree.leaves(compiled.output_shardings)
    for sharding, leaf in zip(made, jax.tree.leaves(plan.params), strict=True):
        assert sharding.is_equivalent_to(leaf.sharding, len(leaf.shape))
    assert jax.tree.leaves(shardings_of(plan.params))[0].shard_shape((4092, 256)) == (1023, 128)
    memory, table = compiled.memory_analysis(), 4 * 4092 * 256
    assert memory.output_size_in_bytes < 3 * table / 8 + table / 8
    assert memory.temp_size_in_bytes < table
