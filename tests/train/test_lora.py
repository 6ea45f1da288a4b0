"""Low-rank adapters: they begin as nothing, are all that is trained, and can be added to the kernels."""

from __future__ import annotations

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mio_jax.config import (
    CheckpointConfig,
    GroupConfig,
    LoraConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    StageConfig,
)
from mio_jax.config_loading import to_dict
from mio_jax.errors import MioError
from mio_jax.nn.base import axes_of, split_model
from mio_jax.nn.linear import linear, swiglu
from mio_jax.nn.low_rank import LowRank, merged
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.objectives.causal import causal_loss
from mio_jax.parallel import batch_sharding, make_mesh, replicated
from mio_jax.recipes.mio.checkpoint import export_params
from mio_jax.recipes.unified_io2.loss import loss as io2_loss
from mio_jax.recipes.unified_io2.model import build_model
from mio_jax.recipes.unified_io2.presets import TINY
from mio_jax.train.checkpoint import Checkpoints, latest_step
from mio_jax.train.frozen_base import fingerprint, frozen_base, stored_paths
from mio_jax.train.lora import find_kernels
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.run import load_run
from mio_jax.train.run_dir import checkpoint_dir, stage_dir
from mio_jax.train.stages import train
from mio_jax.train.state import abstract_state, maker, new_state, plan_model
from mio_jax.train.step import make_step
from mio_jax.train.trees import flatten, name_of, pick, put
from tests.train import tiny

LORA = LoraConfig(rank=2, alpha=6.0, patterns=("*attention/*", "*/mlp/*"))
MESH = MeshConfig(data=1, fsdp=2, tensor=2)
DECODER = DecoderSpec(vocab_size=12, dim=8, depth=2, heads=2, kv_heads=2, head_dim=4, mlp_dim=8)
ENCODED = dataclasses.replace(
    TINY, dim=8, heads=2, head_dim=4, mlp_dim=8, encoder_depth=2, decoder_depth=2, text_vocab=12,
    input_modalities=("text",), target_modalities=("text",),
)  # fmt: skip


def decoder_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 12, (4, 6)).astype(np.int32)
    ones = np.ones_like(tokens)
    at = np.broadcast_to(np.arange(6, dtype=np.int32), tokens.shape)
    weights = ones.astype(np.float32)
    return {"tokens": tokens, "positions": at, "segment_ids": ones, "modality_ids": 0 * ones, "loss_weights": weights}


def encoded_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 12, (4, 6)).astype(np.int32)
    ones, at = np.ones_like(tokens), np.broadcast_to(np.arange(6, dtype=np.int32), tokens.shape)
    into = {"tokens": tokens, "mask": ones, "pos_ids": at}
    out = {"inputs": np.roll(tokens, 1, 1), "targets": tokens, "mask": ones, "pos_ids": at, "segment_ids": ones}
    return {f"inputs/text/{k}": v for k, v in into.items()} | {f"targets/text/{k}": v for k, v in out.items()}


def decoder_loss(model: Any, batch: Any) -> Any:
    return causal_loss(model, batch, modalities=("text",))


KINDS: dict[str, tuple[Any, Any, Any]] = {
    "decoder": (lambda key: Decoder(DECODER, key), decoder_loss, decoder_batch),
    "encoded": (lambda key: build_model(ENCODED, key), io2_loss, encoded_batch),
}


