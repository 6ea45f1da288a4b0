"""A model that compiles in no time, with a parameter of every kind that optimizers tell apart, and its loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mio_jax.config import MeshConfig, OptimConfig
from mio_jax.nn.base import Module, ones, param
from mio_jax.parallel import batch_sharding, make_mesh, replicated
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import Plan, State, abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import make_step

ROWS, LENGTH, VOCAB, DIM, HEADS, KV, DEPTH = 8, 4, 12, 8, 2, 4, 3


class Layer(Module):
    def __init__(self, key: jax.Array) -> None:
        a, b = jax.random.split(key)
        self.query = param(a, (DIM, HEADS, KV), ("embed", "heads", "kv"), 0.3)
        self.out = param(b, (HEADS, KV, DIM), ("heads", "kv", "embed"), 0.3)
        self.scale = ones((DIM,), ("norm",))

    def __call__(self, x: jax.Array) -> jax.Array:
        heads = jnp.einsum("btd,dhk->bthk", x * self.scale[...], self.query[...])
        return x + jnp.einsum("bthk,hkd->btd", jnp.tanh(heads), self.out[...])


class Toy(Module):
    def __init__(self, key: jax.Array) -> None:
        a, b = jax.random.split(key)
        self.embed = param(a, (VOCAB, DIM), ("vocab", "embed"), 1.0)
        self.layers = jax.vmap(Layer)(jax.random.split(b, DEPTH))
        self.norm = ones((DIM,), ("norm",))

    def logits(self, tokens: jax.Array) -> jax.Array:
        hot = jax.nn.one_hot(tokens, VOCAB)
        x, _ = jax.lax.scan(lambda x, layer: (layer(x), None), hot @ self.embed[...], self.layers)
        return (x * self.norm[...]) @ self.embed[...].T


def loss(model: Toy, batch: dict[str, jax.Array], *, z_loss: float = 0.0) -> tuple[jax.Array, dict[str, jax.Array]]:
    logits = model.logits(batch["tokens"])
    lse = jax.nn.logsumexp(logits, axis=-1)
    hit = (jax.nn.one_hot(batch["targets"], VOCAB) * logits).sum(-1)
    losses = batch["weights"] * (lse - hit + z_loss * lse**2)
    weight = batch["weights"].sum()
    return losses.sum(), {"weight": weight, "loss/text": losses.sum(), "weight/text": weight}


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights are ragged: rows, and so micro-batches, differ in how much they have."""
    rng = np.random.default_rng(seed)
    shape = (ROWS, LENGTH)
    return {
        "tokens": rng.integers(0, VOCAB, shape, dtype=np.int32),
        "targets": rng.integers(0, VOCAB, shape, dtype=np.int32),
        "weights": (rng.random(shape) < np.linspace(0.1, 1, ROWS)[:, None]).astype(np.float32),
    }


class Trainer:
    """A compiled step and the state that it turns over."""

    def __init__(self, optim: OptimConfig, micro_batches: int = 1, **mesh: int) -> None:
        self.mesh: Mesh = make_mesh(MeshConfig(**mesh)) if mesh else make_mesh(MeshConfig(data=1), jax.devices()[:1])
        self.plan: Plan = plan_model(Toy, self.mesh)
        self.optimizer = make_optimizer(optim, self.plan.axes)
        self.abstract: State = abstract_state(self.plan, self.optimizer)
        self.compiled = make_step(self.plan, self.optimizer, loss, self.abstract, micro_batches)
        with jax.set_mesh(self.mesh):
            self.state = new_state(new_params(self.plan, 0), self.optimizer, self.abstract)

    def step(self, batch: dict[str, np.ndarray], rate: float = 0.01) -> dict[str, float]:
        with jax.set_mesh(self.mesh):
            places = batch_sharding(self.mesh, ROWS, LENGTH)
            placed = {k: jax.device_put(v, places) for k, v in batch.items()}
            device_rate = jax.device_put(np.float32(rate), replicated(self.mesh))
            with jax.transfer_guard("disallow"):
                self.state, metrics = self.compiled(self.state, placed, device_rate)
        return {k: float(v) for k, v in jax.device_get(metrics).items()}

    def host(self) -> Any:
        return jax.tree.map(np.array, self.state)
