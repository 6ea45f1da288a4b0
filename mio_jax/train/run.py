"""A run put together from its config: recipe, tokenizers, model; and a trained run read back from its folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from mio_jax.config import MeshConfig, RunConfig, StageConfig
from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.nn.base import split_model
from mio_jax.parallel import make_mesh, pad_to, rules_of, strip_to
from mio_jax.protocols import Recipe, load_recipe
from mio_jax.train.checkpoint import Checkpoints, check_shapes, latest_step
from mio_jax.train.frozen_base import frozen_base, stored_paths
from mio_jax.train.lora import KEY
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.run_dir import check_tokenizers, checkpoint_dir, load_config
from mio_jax.train.state import Plan, drawn_params, plan_model, shardings_of


@dataclass(frozen=True)
class Parts:
    """What a config names, loaded. `spec` is the model's frozen spec, `build` makes the model from a key."""

    recipe: Recipe
    tokenizers: Any
    space: TokenSpace
    spec: Any

    @property
    def build(self) -> Callable[[jax.Array], Any]:
        return lambda key: self.recipe.build_model(self.spec, key)


def assemble(config: RunConfig) -> Parts:
    """Loads the recipe and tokenizers of `config` and resolves its model. Raises MioError for what does not exist."""
    from mio_tokenizers import load_set

    recipe = load_recipe(config.recipe)
    tokenizers = load_set(config.tokenizers)
    space = recipe.token_space(tokenizers)
    return Parts(recipe, tokenizers, space, recipe.resolve_model(config.model, space))


def corruption(config: RunConfig, stage: StageConfig, parts: Parts) -> Any:
    """What the recipe makes of a stage's examples, or None; see `mio_jax.protocols.Recipe.corruption`.

    Raises MioError if the stage's objective is denoising and the recipe or the vocabulary has nothing for it.
    """
    if hasattr(parts.recipe, "corruption"):
        return parts.recipe.corruption(config, stage, parts.tokenizers, parts.space)
    if stage.objective == "denoising":
        raise MioError(
            f"stage {stage.name!r}: recipe {config.recipe!r} has no corruption for objective 'denoising'; train it "
            "with objective='causal'"
        )
    return None


class Run(NamedTuple):
    """A trained run: `apply(graphdef, params)` (`mio_jax.nn.base`) is its model; `stage` is whose parameters it has."""

    config: RunConfig
    graphdef: Any
    params: Any
    recipe: Recipe
    tokenizers: Any
    space: TokenSpace
    stage: str = ""


def load_run(
    run_dir: str | os.PathLike[str], *, stage: str | None = None, mesh: Mesh | None = None, ema: bool | None = None
) -> Run:
    """Reads a run's config and newest parameters: their moving average where the stage keeps one.

    Args:
      run_dir: its folder.
      stage: which stage's; default: the last one that has a checkpoint.
      mesh: where the parameters go; default: one device, whatever the run was trained on.
      ema: True: the moving average, False: the parameters themselves; default: the average if the stage keeps one.

    Raises:
      MioError: no such run, nothing trained yet, other tokenizers than it was trained with, a moving average
        that the stage does not keep, or a checkpoint that does not fit the config's model or its frozen base.
    """
    config = load_config(run_dir)
    index, step = find_checkpoint(config, stage)
    optim = config.stages[index].optim
    if ema and not optim.ema_decay:
        name = config.stages[index].name
        raise MioError(f"stage {name!r} of {run_dir} keeps no moving average: its optim.ema_decay is 0")
    parts = assemble(config)
    check_tokenizers(Path(run_dir), dict(parts.tokenizers.fingerprints), write=False)
    # Nothing is padded: what is returned goes straight into a model.
    rules = {name: dataclasses.replace(r, may_replicate=True, pad=False) for name, r in rules_of(config.mesh).items()}
    mesh = mesh or make_mesh(MeshConfig(data=1), jax.local_devices()[:1])
    plan = plan_model(parts.build, mesh, rules, config.model.param_dtype, config.model.lora)
    stored = stored_paths(config, plan)
    base = frozen_base(config, plan, stored, starting_params(config, plan, parts)) if stored else None
    with Checkpoints(checkpoint_dir(config, index), padding=plan.padding, base=base) as checkpoints:
        params = checkpoints.restore_params(step, plan.params)
        if optim.ema_decay and ema is not False:
            optimizer = make_optimizer(optim, plan.axes)
            params = optimizer.merged(params, checkpoints.restore_ema(step, optimizer.trainable(plan.params)))
    graphdef = plan.graphdef
    if plan.lora:  # whoever uses a trained run needs no adapters: they are added to the kernels
        graphdef, params = split_model(parts.build)[0], plan.lora.merged_params(params, plan.axes)
    return Run(config, graphdef, params, parts.recipe, parts.tokenizers, parts.space, config.stages[index].name)


