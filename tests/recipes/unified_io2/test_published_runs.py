"""The configs of the publication's runs: what they say, and that model and optimizer can be laid out."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import jax
import pytest

from mio_jax.config import RunConfig
from mio_jax.config_loading import load_config_file
from mio_jax.parallel import make_mesh, rules_of
from mio_jax.protocols import load_recipe
from mio_jax.recipes.unified_io2.row_arrays import rows
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.schedule import learning_rate
from mio_jax.train.state import Plan, abstract_state, plan_model
from mio_jax.train.trees import flatten

FOLDER = Path(__file__).parents[3] / "configs" / "unified_io2"
SIZES = ("l", "xl", "xxl")
PUBLISHED = [f"{kind}_{size}" for kind in ("pretrain", "instruct") for size in SIZES]
FINE = ["finetune_one_gpu", "finetune_lora"]
# Of the model alone; published counts have the tokenizers' 118,485,711 in them.
PARAMETERS = {"l": 1_080_595_919, "xl": 3_175_415_247, "xxl": 6_864_176_143}
TOKENIZERS = 118_485_711


def read(name: str) -> RunConfig:
    config: RunConfig = load_config_file(FOLDER / f"{name}.py", [])
    return config


def lay_out(config: RunConfig) -> tuple[Plan, dict[str, Any]]:
    recipe = load_recipe("unified_io2")
    spec = recipe.resolve_model(config.model, recipe.published_space())
    devices = jax.devices()[: 1 if config.mesh.data == 1 else 8]
    build = functools.partial(recipe.build_model, spec)
    mesh = make_mesh(config.mesh, devices)
    plan = plan_model(build, mesh, rules_of(config.mesh), config.model.param_dtype, config.model.lora)
    return plan, abstract_state(plan, make_optimizer(config.stages[0].optim, plan.axes))


def gigabytes(tree: Any) -> float:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree)) / 1e9


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_run_is_laid_out(name: str) -> None:
    config = read(name)
    [stage] = config.stages
    plan, state = lay_out(config)
    assert plan.parameter_count == PARAMETERS[name.split("_")[1]] - TOKENIZERS
    moments = {keys[-len(path) :] for keys, path in _moments(state, plan)}
    frozen = {path for path in flatten(plan.params) if path[0].endswith("_features")}
    assert frozen
    assert not frozen & moments
    pretraining = name.startswith("pretrain")
    assert (stage.rows, stage.steps, stage.optim.z_loss) == (512 if pretraining else 256, 1_500_000, 1e-4)
    warm, base = (5000, 1.0) if pretraining else (2000, 0.5)
    at = {step: learning_rate(stage.optim, stage.steps, step) for step in (1, warm, 4 * warm)}
    assert at[warm] == pytest.approx(base / warm**0.5)
    assert at[1] == pytest.approx(at[warm] / warm)
    assert at[4 * warm] == pytest.approx(at[warm] / 2)
    assert rows(config).media.samples("image") == (288 if pretraining else 504)
    assert rows(config).media.samples("audio") == (64 if pretraining else 112)
    assert bool(config.start_from) != pretraining


def _moments(state: dict[str, Any], plan: Plan) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """(keys of a leaf of the optimizer's state, path of its parameter)."""
    leaves = jax.tree_util.tree_flatten_with_path(state["opt_state"])[0]
    paths = set(flatten(plan.params))
    found = []
    for keys, _ in leaves:
        names = tuple(key.key for key in keys if isinstance(key, jax.tree_util.DictKey))
        found += [(names, path) for path in paths if names[-len(path) :] == path]
    return found


def test_fine_tuning_fits_one_gpu() -> None:
    plan, state = lay_out(read("finetune_one_gpu"))
    trained = {path: x for path, x in flatten(plan.params).items() if not path[0].endswith("_features")}
    total = gigabytes(state) + gigabytes(trained)  # parameters, optimizer, gradients
    assert 35 < total < 45


def test_adapters_of_the_largest_model_fit_eight_small_chips() -> None:
    config = read("finetune_lora")
    plan, state = lay_out(config)
    assert {path[1] for path in flatten(plan.params) if path[0] == "lora"} == {"encoder", "decoder"}
    adapters = {"lora": plan.params["lora"]}
    assert gigabytes(adapters) < 0.3
    assert gigabytes(state["opt_state"]) == pytest.approx(2 * gigabytes(adapters), rel=1e-3)
    each = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(state["params"]))
    assert each < 2.2e9  # of 16 GB


def test_gin_reads_the_files_that_others_include_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    from mio_jax.config_gin import load_gin

    path = FOLDER.parent / "gin" / "unified_io2" / "pretrain_xl.gin"
    config, _ = load_gin([str(path)], ["BATCH_SIZE=64"], RunConfig)
    assert config.stages[0].rows == 64
    assert not caplog.records
