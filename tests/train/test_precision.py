"""Dtypes of parameters and compute, rematerialisation by name, and optimizer state on the host."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.config import REMAT, MeshConfig, ModelConfig, OptimConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import params_of
from mio_jax.nn.linear import linear
from mio_jax.nn.remat import REMAT_POLICIES
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import RULES, batch_sharding, make_mesh, replicated
from mio_jax.recipes.mio.loss import loss
from mio_jax.train.offload import rest_on_host
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import make_step

SPEC = DecoderSpec(vocab_size=32, dim=16, depth=2, heads=4, kv_heads=2, head_dim=4, mlp_dim=32)
ROWS, LENGTH = 4, 16


def batch() -> dict[str, np.ndarray]:
    tokens = np.random.default_rng(0).integers(0, 32, (ROWS, LENGTH), dtype=np.int32)
    positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), tokens.shape)
    ones = np.ones_like(tokens)
    return {
        "tokens": tokens,
        "positions": positions,
        "segment_ids": ones,
        "modality_ids": 0 * ones,
        "loss_weights": ones.astype(np.float32),
    }


def steps(
    spec: DecoderSpec = SPEC, param_dtype: str = "float32", offload: bool = False, **sizes: int
) -> tuple[list[float], Any]:
    """Losses of five steps and the state after them."""
    mesh = make_mesh(MeshConfig(**({"data": 1} | sizes)))
    with jax.set_mesh(mesh):
        plan = plan_model(lambda key: Decoder(spec, key), mesh, RULES, param_dtype)
        optimizer = make_optimizer(OptimConfig(learning_rate=1e-2), plan.axes)
        abstract = abstract_state(plan, optimizer)
        if offload:
            abstract["opt_state"] = rest_on_host(abstract["opt_state"], mesh)
        state = new_state(new_params(plan, 0), optimizer, abstract)
        step = make_step(plan, optimizer, loss, abstract)
        rows = batch_sharding(mesh, ROWS, LENGTH)
        placed = {name: jax.device_put(array, rows) for name, array in batch().items()}
        rate = jax.device_put(jnp.float32(1e-2), replicated(mesh))
        losses = []
        for _ in range(5):
            state, metrics = step(state, placed, rate)
            losses.append(float(metrics["loss"]))
        assert step._cache_size() == 1, "the state that a step returns is not laid out as the one that it takes"
    return losses, state


@functools.cache
def exact_losses() -> list[float]:
    """In float32, on one device."""
    return steps()[0]


def dtypes(tree: Any) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if leaf.ndim}


def test_precisions_learn_alike() -> None:
    exact = exact_losses()
    mixed, state = steps(dataclasses.replace(SPEC, dtype="bfloat16"))
    assert dtypes(state) == {"float32"}
    pure, state = steps(dataclasses.replace(SPEC, dtype="bfloat16"), "bfloat16")
    assert dtypes(state["params"]) == dtypes(state["opt_state"]) == {"bfloat16"}
    assert exact[-1] < exact[0] - 0.1
    for other in (mixed, pure):
        assert other != exact
        np.testing.assert_allclose(other, exact, rtol=0.02)


def test_param_dtype_is_checked() -> None:
    with pytest.raises(MioError, match=r"model.param_dtype is 'float16'; it must be one of float32, bfloat16"):
        ModelConfig(param_dtype="float16")


def test_optimizer_state_on_the_host_changes_where_it_rests_and_nothing_else() -> None:
    plain, here = steps(fsdp=2)
    offloaded, there = steps(fsdp=2, offload=True)
    assert offloaded == plain
    jax.tree.map(np.testing.assert_array_equal, here["params"], there["params"])
    kinds = {leaf.sharding.memory_kind for leaf in jax.tree.leaves(there["opt_state"]) if leaf.ndim}
    assert kinds == {"pinned_host"}
    assert {leaf.sharding.memory_kind for leaf in jax.tree.leaves(there["params"])} == {"device"}
    moment = there["opt_state"][1].mu["layers"]["mlp"]["up"]
    assert moment.sharding.spec == there["params"]["layers"]["mlp"]["up"].sharding.spec


def test_offload_needs_a_device_that_reaches_the_host() -> None:
    device = SimpleNamespace(device_kind="box", addressable_memories=lambda: [SimpleNamespace(kind="device")])
    mesh: Any = SimpleNamespace(devices=np.asarray([device]))
    with pytest.raises(MioError, match=r"mesh.offload_optimizer needs devices that .*; box has device; leave it false"):
        rest_on_host({}, mesh)


def gradients(remat: str) -> tuple[Any, int]:
    """Of the loss, and the bytes that the compiled program needs beside its arguments."""
    spec = dataclasses.replace(SPEC, remat=remat, depth=4, attention="chunked")
    model, rows = Decoder(spec, jax.random.key(0)), batch()
    compiled = jax.jit(jax.grad(lambda m: loss(m, rows)[0])).lower(model).compile()
    return params_of(compiled(model)), compiled.memory_analysis().temp_size_in_bytes


def test_policies_have_the_names_of_the_config() -> None:
    assert tuple(REMAT_POLICIES) == REMAT


TESTED = ("full", "save_attention", "save_projections", "offload_projections")  # the others keep what one of these does


@pytest.mark.parametrize(
    "names", [TESTED, pytest.param([n for n in REMAT[1:] if n not in TESTED], marks=pytest.mark.slow)], ids=["", "rest"]
)
def test_every_policy_has_the_same_gradients_and_its_own_memory(names: Sequence[str]) -> None:
    wanted, most = gradients("none")
    needs = {"none": most}
    for remat in names:
        got, needs[remat] = gradients(remat)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, wanted)
    if "full" in needs:
        assert needs["full"] < needs["save_attention"] < needs["save_projections"] < needs["none"]
    else:
        assert needs["nothing_saveable"] < needs["none"] == needs["everything_saveable"]


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_narrow_products_learn_like_wide_ones(kind: str) -> None:
    pytest.importorskip("qwix")
    exact = exact_losses()
    narrow, _ = steps(dataclasses.replace(SPEC, quantize=kind), fsdp=2, tensor=2)
    assert narrow != exact
    np.testing.assert_allclose(narrow, exact, rtol=0.02)


@pytest.mark.parametrize(("kind", "name"), [("int8", "i8"), ("fp8", "f8E4M3FN")])
def test_narrow_products_are_narrow_in_the_program(kind: str, name: str) -> None:
    pytest.importorskip("qwix")
    x, w = jnp.ones((2, 3, 8)), jnp.ones((8, 4))
    text = jax.jit(jax.grad(lambda x, w: linear(x, w, quantize=kind).sum(), argnums=(0, 1))).lower(x, w).as_text()
    assert f"x{name}>" in text
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert sum(f"x{name}>" in line for line in products) >= 1
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((5, 64), (64, 16)))
    error = np.abs(linear(x, w, quantize=kind) - x @ w).max() / np.abs(x @ w).max()
    assert 1e-4 < error < (0.02 if kind == "int8" else 0.06)


def test_without_the_library_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qwix", None)
    with pytest.raises(MioError, match=r"model.quantize needs qwix: pip install -e '.\[quant\]'"):
        linear(jnp.ones((2, 4)), jnp.ones((4, 4)), quantize="int8")