@pytest.mark.parametrize("kind", ["decoder", pytest.param("encoded", marks=pytest.mark.slow)])
def test_adapters_alone_are_trained_and_can_be_merged(kind: str) -> None:
    build, loss, make_batch = KINDS[kind]
    mesh = make_mesh(MESH, jax.devices()[:4])
    plan, plain = plan_model(build, mesh, lora=LORA), plan_model(build, mesh)
    assert plan.lora is not None
    optimizer = make_optimizer(OptimConfig(learning_rate=0.1, weight_decay=0.0), plan.axes)
    abstract = abstract_state(plan, optimizer)
    moments = [leaf for leaf in jax.tree.leaves(abstract["opt_state"]) if leaf.shape]
    assert len(moments) == 2 * 2 * len(plan.lora.paths)  # Adam's two, of A and B: frozen kernels have none
    with jax.set_mesh(mesh):
        base, params = maker(plain)(jax.random.key(0)), maker(plan)(jax.random.key(0))
        jax.tree.map(np.testing.assert_array_equal, base, {k: v for k, v in params.items() if k != "lora"})
        host = jax.tree.map(np.array, params)
        state = new_state(params, optimizer, abstract)
        step = make_step(plan, optimizer, loss, abstract)
        sharding = batch_sharding(mesh, 4, 6)
        batch = {k: jax.device_put(v, sharding) for k, v in make_batch().items()}
        value = jax.jit(lambda model, b: loss(model, b)[0])
        before = value(plain.model(base), batch)
        rate = jax.device_put(np.float32(0.05), replicated(mesh))
        losses = []
        for _ in range(3):
            state, metrics = step(state, batch, rate)
            losses.append(float(metrics["loss"]))
        np.testing.assert_allclose(losses[0], before / (20 if kind == "decoder" else 1), rtol=1e-6)
        assert losses[2] < losses[0]
        own, summed = value(plan.model(state["params"]), batch), plan.lora.merged_params(state["params"], plan.axes)
        np.testing.assert_allclose(value(plain.model(summed), batch), own, rtol=1e-5)
        assert abs(own - before) > 1e-3
    after, new = flatten(host), flatten(jax.tree.map(np.array, state["params"]))
    changed = {path for path in after if not np.array_equal(after[path], new[path])}
    assert changed == {path for path in after if path[0] == "lora"}
    assert flatten(summed).keys() == flatten(base).keys()


def test_adapters_over_quantised_products_learn_as_over_plain_ones() -> None:
    """With `model.quantize` the frozen products run in int8; losses and gradients differ by its rounding only."""
    pytest.importorskip("qwix")
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * shape[0] ** -0.5).astype(np.float32)

    sides = {"query": (24, 24), "gate": (24, 48), "up": (24, 48), "down": (48, 24)}
    base = {name: drawn(*shape) for name, shape in sides.items()}
    adapters = {name: (drawn(i, 2), drawn(2, o)) for name, (i, o) in sides.items()}
    x, target = rng.normal(size=(2, 2, 8, 24)).astype(np.float32)

    @partial(jax.jit, static_argnames="kind")
    def pull(adapters: Any, kind: str) -> tuple[Any, Any, Any]:
        def loss(adapters: Any) -> Any:
            w = {name: LowRank(jnp.asarray(base[name]), *adapters[name], 0.5) for name in base}
            made = swiglu(linear(x, w["query"], quantize=kind), w["gate"], w["up"], w["down"], kind)
            return jnp.mean((made - target) ** 2)

        value, gradient = jax.value_and_grad(loss)(adapters)
        return value, gradient, jax.tree.map(lambda x, g: x - 0.5 * g, adapters, gradient)

    losses: dict[str, list[float]] = {"none": [], "int8": []}
    gradients = {}
    for kind, found in losses.items():
        now = adapters
        for _ in range(5):
            value, gradient, now = pull(now, kind)
            found.append(float(value))
            gradients.setdefault(kind, np.concatenate([np.ravel(g) for g in jax.tree.leaves(gradient)]))
    assert losses["int8"] != losses["none"], "nothing was quantised"
    assert losses["int8"][-1] < 0.95 * losses["int8"][0]
    np.testing.assert_allclose(losses["int8"], losses["none"], rtol=0.02)
    one, other = gradients["none"], gradients["int8"]
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99


def test_axes_of_adapters_follow_the_kernels() -> None:
    plan = plan_model(KINDS["decoder"][0], make_mesh(MESH, jax.devices()[:4]), lora=LORA, param_dtype="bfloat16")
    axes = {name_of(path): names for path, names in flatten(plan.axes).items()}
    assert axes["lora/layers/attention/query/a"] == ("layers", "embed", "lora")
    assert axes["lora/layers/attention/query/b"] == ("layers", "lora", "heads", "kv")
    assert axes["lora/layers/attention/out/a"] == ("layers", "heads", "kv", "lora")
    shapes = {name_of(path): leaf for path, leaf in flatten(plan.params).items()}
    down = shapes["lora/layers/mlp/down/b"]
    assert (down.shape, down.dtype) == ((2, 2, 8), jnp.float32)
    assert tuple(down.sharding.spec) == (None, None, "fsdp")
    assert shapes["layers/mlp/down"].dtype == jnp.bfloat16


