"""The step with each option, on a model that compiles quickly; sharded states; checkpoints of all they may hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from mio_jax.config import (
    AdafactorConfig,
    CheckpointConfig,
    DataConfig,
    GroupConfig,
    GuardConfig,
    OptimConfig,
    RunConfig,
    StageConfig,
)
from mio_jax.errors import MioError
from mio_jax.nn.base import apply
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.optimizer import decay_mask, make_optimizer
from mio_jax.train.stages import _Training
from tests.train import toy_model
from tests.train.toy_model import Trainer, batch

MESH = {"data": 2, "fsdp": 2, "tensor": 2}
OPTIM = {
    "adamw": OptimConfig(),
    "adafactor": OptimConfig(optimizer="adafactor", adafactor=AdafactorConfig(min_dim_size_to_factor=8, beta1=0.9)),
    "muon": OptimConfig(optimizer="muon"),
}


def close(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_by_default_a_step_is_adamw_written_down() -> None:
    """To rounding: XLA fuses the two programs differently."""
    trainer = Trainer(OptimConfig())
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b1=0.9, b2=0.95, eps=1e-8),
        optax.add_decayed_weights(0.1, mask=decay_mask(trainer.plan.axes)),
    )

    @jax.jit
    def plain(params: Any, opt_state: Any, batch: Any, rate: jax.Array) -> Any:
        def summed(params: Any) -> Any:
            return toy_model.loss(apply(trainer.plan.graphdef, params), batch)

        (total, sums), gradient = jax.value_and_grad(summed, has_aux=True)(params)
        weight = jnp.where(sums["weight"] > 0, sums["weight"], 1.0)
        gradient = jax.tree.map(lambda g: g / weight, gradient)
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return params, opt_state, {"loss": total / weight, "grad_norm": optax.tree_utils.tree_norm(gradient), **sums}

    params = trainer.host()["params"]
    opt_state = tx.init(params)
    for seed in range(3):
        metrics = trainer.step(batch(seed))
        params, opt_state, wanted = plain(params, opt_state, batch(seed), jnp.float32(0.01))
        for name in ("loss", "grad_norm", "weight"):
            assert metrics[name] == pytest.approx(float(wanted[name]), rel=1e-5)
    close(trainer.host(), {"params": params, "opt_state": opt_state}, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("micro_batches", "mesh"), [(8, {}), (2, MESH)])
def test_micro_batches_equal_the_large_batch(micro_batches: int, mesh: dict[str, int]) -> None:
    whole, parts = Trainer(OptimConfig()), Trainer(OptimConfig(), micro_batches, **mesh)
    for seed in range(2):
        a, b = whole.step(batch(seed)), parts.step(batch(seed))
        assert a == pytest.approx(b, rel=1e-5)
    close(whole.host()["params"], parts.host()["params"])


@pytest.mark.parametrize("optimizer", list(OPTIM))
def test_a_mesh_gives_what_one_device_gives(optimizer: str) -> None:
    one, eight = Trainer(OPTIM[optimizer]), Trainer(OPTIM[optimizer], 2, **MESH)
    for seed in range(2):
        a, b = one.step(batch(seed)), eight.step(batch(seed))
        assert a == pytest.approx(b, rel=1e-4)
    close(one.host()["params"], eight.host()["params"], rtol=1e-3, atol=1e-5)
    wanted = jax.tree.map(lambda x: x.sharding, eight.abstract)
    assert jax.tree.map(lambda x: x.sharding, eight.state) == wanted  # they lie where they were meant to


def test_factored_moments_lie_like_the_axes_they_kept() -> None:
    state = Trainer(OPTIM["adafactor"], **MESH).abstract["opt_state"][0][1]
    spec = {field: jax.tree.map(lambda x: x.sharding.spec, getattr(state, field)) for field in ("v_row", "v_col", "v")}
    assert spec["v_row"].keys() == spec["v_col"].keys() == {"embed", "layers"}
    # embed [vocab 12 on tensor, embed 8 on fsdp]: the larger dimension is the columns
    assert spec["v_row"]["embed"] == PartitionSpec("fsdp")
    assert spec["v_col"]["embed"] == PartitionSpec("tensor")
    # query [layers, embed on fsdp, heads on tensor, kv], out [layers, heads, kv, embed]
    assert spec["v_row"]["layers"]["query"] == PartitionSpec(None, "fsdp")
    assert spec["v_col"]["layers"]["query"] == PartitionSpec(None, "tensor", None)
    assert spec["v_row"]["layers"]["out"] == PartitionSpec(None, "fsdp")
    assert spec["v_col"]["layers"]["out"] == PartitionSpec(None, "tensor", None)
    assert spec["v"].keys() == {"layers", "norm"}
    assert state.updates.sharding.spec == PartitionSpec()


def test_frozen_parts_stay_and_the_average_follows_the_rest() -> None:
    trainer = Trainer(OptimConfig(ema_decay=0.75, groups=(GroupConfig("embed", frozen=True),)))
    first = trainer.host()
    assert sorted(first["ema"]) == ["layers", "norm"]
    same(first["ema"], {k: first["params"][k] for k in ("layers", "norm")})
    average = first["ema"]
    for seed in range(3):
        trainer.step(batch(seed))
        now = trainer.host()
        average = jax.tree.map(
            lambda e, p: 0.75 * e + 0.25 * p, average, {k: now["params"][k] for k in ("layers", "norm")}
        )
    close(now["ema"], average)
    np.testing.assert_array_equal(now["params"]["embed"], first["params"]["embed"])
    assert np.abs(now["params"]["norm"] - first["params"]["norm"]).max() > 1e-3


def test_new_rows_alone_are_trained() -> None:
    groups = (GroupConfig("embed", from_row=9), GroupConfig("*", frozen=True))
    trainer = Trainer(OptimConfig(groups=groups, clip_norm=0.5), 2, **MESH)
    whole = Trainer(OptimConfig(groups=(GroupConfig("embed"), GroupConfig("*", frozen=True))))
    first = trainer.host()
    norm = trainer.step(batch(0))["grad_norm"]
    assert 0 < norm < 0.9 * whole.step(batch(0))["grad_norm"]  # what is clipped is what is trained
    trainer.step(batch(1))
    now = trainer.host()
    np.testing.assert_array_equal(now["params"]["embed"][:9], first["params"]["embed"][:9])  # not decayed either
    assert (now["params"]["embed"][9:] != first["params"]["embed"][9:]).all()
    same({k: now["params"][k] for k in ("layers", "norm")}, {k: first["params"][k] for k in ("layers", "norm")})
    moments = [x for x in jax.tree.leaves(now["opt_state"]) if x.ndim == 2]
    assert len(moments) == 2
    assert not any(x[:9].any() for x in moments)
    alone = Trainer(OptimConfig(groups=groups, clip_norm=0.5))
    for seed in (0, 1):
        alone.step(batch(seed))
    close(now["params"], alone.host()["params"])


def test_rows_of_what_is_no_table_are_refused() -> None:
    axes = {"embed": ("vocab", "embed"), "norm": ("norm",)}
    with pytest.raises(MioError, match="norm is no table of the vocabulary"):
        make_optimizer(OptimConfig(groups=(GroupConfig("norm", from_row=2),)), axes)
    with pytest.raises(MioError, match="whole tables; use adamw"):
        make_optimizer(OptimConfig(optimizer="adafactor", groups=(GroupConfig("embed", from_row=2),)), axes)
    optimizer = make_optimizer(OptimConfig(groups=(GroupConfig("embed", from_row=12),)), axes)
    with pytest.raises(MioError, match="from_row is 12, and embed has 12 rows"):
        optimizer.of_rows({"embed": jnp.zeros((12, 8))})


def bad(seed: int) -> dict[str, np.ndarray]:
    made = batch(seed)
    made["weights"][0, 0] = np.nan
    return made


def test_a_bad_update_changes_nothing_but_the_count() -> None:
    trainer = Trainer(OptimConfig(ema_decay=0.5, guard=GuardConfig(max_in_a_row=3)))
    counts = []
    for seed, make in enumerate([batch, bad, bad, batch, bad]):
        before = trainer.host()
        metrics = trainer.step(make(seed))
        counts.append((metrics["skipped"], metrics["in_a_row"]))
        after = trainer.host()
        if make is bad:
            assert np.isnan(metrics["loss"])
            same({k: before[k] for k in ("params", "opt_state", "ema")}, {k: after[k] for k in after if k != "guard"})
        else:
            assert np.abs(after["params"]["norm"] - before["params"]["norm"]).max() > 0
    assert counts == [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]


def test_a_spike_is_skipped_once_the_mean_is_known() -> None:
    trainer = Trainer(OptimConfig(guard=GuardConfig(spike_factor=1.5, spike_window=3)))
    high = batch(0)
    logits = apply(trainer.plan.graphdef, trainer.state["params"]).logits(jnp.asarray(high["tokens"]))
    high["targets"] = np.asarray(jnp.argmin(logits, -1), np.int32)  # the least likely tokens
    losses, skipped = [], []
    for given in (batch(1), batch(2), high, batch(3), high, batch(4)):
        metrics = trainer.step(given, rate=1e-5)
        losses.append(metrics["loss"])
        skipped.append(metrics["skipped"])
    assert losses[4] > 1.5 * np.mean(losses[:4])
    assert skipped == [0, 0, 0, 0, 1, 1]  # the same batch, the first time before the window was full


def test_z_loss_reaches_the_step_from_the_config() -> None:
    trainer = Trainer(OptimConfig())
    stages = tuple(StageConfig(f"s{i}", 1, "m", 8, optim=OptimConfig(z_loss=z)) for i, z in enumerate((0.0, 0.25)))
    config = RunConfig(stages=stages, data=DataConfig(length=toy_model.LENGTH))
    parts = SimpleNamespace(recipe=SimpleNamespace(loss=toy_model.loss))
    training = _Training(config, parts, trainer.plan, None, None, None)  # type: ignore[arg-type]
    first, losses = trainer.host(), []
    for stage in stages:
        _, _, trainer.compiled = training._machinery(stage)
        trainer.state = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), first, trainer.abstract)
        losses.append(trainer.step(batch())["loss"])
    logits = np.asarray(apply(trainer.plan.graphdef, first["params"]).logits(batch()["tokens"]))
    lse = np.log(np.exp(logits).sum(-1))
    weights = batch()["weights"]
    assert losses[1] - losses[0] == pytest.approx(0.25 * (weights * lse**2).sum() / weights.sum(), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adafactor", "muon"])
def test_checkpoints_hold_all_of_a_state(tmp_path: Path, optimizer: str) -> None:
    fields = {"ema_decay": 0.9, "guard": GuardConfig(max_in_a_row=2), "groups": (GroupConfig("norm", frozen=True),)}
    optim = OptimConfig(optimizer=optimizer, adafactor=AdafactorConfig(min_dim_size_to_factor=8), **fields)
    first = Trainer(optim, **MESH)
    first.step(batch(0))
    other = Trainer(optim, fsdp=4, tensor=2)
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=1)) as checkpoints:
        checkpoints.save(1, first.state, {"n": 1}, {})
        checkpoints.wait()
        other.state, _ = checkpoints.restore(1, other.abstract)
        ema = checkpoints.restore_ema(1, first.abstract["ema"])
    same(first.host(), other.host())
    same(jax.tree.map(np.array, ema), first.host()["ema"])
    assert first.step(batch(1)) == pytest.approx(other.step(batch(1)), rel=1e-4)
