"""A run directory with a tiny untrained Unified-IO 2, for tests of commands."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from mio_jax.config import DataConfig, MeshConfig, ModelConfig, RunConfig, StageConfig, TokenizersConfig
from mio_jax.config_loading import save_json
from mio_jax.parallel import make_mesh
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.run import assemble
from mio_jax.train.run_dir import check_tokenizers, checkpoint_dir
from mio_jax.train.state import new_params, plan_model


def make_run(folder: Path) -> str:
    """Pictures of 64 x 64, sounds of a second, a model of dimension 16."""
    config = RunConfig(
        run_dir=str(folder),
        recipe="unified_io2",
        model=ModelConfig(preset="unified_io2_quickstart", dim=16, heads=2, head_dim=8, mlp_dim=16, depth=1),
        tokenizers=TokenizersConfig(text="unified_io2:bundled:text_tiny"),
        data=DataConfig(budgets=(200, 260), length=460, text_length=56, keep_media=("image", "audio")),
        stages=(StageConfig("instruction", mixture="uio2_all", batch_size=1, style="chat"),),
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_json(config, folder / "config.json")
    parts = assemble(config)
    check_tokenizers(folder, dict(parts.tokenizers.fingerprints), write=True)
    params = new_params(plan_model(parts.build, make_mesh(MeshConfig(data=1), jax.devices()[:1])), 0)
    with Checkpoints(checkpoint_dir(config, 0)) as checkpoints:
        checkpoints.save(1, {"params": params, "opt_state": {"count": np.zeros(())}}, {}, {})
    return str(folder)
