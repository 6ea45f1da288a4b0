"""Our side of the LLaMA benchmark: the training step of `mio train` and the decoding engine of `mio generate`."""

from __future__ import annotations

import platform
import time
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.llama_work import Trainer, arguments, prompts, serve, training_tokens
from mio_jax.config import MeshConfig, OptimConfig
from mio_jax.data.token_space import Block, TokenSpace
from mio_jax.generate.engine import Engine
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.nn.base import apply
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import batch_sharding, make_mesh
from mio_jax.recipes.mio.checkpoint import export_params
from mio_jax.recipes.mio.loss import loss
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import make_step

SETTING, FOLDER = arguments()


class Side(Trainer):
    def load(self) -> dict[str, Any]:
        sizes = ("vocab_size", "dim", "depth", "heads", "kv_heads", "head_dim", "mlp_dim", "init_std")
        sizes += ("rope_theta", "tie_embeddings")
        self.spec = DecoderSpec(**{name: SETTING[name] for name in sizes})
        self.mesh = make_mesh(MeshConfig(data=1))
        self.plan = plan_model(lambda key: Decoder(self.spec, key), self.mesh)
        optim = OptimConfig(
            learning_rate=SETTING["learning_rate"], weight_decay=SETTING["weight_decay"], clip_norm=SETTING["clip_norm"]
        )
        self.rate = jnp.float32(SETTING["learning_rate"])
        self.optimizer = make_optimizer(optim, self.plan.axes)
        self.abstract = abstract_state(self.plan, self.optimizer)
        self.step = make_step(self.plan, self.optimizer, loss, self.abstract)
        params = new_params(self.plan, SETTING["seed"])
        export_params(params, self.spec, FOLDER)
        self.engine = self.make_engine(params)
        self.state = new_state(params, self.optimizer, self.abstract)
        self.steps = 0
        return {}

    def make_engine(self, params: Any) -> Engine:
        text = Block("text", "text", 0, self.spec.vocab_size)
        space = TokenSpace("benchmark", (text,), (), (), bos=1, eos=2, pad=0)
        return Engine(self.plan.graphdef, params, space, self.spec, max_length=SETTING["length"])

    def batch(self, step: int) -> dict[str, jax.Array]:
        tokens = training_tokens(SETTING, step).astype(np.int32)
        whole = np.ones_like(tokens)
        batch = {
            "tokens": tokens,
            "positions": np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape),
            "segment_ids": whole,
            "modality_ids": np.zeros_like(tokens),
            "loss_weights": whole.astype(np.float32),
        }
        return jax.device_put(batch, batch_sharding(self.mesh, *tokens.shape))

    def logits(self, out: str) -> dict[str, Any]:
        batch = self.batch(0)
        hidden = lambda p: apply(self.plan.graphdef, p).hidden(batch["tokens"], batch["positions"], None)  # noqa: E731
        model = apply(self.plan.graphdef, self.state["params"])
        np.save(out, np.asarray(model.logits(jax.jit(hidden)(self.state["params"])[:1])))
        return {}

    def one_step(self) -> float:
        with jax.set_mesh(self.mesh):
            self.state, metrics = self.step(self.state, self.batch(self.steps), self.rate)
        self.steps += 1
        return float(metrics["loss"])

    def generate(self, rows: int, times: int) -> dict[str, Any]:
        given = list(prompts(SETTING, rows).astype(np.int32))
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            new = self.engine.generate(given, SamplingConfig(greedy=True), max_new_tokens=SETTING["new_tokens"])
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "tokens": np.stack(new).tolist()}

    def about(self) -> dict[str, Any]:
        return {"python": platform.python_version(), "jax": jax.__version__, "flax": flax.__version__}


if __name__ == "__main__":
    serve(Side(SETTING))
