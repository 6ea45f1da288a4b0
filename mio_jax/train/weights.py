"""Published weights as a run, to be scored, asked and fine-tuned like any other; and a run as published weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import jax

from mio_jax import __version__
from mio_jax.config import RunConfig
from mio_jax.config_loading import to_dict
from mio_jax.errors import MioError
from mio_jax.parallel import make_mesh, rules_of
from mio_jax.train.checkpoint import Checkpoints, latest_step
from mio_jax.train.run import assemble, check_table, load_run
from mio_jax.train.run_dir import check_tokenizers, checkpoint_dir, open_run
from mio_jax.train.state import plan_model
from mio_jax.train.versions import versions

STAGE = "imported"


def import_run(weights: str | os.PathLike[str], config: RunConfig, *, ignore: Sequence[str] = ()) -> int:
    """Makes the run `config.run_dir`, whose one checkpoint (stage "imported", step 0) holds published weights.

    They are laid on the config's mesh array by array: the host never holds them all.

    Args:
      weights: what the recipe reads: a safetensors file or folder, npz, a T5X folder.
      ignore: globs of names in it that this model does not have.

    Returns:
      The number of parameters.

    Raises:
      MioError: a run that is there already, or weights that are not those of the config's model (all differences
        listed).
    """
    if not Path(weights).exists():
        raise MioError(f"there are no weights at {weights}")
    config = config.replace(stages=(dataclasses.replace(config.stages[0], name=STAGE),))
    folder = checkpoint_dir(config, 0)
    if latest_step(folder) is not None:
        raise MioError(f"{config.run_dir} has weights already; use another run_dir")
    parts = assemble(config)
    check_table(weights, parts)
    with open_run(config) as run_dir:
        check_tokenizers(run_dir, dict(parts.tokenizers.fingerprints), write=True)
        mesh = make_mesh(config.mesh)
        with jax.set_mesh(mesh):
            plan = plan_model(parts.build, mesh, rules_of(config.mesh), config.model.param_dtype)
            params = parts.recipe.import_weights(weights, parts.spec, plan.place, ignore=ignore)
            note = {"version": __version__, "versions": versions(), "stage": STAGE, "config": to_dict(config)}
            with Checkpoints(folder, config.checkpoint, plan.padding) as checkpoints:
                checkpoints.save(0, {"params": params}, {}, note)
    return plan.parameter_count


def export_run(
    run_dir: str | os.PathLike[str], folder: str | os.PathLike[str], *, stage: str | None = None, names: str = ""
) -> list[Path]:
    """Writes a run's newest parameters (adapters added, their moving average if it keeps one) under published names.

    Args:
      names: which names, where the recipe has several; empty: its first.

    Returns:
      The files.

    Raises:
      MioError: as `load_run`, or names that the recipe does not have.
    """
    run = load_run(run_dir, stage=stage)
    spec = run.recipe.resolve_model(run.config.model, run.space)
    files = run.recipe.export_weights(run.params, spec, folder, names=names)
    if hasattr(run.recipe, "write_added_tokens"):
        run.recipe.write_added_tokens(run.space, folder)
    return files
