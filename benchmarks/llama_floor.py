"""The floor of the LLaMA benchmark: the same training step as plain JAX, without anything of ours.

Parameters are a dict of arrays with the layers stacked and scanned, attention is `jax.nn.dot_product_attention`, the
loss takes all logits at once, the optimizer is Optax's. It is what one writes in an afternoon, and what a framework
must not be slower than.
"""

from __future__ import annotations

import json
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import load_file

from benchmarks.llama_work import Trainer, arguments, serve, training_tokens

SETTING, FOLDER = arguments()
MATRICES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}

Params = dict[str, Any]


def read_params() -> tuple[Params, float, float]:
    """The weights that the other side exported, matrices as [in, out], layers stacked; norm epsilon, rotary base."""
    tensors: dict[str, np.ndarray] = {}
    for path in sorted(FOLDER.glob("*.safetensors")):
        tensors |= load_file(path)

    def stack(name: str) -> jax.Array:
        layers = [tensors[f"model.layers.{n}.{name}.weight"] for n in range(SETTING["depth"])]
        return jnp.asarray(np.stack([w.T if w.ndim == 2 else w for w in layers]))

    params = {
        "embed": jnp.asarray(tensors["model.embed_tokens.weight"]),
        "layers": {short: stack(name) for short, name in {**MATRICES, **NORMS}.items()},
        "norm": jnp.asarray(tensors["model.norm.weight"]),
        "head": jnp.asarray(tensors["lm_head.weight"].T),
    }
    config = json.loads((FOLDER / "config.json").read_text())
    base = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    return params, config["rms_norm_eps"], base


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """x [B, T, heads, head_dim] turned by angles [T, head_dim / 2]; the halves of a head are the two coordinates."""
    a, b = jnp.split(x, 2, axis=-1)
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def make_loss(eps: float, base: float) -> Any:
    heads, kv_heads, width = SETTING["heads"], SETTING["kv_heads"], SETTING["head_dim"]

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * scale

    def loss(params: Params, tokens: jax.Array) -> jax.Array:
        rows, length = tokens.shape
        angles = jnp.arange(length)[:, None] * base ** (-jnp.arange(0, width, 2) / width)

        def layer(x: jax.Array, p: Params) -> tuple[jax.Array, None]:
            h = norm(x, p["attention_norm"])
            q = rotate((h @ p["q"]).reshape(rows, length, heads, width), angles)
            k = rotate((h @ p["k"]).reshape(rows, length, kv_heads, width), angles)
            v = (h @ p["v"]).reshape(rows, length, kv_heads, width)
            x = x + jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(rows, length, -1) @ p["out"]
            h = norm(x, p["mlp_norm"])
            return x + (jax.nn.silu(h @ p["gate"]) * (h @ p["up"])) @ p["down"], None

        x, _ = jax.lax.scan(layer, params["embed"][tokens], params["layers"])
        logits = norm(x, params["norm"])[:, :-1] @ params["head"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    return loss


class Side(Trainer):
    def load(self) -> dict[str, Any]:
        self.params, eps, base = read_params()
        decayed = jax.tree.map_with_path(lambda path, _: "norm" not in str(path[-1]), self.params)
        optimizer = optax.chain(
            optax.clip_by_global_norm(SETTING["clip_norm"]),
            optax.adamw(
                SETTING["learning_rate"], b1=0.9, b2=0.95, eps=1e-8, weight_decay=SETTING["weight_decay"], mask=decayed
            ),
        )
        self.optimizer_state, self.steps = optimizer.init(self.params), 0
        loss = make_loss(eps, base)

        def step(params: Params, state: Any, tokens: jax.Array) -> tuple[Params, Any, jax.Array]:
            value, grads = jax.value_and_grad(loss)(params, tokens)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state, value

        self.step = jax.jit(step, donate_argnums=(0, 1))
        return {}

    def one_step(self) -> float:
        tokens = jnp.asarray(training_tokens(SETTING, self.steps), jnp.int32)
        self.params, self.optimizer_state, loss = self.step(self.params, self.optimizer_state, tokens)
        self.steps += 1
        return float(loss)

    def about(self) -> dict[str, Any]:
        return {"python": platform.python_version(), "jax": jax.__version__, "optax": optax.__version__}


if __name__ == "__main__":
    serve(Side(SETTING))
