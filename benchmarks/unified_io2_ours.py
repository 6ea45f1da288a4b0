"""Our side of the Unified-IO 2 benchmark: the training step of `mio train` on a small model with every modality."""

from __future__ import annotations

import dataclasses
import math
import platform
from typing import Any

import flax
import jax
import jax.numpy as jnp

from benchmarks.llama_work import Trainer, arguments, serve
from benchmarks.unified_io2_work import PATCH, batch
from mio_jax.config import GroupConfig, MeshConfig, OptimConfig
from mio_jax.nn.resampler import ResamplerSpec
from mio_jax.nn.vit import ViTSpec
from mio_jax.parallel import batch_sharding, make_mesh
from mio_jax.recipes.unified_io2.checkpoint import export_params
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.objective import loss
from mio_jax.recipes.unified_io2.spec import AST, UnifiedIO2Spec
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import make_step


def spec_of(setting: dict[str, Any]) -> UnifiedIO2Spec:
    grids, codes, vocab = setting["grids"], setting["codes"], setting["vocab"]
    vit = ViTSpec(PATCH["image"], positions=math.prod(grids["image"]) + 1, **setting["vit"])
    history = ResamplerSpec(setting["latents"]["image"], **setting["resampler"])
    return UnifiedIO2Spec(
        **{name: setting[name] for name in ("dim", "heads", "head_dim", "mlp_dim")},
        encoder_depth=setting["depth"],
        decoder_depth=setting["depth"],
        image_history=history,
        audio_history=dataclasses.replace(history, latents=setting["latents"]["audio"]),
        image_vit=vit,
        audio_vit=dataclasses.replace(AST, positions=setting["ast_rows"], **setting["vit"]),
        **{f"{kind}_vocab": rows for kind, rows in vocab.items()},
        image_positions=tuple(grids["image"]),
        image_grid=tuple(grids["image"]),
        image_history_grid=tuple(grids["image"]),
        audio_grid=tuple(grids["audio"]),
        target_image_grid=tuple(codes["image"]),
        target_audio_grid=tuple(codes["audio"]),
        history_slots=setting["items"],
    )


class Side(Trainer):
    def __init__(self, setting: dict[str, Any], folder: Any) -> None:
        super().__init__(setting)
        self.setting, self.folder, self.steps = setting, folder, 0

    def load(self) -> dict[str, Any]:
        setting = self.setting
        spec = spec_of(setting)
        self.mesh = make_mesh(MeshConfig(data=1))
        self.sharding = batch_sharding(self.mesh, setting["rows"], 1)
        plan = plan_model(lambda key: UnifiedIO2(spec, key), self.mesh)
        optim = OptimConfig(
            **{name: setting[name] for name in ("learning_rate", "weight_decay", "clip_norm")},
            # The ViTs get no gradient; without this they would still lose weight.
            groups=(GroupConfig("*_features/*", frozen=True),),
        )
        optimizer = make_optimizer(optim, plan.axes)
        abstract = abstract_state(plan, optimizer)
        self.rate = jnp.float32(setting["learning_rate"])
        self.step = make_step(
            plan, optimizer, lambda model, part: loss(model, part, z_loss=setting["z_loss"]), abstract
        )
        params = new_params(plan, setting["seed"])
        export_params(params, spec, self.folder)
        self.state = new_state(params, optimizer, abstract)
        return {}

    def one_step(self) -> float:
        by_rows = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec(self.sharding.spec[0]))
        made = jax.device_put(batch(self.setting, self.steps), by_rows)
        with jax.set_mesh(self.mesh):
            self.state, metrics = self.step(self.state, made, self.rate)
        self.steps += 1
        return float(metrics["loss"])

    def about(self) -> dict[str, Any]:
        return {"python": platform.python_version(), "jax": jax.__version__, "flax": flax.__version__}


if __name__ == "__main__":
    serve(Side(*arguments()))