def test_products_are_those_of_the_sum() -> None:
    def low_rank(seed: int, ins: tuple[int, ...], outs: tuple[int, ...]) -> tuple[LowRank, jax.Array]:
        k = jax.random.split(jax.random.key(seed), 3)
        w, a, b = (jax.random.normal(key, s) for key, s in zip(k, ((*ins, *outs), (*ins, 3), (3, *outs)), strict=True))
        return LowRank(w, a, b, 0.5), merged(w, a, b, 0, 0.5)

    x = jax.random.normal(jax.random.key(9), (2, 4, 5, 6))
    (query, sum_q), (out, sum_o) = low_rank(0, (6,), (2, 3)), low_rank(1, (5, 6), (7,))
    np.testing.assert_allclose(linear(x, query), jnp.tensordot(x, sum_q, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(linear(x, out, 2), jnp.tensordot(x, sum_o, 2), rtol=1e-4, atol=1e-4)
    (gate, sum_g), (up, sum_u), (down, sum_d) = (
        low_rank(i, s, t) for i, s, t in ((2, (6,), (8,)), (3, (6,), (8,)), (4, (8,), (6,)))
    )
    rows = x[:, 0]
    mixed = swiglu(rows, gate, sum_u, down)
    np.testing.assert_allclose(mixed, swiglu(rows, sum_g, sum_u, sum_d), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(swiglu(rows, gate, up, down), mixed, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_adapted_is_said() -> None:
    axes = axes_of(split_model(KINDS["decoder"][0])[1])
    assert find_kernels(LoraConfig(), axes) is None
    found = find_kernels(LoraConfig(rank=1, patterns=("*query", "*/value")), axes)
    assert found is not None
    assert [name_of(path) for path in found.paths] == ["layers/attention/query", "layers/attention/value"]
    with pytest.raises(MioError, match=r"'embed' matches no kernel of a layer; there are layers/attention/key, "):
        find_kernels(LoraConfig(rank=1, patterns=("*query", "embed")), axes)
    with pytest.raises(MioError, match="used for more than products"):
        LowRank(jnp.ones((2, 2)), jnp.ones((2, 1)), jnp.ones((1, 2)), 1.0).astype(jnp.float32)
    for wrong, said in (
        ({"rank": -1}, "rank is -1"),
        ({"rank": 2, "alpha": 0.0}, "alpha is 0"),
        ({"rank": 1, "patterns": ()}, "empty"),
        ({"rank": 1, "stored": "some"}, "model.lora.stored is 'some'"),
    ):
        with pytest.raises(MioError, match=said):
            LoraConfig(**wrong)
    for start_from, rank in (("", 2), ("runs/x", 0)):
        model = ModelConfig(lora=LoraConfig(rank=rank, stored="adapters"))
        with pytest.raises(MioError, match=r"stored is 'adapters', which needs .*\(start_from\) and a rank"):
            RunConfig(model=model, start_from=start_from)


def test_other_parameters_can_be_trained_beside_adapters() -> None:
    plan = plan_model(KINDS["decoder"][0], make_mesh(MeshConfig(data=1), jax.devices()[:1]), lora=LORA)
    optimizer = make_optimizer(OptimConfig(groups=(GroupConfig("embed", rate=0.5),)), plan.axes)
    trained = {name_of(path) for path in optimizer.trained or ()}
    assert {name for name in trained if not name.startswith("lora/")} == {"embed"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A trained run, and one of adapters that started from it, stopped in its middle and gone on with."""
    folder = tmp_path_factory.mktemp("lora")
    tiny.write_records(folder / "records")
    whole = tiny.config(folder / "whole", folder / "records")
    optim = OptimConfig(learning_rate=1e-2, warmup_ratio=0.2)
    first = dataclasses.replace(whole, stages=(StageConfig("a", 2, mixture="mio_pairs", batch_size=2, optim=optim),))
    train(first)
    second = first.replace(
        run_dir=str(folder / "adapted"),
        start_from=first.run_dir,
        model=dataclasses.replace(first.model, lora=LORA),
        stages=(dataclasses.replace(first.stages[0], name="b", steps=4),),
        checkpoint=dataclasses.replace(first.checkpoint, every_steps=2, keep_last=9),
    )
    train(second)
    return first, second


def test_a_run_of_adapters_starts_from_another_and_is_read_back_merged(runs: tuple[Any, Any]) -> None:
    first, second = runs
    base, after = load_run(first.run_dir), load_run(second.run_dir)
    assert base.graphdef == after.graphdef
    assert flatten(base.params).keys() == flatten(after.params).keys()
    same = {name_of(p): np.array_equal(x, flatten(after.params)[p]) for p, x in flatten(base.params).items()}
    assert not same["layers/mlp/up"]
    assert same["embed"]
    assert same["final_norm/scale"]
    assert after.config.model.lora == LORA
    assert to_dict(second)["model"]["lora"]["rank"] == 2


def test_a_run_of_adapters_goes_on_as_if_never_stopped(runs: tuple[Any, Any], tmp_path: Path) -> None:
    _, second = runs
    again = second.replace(run_dir=str(tmp_path / "again"))
    shutil.copytree(second.run_dir, again.run_dir)
    stored = Path(again.run_dir) / "config.json"
    stored.write_text(stored.read_text().replace(second.run_dir, again.run_dir))
    shutil.rmtree(checkpoint_dir(again, 0) / "4")
    assert latest_step(checkpoint_dir(again, 0)) == 2
    train(again)
    one, two = (load_run(run.run_dir).params for run in (second, again))
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_published_weights_are_a_start_too(runs: tuple[Any, Any], tmp_path: Path) -> None:
    first, second = runs
    done = load_run(first.run_dir)
    export_params(done.params, done.recipe.resolve_model(first.model, done.space), tmp_path / "weights")
    other = second.replace(run_dir=str(tmp_path / "run"), start_from=str(tmp_path / "weights"))
    train(other)
    one, two = (load_run(run.run_dir).params for run in (second, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    with pytest.raises(MioError, match=r"there is no .*none; name the folder of a run, or published weights"):
        train(second.replace(run_dir=str(tmp_path / "other"), start_from=str(tmp_path / "none")))


def test_a_start_of_another_size_is_refused(runs: tuple[Any, Any], tmp_path: Path) -> None:
    first, second = runs
    other = second.replace(run_dir=str(tmp_path / "x"), model=dataclasses.replace(first.model, depth=1))
    with pytest.raises(MioError, match=r"is of another model: params/layers/.* is \(2, "):
        train(other)


def test_a_checkpoint_of_adapters_alone_is_read_over_its_base(tmp_path: Path) -> None:
    model = ModelConfig(lora=dataclasses.replace(LORA, stored="adapters"))
    optim = OptimConfig(groups=(GroupConfig("embed", rate=0.5),))
    config = RunConfig(model=model, start_from="weights/x", stages=(StageConfig("a", 1, "m", 1, optim=optim),))
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    plan = plan_model(KINDS["decoder"][0], mesh, lora=model.lora)
    stored, rng = stored_paths(config, plan), np.random.default_rng(0)
    assert stored is not None
    assert {path[0] for path in stored} == {"embed", "lora"}
    own = config.replace(model=ModelConfig(lora=LORA))
    assert stored_paths(own, plan) is None

    def drawn() -> Any:
        return jax.tree.map(lambda x: jax.device_put(rng.normal(size=x.shape).astype(x.dtype), x.sharding), plan.params)

    params, others = drawn(), drawn()
    optimizer = make_optimizer(optim, plan.axes)
    abstract = abstract_state(plan, optimizer)
    state = new_state(params, optimizer, abstract)
    base = frozen_base(config, plan, stored, params)
    with Checkpoints(tmp_path, CheckpointConfig(), base=base) as checkpoints:
        checkpoints.save(1, state, {"batches": 1}, {"stage": "a"})
        checkpoints.wait()
        names = {name.split("/")[1] for name in checkpoints.describe(1) if name.startswith("params/")}
        assert names == {"embed", "lora"}
        assert base is not None
        assert checkpoints.read_note(1)["base"] == {"start_from": "weights/x", "fingerprint": base.fingerprint}
    fresh = frozen_base(config, plan, stored, put(params, pick(others, stored)))
    with Checkpoints(tmp_path, base=fresh) as checkpoints:
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(1, abstract)[0], state)
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore_params(1, plan.params), params)
    with Checkpoints(tmp_path, base=frozen_base(config, plan, stored, others)) as checkpoints:
        for read in (lambda: checkpoints.restore(1, abstract), lambda: checkpoints.restore_params(1, plan.params)):
            with pytest.raises(MioError, match=r"for weights with fingerprint \w{16}, and start_from=weights/x"):
                read()


@pytest.mark.slow
def test_checkpoints_of_adapters_alone_are_read_over_their_base(runs: tuple[Any, Any], tmp_path: Path) -> None:
    """Such a run has the parameters of one that stores all, gone on with or not; another base is refused."""
    first, second = runs
    base = tmp_path / "base"
    shutil.copytree(first.run_dir, base)
    thin = second.replace(
        run_dir=str(tmp_path / "thin"),
        start_from=str(base),
        model=dataclasses.replace(second.model, lora=dataclasses.replace(LORA, stored="adapters")),
        stages=(second.stages[0], dataclasses.replace(second.stages[0], name="c", steps=1)),
    )
    train(thin)

    def same_as(wanted: Any, stage: str) -> None:
        jax.tree.map(np.testing.assert_array_equal, load_run(thin.run_dir, stage=stage).params, wanted)

    last = load_run(thin.run_dir).params
    same_as(load_run(second.run_dir).params, "b")
    with Checkpoints(checkpoint_dir(thin, 0)) as checkpoints:
        names = [name for name in checkpoints.describe(4) if name.startswith("params/")]
        assert {name.split("/")[1] for name in names} == {"lora"}
        assert checkpoints.read_note(4)["base"]["start_from"] == str(base)
    shutil.rmtree(stage_dir(thin, 1))  # killed at the start of a stage
    train(thin)
    same_as(last, "c")
    shutil.rmtree(stage_dir(thin, 1))  # and inside of one
    shutil.rmtree(checkpoint_dir(thin, 0) / "4")
    train(thin)
    same_as(last, "c")
    shutil.rmtree(base)
    shutil.copytree(second.run_dir, base)
    for start in (train, lambda config: load_run(config.run_dir)):
        shutil.rmtree(checkpoint_dir(thin, 1), ignore_errors=True)
        with pytest.raises(MioError, match=r"holds adapters for weights with fingerprint \w{16}, and start_from="):
            start(thin)


def test_fingerprints_tell_every_bit_and_no_mesh() -> None:
    rng = np.random.default_rng(0)
    host = {"a": {"w": rng.normal(size=(2, 4, 6)).astype(jnp.bfloat16)}, "b": rng.normal(size=8).astype(np.float32)}

    def of(tree: Any, mesh: Any, *split: str | None) -> str:
        leaves = jax.tree.map(lambda x: jax.device_put(x, NamedSharding(mesh, PartitionSpec(*split))), tree)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), host)
        return fingerprint(leaves, cast(Any, SimpleNamespace(mesh=mesh, shapes=shapes)))

    one, four = make_mesh(MeshConfig(data=1), jax.devices()[:1]), make_mesh(MESH, jax.devices()[:4])
    own = of(host, one)
    assert of(host, four, "fsdp") == own
    turned, swapped = host["a"]["w"].copy(), host["a"]["w"].copy()
    turned[1, 2, 3] *= -1
    swapped[0, 0, :2] = swapped[0, 0, 1::-1]
    others = [of({**host, "a": {"w": w}}, one) for w in (turned, swapped)]
    assert len({own, of({"b": host["b"]}, one), *others}) == 4
