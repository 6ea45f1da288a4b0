"""Checkpoints: what is saved is what was there, whatever happens to the arrays or the process meanwhile."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mio_jax.config import CheckpointConfig, MeshConfig
from mio_jax.errors import MioError
from mio_jax.parallel import make_mesh
from mio_jax.train.checkpoint import Checkpoints, latest_step

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


def state(width: int = 8, *, sizes: dict[str, int] | None = None, extra: str = "") -> dict[str, Any]:
    mesh = make_mesh(MeshConfig(**({"data": 1} | (sizes or {}))))
    split = NamedSharding(mesh, PartitionSpec("fsdp", "tensor"))
    whole = NamedSharding(mesh, PartitionSpec())
    params = {"layers": {"w": jax.random.normal(jax.random.key(0), (16, width))}} | (
        {extra: jnp.ones(2)} if extra else {}
    )
    params = jax.tree.map(lambda x: jax.device_put(x, split if x.ndim == 2 else whole), params)
    opt = jax.tree.map(lambda x: jax.device_put(x, split if x.ndim == 2 else whole), OPTIMIZER.init(params))
    return {"params": params, "opt_state": opt}


def abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def assert_equal(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip_onto_another_mesh(tmp_path: Path) -> None:
    saved = state(sizes={"fsdp": 4, "tensor": 2})
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=2)) as checkpoints:
        checkpoints.save(3, saved, {"rows": {"0": [1, 2]}}, {"stage": "a"})
    wanted = abstract(state(sizes={"fsdp": 2, "tensor": 4}))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest == 3
        restored, data = checkpoints.restore(3, wanted)
    assert_equal(restored, saved)
    assert data == {"rows": {"0": [1, 2]}}
    assert restored["params"]["layers"]["w"].sharding == wanted["params"]["layers"]["w"].sharding


def test_donating_what_is_being_saved_does_not_change_it(tmp_path: Path) -> None:
    current = state(width=4096)
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    position = {"next": 0}
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=5)) as checkpoints:
        kept = []
        for n in range(1, 4):
            kept.append(jax.tree.map(np.array, current))
            position["next"] = n
            checkpoints.save(n, current, position, {})
            position["next"] = -1
            for _ in range(5):
                current = step(current)
        checkpoints.wait()
        for n, want in enumerate(kept, 1):
            got, data = checkpoints.restore(n, abstract(current))
            assert_equal(got, want)
            assert data == {"next": n}


@pytest.mark.parametrize("left", [("params",), (), ("commit_success.txt",), ("_CHECKPOINT_METADATA", "data")])
def test_keeps_the_newest_and_reads_only_what_is_committed(tmp_path: Path, left: tuple[str, ...]) -> None:
    """`left`: what a kill in the middle of its deletion left of the oldest checkpoint."""
    assert latest_step(tmp_path / "nothing") is None
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=2)) as checkpoints:
        for n in (2, 4, 6):
            checkpoints.save(n, state(), {}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4", "6"]
    shutil.copytree(tmp_path / "6", tmp_path / "8.orbax-checkpoint-tmp")  # never renamed
    for item in (tmp_path / "4").iterdir():
        if item.name not in left:
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    assert latest_step(tmp_path) == 6
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=2)) as checkpoints:
        checkpoints.restore(6, abstract(state()))
        checkpoints.save(8, state(), {}, {})
    assert latest_step(tmp_path) == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["6", "8"]


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (CheckpointConfig(every_steps=1, keep_last=1), [8]),
        (CheckpointConfig(every_steps=1, keep_last=1, keep_every=4), [4, 8]),
        (CheckpointConfig(every_steps=1, keep_last=1, keep_best=2), [3, 5, 8]),
        (CheckpointConfig(every_steps=1, keep_last=1, keep_best=1, best_mode="max"), [2, 8]),
        (CheckpointConfig(every_steps=1, keep_last=2, keep_every=4, keep_best=1), [3, 4, 7, 8]),
        (CheckpointConfig(every_steps=1, keep_last=1, keep_best=1, best_metric="loss/image"), [8]),
    ],
)
def test_what_stays(tmp_path: Path, keep: CheckpointConfig, left: list[int]) -> None:
    """Also over a restart, in which the figures come from the disk; step 6 had none."""
    losses = {1: 4.0, 2: 9.0, 3: 1.0, 4: 5.0, 5: 2.0, 7: 6.0, 8: 7.0}
    small = {"params": {"w": jnp.ones(2)}, "opt_state": {"m": jnp.ones(2)}}
    for part in (range(1, 5), range(5, 9)):
        with Checkpoints(tmp_path, keep) as checkpoints:
            for n in part:
                figure = {"loss": losses[n]} if n in losses and keep.best_metric == "loss" else None
                checkpoints.save(n, small, {}, {}, figure)
    with Checkpoints(tmp_path) as checkpoints:
        assert [found.step for found in checkpoints.saved] == left
        if keep.best_metric == "loss":
            assert checkpoints.saved[-1].metrics == {"loss": 7.0}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"keep_every": 30}, "keep_every is 30, which is no multiple of the 50 steps"),
        ({"keep_best": -1}, "keep_best is -1"),
        ({"best_mode": "least"}, "best_mode is 'least'; it must be one of min, max"),
        ({"best_metric": ""}, "best_metric is empty"),
    ],
)
def test_rules_that_make_no_sense(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(MioError, match=said):
        CheckpointConfig(**wrong)


def test_reading_removes_nothing(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=1)) as checkpoints:
        checkpoints.save(1, state(), {}, {})
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()  # another process is saving this one
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.restore_params(1, abstract(state()["params"]))
    assert (tmp_path / "2.orbax-checkpoint-tmp").is_dir()


@pytest.mark.parametrize(
    ("saved", "wanted", "said"),
    [
        ({"width": 8}, {"width": 16}, r"params/layers/w is \(16, 8\), this model's is \(16, 16\)"),
        ({}, {"extra": "bias"}, "it has no params/bias, which this model needs"),
        ({"extra": "bias"}, {}, "it has params/bias, which this model does not have"),
    ],
)
def test_another_model_is_told_in_one_line(tmp_path: Path, saved: Any, wanted: Any, said: str) -> None:
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=1)) as checkpoints:
        checkpoints.save(1, state(**saved), {}, {})
        checkpoints.wait()
        with pytest.raises(MioError, match=said):
            checkpoints.restore(1, abstract(state(**wanted)))
        with pytest.raises(MioError, match=said):
            checkpoints.restore_params(1, abstract(state(**wanted)["params"]))


def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=1)) as checkpoints:
        checkpoints.save(1, state(), {}, {})
    shutil.rmtree(tmp_path / "1" / "params")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(MioError, match=r"cannot be read .* delete that folder"):
        checkpoints.restore(1, abstract(state()))


def test_a_write_that_fails_is_told_in_one_line_and_the_last_one_stays(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    with Checkpoints(tmp_path, CheckpointConfig(keep_last=2)) as checkpoints:
        checkpoints.save(1, state(), {}, {})
        checkpoints.wait()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save() -> None:
        with Checkpoints(tmp_path, CheckpointConfig(keep_last=2)) as checkpoints:
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
                checkpoints.save(2, state(width=4096), {}, {})
                checkpoints.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with pytest.raises(MioError, match=r"could not be written under .*: File too large; mend that and run"):
        save()
    assert latest_step(tmp_path) == 1
