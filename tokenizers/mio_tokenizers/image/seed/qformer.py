"""The Q-Former: learned queries read a picture. Layers are BERT's, normed after each part; text has no part in it.

Shape letters: B pictures, Q queries, S tokens of the picture, D width.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from mio_jax.nn.base import List, Module
from mio_jax.nn.layer_parts import MLP, Attention, Context, LayerSpec, Row
from mio_jax.nn.norms import LayerNorm
from mio_tokenizers.image.seed.settings import QFORMER_EPS, SeedSettings


class QFormerLayer(Module):
    """Attention among the queries, to the picture in layers that have it, then feed-forward."""

    def __init__(self, spec: LayerSpec, key: jax.Array) -> None:
        a, c, m = jax.random.split(key, 3)
        self.attention, self.attention_norm = Attention(spec, a), LayerNorm(spec.dim, spec.norm_eps)
        if spec.context:
            self.cross, self.cross_norm = Attention(spec, c, spec.context), LayerNorm(spec.dim, spec.norm_eps)
        self.mlp, self.mlp_norm = MLP(spec, m), LayerNorm(spec.dim, spec.norm_eps)
        self.spec = spec

    def __call__(self, x: jax.Array, seen: jax.Array, allowed: jax.Array | None) -> jax.Array:
        """[B, Q, D] and the picture [B, S, context] -> [B, Q, D]; `allowed`: bool [1, Q, Q] among queries."""
        x = self.attention_norm(x + self.attention(x, Row(), allowed))
        if self.spec.context:
            x = self.cross_norm(x + self.cross(x, Row(), context=Context(seen, Row())))
        return self.mlp_norm(x + self.mlp(x))


class QFormer(Module):
    """Queries and a picture's tokens -> states of the queries."""

    def __init__(self, settings: SeedSettings, context: int, key: jax.Array, *, causal_at: int = 0) -> None:
        """`context`: width of the picture's tokens; `causal_at`: the number of queries that see only those before."""
        spec = LayerSpec(
            dim=settings.hidden,
            heads=settings.heads,
            kv_heads=settings.heads,
            head_dim=settings.hidden // settings.heads,
            mlp_dim=settings.inter,
            context=context,
            norm="layer",
            norm_eps=QFORMER_EPS,
            bias=True,
            mlp="gelu",
            heads_axis="front_heads",
            kv_heads_axis="front_heads",
        )
        blind = dataclasses.replace(spec, context=0)
        keys = jax.random.split(key, settings.layers)
        self.norm = LayerNorm(settings.hidden, QFORMER_EPS)
        self.layers = List(
            QFormerLayer(blind if i % settings.cross_freq else spec, keys[i]) for i in range(settings.layers)
        )
        self.causal_at = causal_at

    def __call__(self, queries: jax.Array, seen: jax.Array) -> jax.Array:
        """[Q, D] and [B, S, context] -> [B, Q, D].

        The published model masks the future only where there are exactly as many queries as it was made for
        (section 7.3): with any other number they all see each other.
        """
        count = len(queries)
        allowed = jnp.tril(jnp.ones((1, count, count), bool)) if count == self.causal_at else None
        x = self.norm(queries)
        x = jnp.broadcast_to(x, (len(seen), *x.shape))
        for layer in self.layers:
            x = layer(x, seen, allowed)
        return x