def check_table(weights: str | os.PathLike[str], parts: Parts) -> None:
    """Lets the recipe refuse weights whose rows mean other tokens than this run's (`Recipe.check_weights`)."""
    if hasattr(parts.recipe, "check_weights"):
        parts.recipe.check_weights(weights, parts.space, parts.tokenizers)


def starting_params(config: RunConfig, plan: Plan, parts: Parts) -> Any:
    """What `config.start_from` holds as it lies on the mesh of `plan`: another run's newest parameters, or published
    weights. Adapters, if the model has any, are new ones.

    Raises:
      MioError: as `load_run`, or `Recipe.import_weights` where the path is no run; a model of other sizes, or other
        tokenizers than that run's.
    """
    where = config.start_from
    if (Path(where) / "stages").is_dir():
        run = load_run(where, mesh=plan.mesh)
        for modality, fingerprint in run.tokenizers.fingerprints.items():
            if fingerprint != parts.tokenizers.fingerprints.get(modality):
                raise MioError(
                    f"start_from: {where} was trained with another {modality} tokenizer ({fingerprint}); its ids mean "
                    f"something else here: set tokenizers.{modality} as that run's config has it"
                )
        if run.space != parts.space:
            raise MioError(
                f"start_from: {where} has another layout of ids; set tokenizers as that run's config has them"
            )
        base = run.params
        check_shapes(base, {name: part for name, part in plan.shapes.items() if name != KEY}, where, "params")
    elif Path(where).exists():
        check_table(where, parts)
        base = parts.recipe.import_weights(where, parts.spec, plan.place)
    else:
        raise MioError(f"start_from: there is no {where}; name the folder of a run, or published weights")

    def make(key: jax.Array, base: Any) -> Any:
        params = {**drawn_params(plan, key), **strip_to(base, {name: plan.shapes[name] for name in base})}
        return pad_to(jax.tree.map(lambda x, s: x.astype(s.dtype), params, plan.shapes), plan.params)

    return jax.jit(make, out_shardings=shardings_of(plan.params))(jax.random.key(config.seed), base)


def restore_params(
    run_dir: str | os.PathLike[str], stage: str | None = None, *, mesh: Mesh | None = None, ema: bool | None = None
) -> Any:
    """The newest parameters of a run (or of one of its stages) as a nested dict of arrays; see `load_run`."""
    return load_run(run_dir, stage=stage, mesh=mesh, ema=ema).params


def find_checkpoint(config: RunConfig, stage: str | None = None) -> tuple[int, int]:
    """(stage number, step) of the newest checkpoint of a run. Raises MioError if there is none."""
    names = [s.name for s in config.stages]
    if stage is not None and stage not in names:
        raise MioError(f"{config.run_dir} has no stage {stage!r}; its stages: {', '.join(names)}")
    for index in reversed(range(len(names)) if stage is None else [names.index(stage)]):
        step = latest_step(checkpoint_dir(config, index))
        if step is not None:
            return index, step
    what = f"stage {stage!r} of {config.run_dir}" if stage else config.run_dir
    raise MioError(f"{what} has no checkpoint yet; train it first: mio train --run {config.run_dir}")
