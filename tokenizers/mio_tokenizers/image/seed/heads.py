"""From codes to an image embedding: the two stacks behind the codes, and both published heads.

Shape letters: B pictures, Q tokens of a picture, D width, F numbers of the embedding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_jax.nn.base import Module, param, zeros
from mio_jax.nn.layer_parts import LayerSpec, Row
from mio_jax.nn.layers import make_layers, run_layers
from mio_tokenizers.image.seed.qformer import QFormer
from mio_tokenizers.image.seed.settings import BLOCK_EPS, SeedSettings
from mio_tokenizers.layers import Dense


class TaskLayer(Module):
    """Linear, tanh, linear: into the codebook's width, and out of it."""

    def __init__(self, inputs: int, middle: int, outputs: int, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.first, self.second = Dense(inputs, middle, first), Dense(middle, outputs, second)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(jnp.tanh(self.first(x)))


class Blocks(Module):
    """A position table and pre-norm layers in which every token sees every other; no final norm."""

    def __init__(self, settings: SeedSettings, key: jax.Array) -> None:
        self.positions = zeros((settings.queries, settings.hidden), (None, "embed"))
        spec = LayerSpec(
            dim=settings.hidden,
            heads=settings.block_heads,
            kv_heads=settings.block_heads,
            head_dim=settings.hidden // settings.block_heads,
            mlp_dim=4 * settings.hidden,
            depth=settings.depth,
            norm="layer",
            norm_eps=BLOCK_EPS,
            bias=True,
            mlp="gelu",
            heads_axis="front_heads",
            kv_heads_axis="front_heads",
        )
        self.layers = make_layers(spec, key)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, Q, D] -> [B, Q, D]."""
        return run_layers(self.layers, x + self.positions[...], Row())


class MLPHead(Module):
    """Each token narrowed, all of them side by side, then one linear map: [B, Q, D] -> [B, F]."""

    def __init__(self, settings: SeedSettings, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)
        a, b, c = settings.down
        self.down0 = Dense(settings.hidden, a, keys[0], bias=False)
        self.down1 = Dense(a, b, keys[1], bias=False)
        self.down2 = Dense(b, c, keys[2], bias=False)
        self.project = Dense(settings.queries * c, settings.feat_dim, keys[3])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.down2(jax.nn.relu(self.down1(jax.nn.relu(self.down0(x)))))
        return self.project(x.reshape(len(x), -1))


class ReverseHead(Module):
    """One learned query reads the tokens through a second Q-Former: [B, Q, D] -> [B, F]."""

    def __init__(self, settings: SeedSettings, key: jax.Array) -> None:
        t, q, p = jax.random.split(key, 3)
        self.tokens = param(t, (1, settings.hidden), (None, "embed"), 0.02)
        self.qformer = QFormer(settings, settings.hidden, q)
        self.project = Dense(settings.hidden, settings.feat_dim, p)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.project(self.qformer(self.tokens[...], x)[:, 0])
