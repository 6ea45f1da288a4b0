"""The stages' configs: what they say, and that model and optimizer can be laid out."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from mio_jax.config import RunConfig
from mio_jax.config_loading import load_config_file
from mio_jax.parallel import make_mesh, rules_of
from mio_jax.protocols import load_recipe
from mio_jax.recipes.mio.mixtures.tables import MIXTURES, sets_of
from mio_jax.recipes.mio.tokens import published_space
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import Plan, abstract_state, plan_model
from mio_jax.train.trees import flatten

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "configs" / "mio"


def read(name: str) -> RunConfig:
    config: RunConfig = load_config_file(FOLDER / f"{name}.py", [])
    return config


def lay_out(config: RunConfig, stage: int = 0) -> tuple[Plan, dict[str, Any]]:
    recipe = load_recipe("mio")
    spec = recipe.resolve_model(config.model, recipe.published_space())
    build = functools.partial(recipe.build_model, spec)
    mesh = make_mesh(config.mesh, jax.devices()[:8])
    plan = plan_model(build, mesh, rules_of(config.mesh), config.model.param_dtype, config.model.lora)
    return plan, abstract_state(plan, make_optimizer(config.stages[stage].optim, plan.axes))


def gigabytes(tree: Any) -> float:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree)) / 1e9


@pytest.mark.parametrize(("name", "parameters"), [("curriculum_7b", 6_160_000_000), ("curriculum_1b", 1_200_000_000)])
def test_the_curriculum_is_the_published_one(name: str, parameters: int) -> None:
    config = read(name)
    assert [stage.name for stage in config.stages] == ["alignment", "interleaved", "speech", "instruct"]
    assert [stage.rows for stage in config.stages] == [2048, 2048, 128, 128]
    assert [stage.steps for stage in config.stages[:3]] == [24_800, 12_800, 32_200]
    shares = [
        [part.rows // scale for part in stage.composition]
        for stage, scale in zip(config.stages, (128, 128, 8), strict=False)
    ]
    assert shares == [[12, 2, 2], [2, 2, 6, 6], [2, 1, 1, 12]]
    named = {part.source for stage in config.stages for part in stage.composition} | {config.stages[3].mixture}
    assert named == set(MIXTURES)
    for stage in config.stages:
        optim = stage.optim
        assert (optim.optimizer, optim.schedule, optim.learning_rate) == ("adamw", "cosine", 3e-5)
        assert (optim.warmup_ratio, optim.clip_norm, optim.z_loss) == (0.03, 1.0, 0.0)
        assert (stage.style, stage.supervise) == (("chat", "responses") if stage.mixture else ("base", "all"))
    assert config.data.length == 2800
    assert config.data.code_seen
    filtered = {name for one in config.data.filters for name in one.sets}
    assert filtered <= {name for rows in MIXTURES.values() for name in sets_of(rows)}
    plan, _ = lay_out(config)
    assert abs(plan.parameter_count / parameters - 1) < 0.01


def test_new_rows_are_those_behind_the_text() -> None:
    config = read("finetune_new_rows")
    groups = config.stages[0].optim.groups
    assert [(group.pattern, group.from_row, group.frozen) for group in groups[:2]] == [
        ("embed", published_space().block("text").size, False),
        ("head", published_space().block("text").size, False),
    ]
    plan, state = lay_out(config)
    assert {path for path in flatten(plan.params) if path[0] not in ("embed", "head")}
    assert gigabytes(state["opt_state"]) == pytest.approx(2 * 2 * 76_294 * 4096 * 4 / 1e9, rel=1e-3)


def test_adapters_are_small_and_full_tuning_is_not() -> None:
    plan, state = lay_out(read("finetune_lora"))
    assert gigabytes(plan.params) < 12.6
    assert gigabytes(state["opt_state"]) < 0.4
    plan, state = lay_out(read("finetune_full"))
    assert 73 < gigabytes(plan.params) + gigabytes(state["opt_state"]) < 75


def test_the_cluster_of_the_paper(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [str(ROOT / "launch" / "mio_7b_128_gpus.sh"), "--dry-run"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for line in ("--nodes=16", "--gpus-per-node=8", "configs/mio/curriculum_7b.py", "--config.mesh.fsdp=8"):
        assert line in done.stdout
