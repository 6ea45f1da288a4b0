"""Residual vector quantisation: each layer names the codebook row nearest to what the layers before it left over.

The codebooks are learned without gradients (exponential averages of the vectors that chose each row), so they are
state, not parameters: every function here takes an `RVQState` and training returns the next one. Channels last.
Follows the SpeechTokenizer quantiser, itself EnCodec's; the differences are options that default to the published way.

Legend: B batch, T frames, D feature width, L layers, K rows of a codebook, N = B * T.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RVQState(NamedTuple):
    """All float32. `embed` is what quantises; the other two are the running averages that it is made from."""

    embed: jax.Array  # [L, K, D]
    embed_avg: jax.Array  # [L, K, D] averaged sum of the vectors that chose a row
    cluster_size: jax.Array  # [L, K] averaged number of them


class Quantized(NamedTuple):
    quantized: jax.Array  # [B, T, D] sum over the layers kept
    codes: jax.Array  # int32 [L, B, T]
    layers: jax.Array  # [L, B, T, D] each layer's own vectors
    commitment: jax.Array  # scalar, mean over layers (0 outside training)


def new_state(layers: int, rows: int, dim: int, key: jax.Array) -> RVQState:
    """Random codebooks; `kmeans_init` replaces them by rows fitted to data."""
    embed = jax.random.normal(key, (layers, rows, dim), jnp.float32)
    return RVQState(embed, embed, jnp.ones((layers, rows), jnp.float32))


def nearest(x: jax.Array, embed: jax.Array) -> jax.Array:
    """[..., D] and [K, D] -> int32 [...], the row at the least squared L2 distance (the first of equals)."""
    # Full float32 products: TF32 on a GPU would flip close calls, and codes would depend on the machine.
    dots = jnp.einsum("...d,kd->...k", x, embed, precision=jax.lax.Precision.HIGHEST)
    distance = jnp.sum(x * x, -1, keepdims=True) - 2 * dots + jnp.sum(embed * embed, -1)
    return jnp.argmin(distance, -1).astype(jnp.int32)


def encode(state: RVQState, x: jax.Array, n_q: int | None = None, start: int = 0) -> jax.Array:
    """[B, T, D] -> int32 [n_q - start, B, T].

    As published, layers `start`.. begin from the raw feature, not from what the first `start` layers leave over, so
    only `start` 0 gives codes that belong together.
    """
    embed = state.embed[start:n_q]

    def layer(residual: jax.Array, table: jax.Array) -> tuple[jax.Array, jax.Array]:
        codes = nearest(residual, table)
        return residual - table[codes], codes

    return jax.lax.scan(layer, x, embed)[1]


def lookup(state: RVQState, codes: jax.Array, start: int = 0) -> jax.Array:
    """int32 [L', B, T], the codes of layers `start`.. -> [L', B, T, D]."""
    return jax.vmap(lambda table, index: table[index])(state.embed[start : start + codes.shape[0]], codes)


def decode(state: RVQState, codes: jax.Array, start: int = 0) -> jax.Array:
    """int32 [L', B, T], the codes of layers `start`.. -> [B, T, D], the sum of their rows."""
    return jnp.sum(lookup(state, codes, start), 0)


def quantize(state: RVQState, x: jax.Array, n_q: int | None = None) -> Quantized:
    """[B, T, D] through the first `n_q` layers (all by default), without training."""
    codes = encode(state, x, n_q)
    layers = lookup(state, codes)
    return Quantized(jnp.sum(layers, 0), codes, layers, jnp.zeros(()))


def train_step(
    state: RVQState,
    x: jax.Array,
    key: jax.Array,
    *,
    decay: float = 0.99,
    epsilon: float = 1e-5,
    dead_below: float = 2.0,
    commitment_weight: float = 1.0,
    revive: bool = False,
    kept: jax.Array | None = None,
) -> tuple[Quantized, RVQState]:
    """Quantises with the present codebooks, then moves them towards the vectors that chose their rows.

    Args:
      x: [B, T, D]. Gradients pass straight through to it. What a layer leaves over carries none, so only layer 0
        pulls on the encoder through the commitment loss.
      key: draws the batch vectors that replace dead rows.
      dead_below: a row chosen by fewer vectors (averaged) than this is replaced by one of the batch.
      revive: also restart the averages of a replaced row. As published they are kept, and since the row is made from
        them at the end of the same step, the replacement is undone; True lets it live.
      kept: int32 [B], how many layers `quantized` sums for each example (quantiser dropout); None: all.

    Returns:
      The quantisation, whose vectors are of the codebooks before the update, and the next state.
    """
    flat = jax.lax.stop_gradient(x).reshape(-1, x.shape[-1])
    n_layers = state.embed.shape[0]

    def layer(
        residual: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array, RVQState]]:
        embed, average, size, layer_key = inputs
        vectors = jax.lax.stop_gradient(residual)
        codes = nearest(vectors, embed)
        rows = embed[codes]
        commitment = jnp.mean((rows - residual) ** 2)
        through = residual + jax.lax.stop_gradient(rows - residual)
        new = _update(embed, average, size, vectors.reshape(flat.shape), codes.reshape(-1), layer_key)
        return residual - through, (codes, through, commitment, new)

    def _update(
        embed: jax.Array, average: jax.Array, size: jax.Array, vectors: jax.Array, codes: jax.Array, key: jax.Array
    ) -> RVQState:
        chosen = jax.nn.one_hot(codes, embed.shape[0], dtype=vectors.dtype)
        sums = jnp.einsum("nk,nd->kd", chosen, vectors, precision=jax.lax.Precision.HIGHEST)
        dead = size < dead_below
        new_size = decay * size + (1 - decay) * jnp.sum(chosen, 0)
        new_average = decay * average + (1 - decay) * sums
        if revive:
            picks = jax.random.randint(key, (embed.shape[0],), 0, vectors.shape[0])
            # With the mean use as its history, a new row is judged by what it wins, not by its birth.
            mean_use = vectors.shape[0] / embed.shape[0]
            new_average = jnp.where(dead[:, None], vectors[picks] * mean_use, new_average)
            new_size = jnp.where(dead, mean_use, new_size)
        total = jnp.sum(new_size)
        smoothed = (new_size + epsilon) / (total + embed.shape[0] * epsilon) * total
        return RVQState(new_average / smoothed[:, None], new_average, new_size)

    keys = jax.random.split(key, n_layers)
    _, (codes, through, commitment, new) = jax.lax.scan(
        layer, x, (state.embed, state.embed_avg, state.cluster_size, keys)
    )
    if kept is None:
        quantized = jnp.sum(through, 0)
    else:
        use = (jnp.arange(n_layers)[:, None] < kept).astype(x.dtype)
        quantized = jnp.einsum("lb,lbtd->btd", use, through)
    return Quantized(quantized, codes, through, commitment_weight * jnp.mean(commitment)), new


def kmeans_init(x: jax.Array, layers: int, rows: int, key: jax.Array, iterations: int = 50) -> RVQState:
    """Codebooks fitted to [B, T, D]: k-means on the vectors, then on what each layer leaves over."""
    vectors = x.reshape(-1, x.shape[-1])
    count = vectors.shape[0]

    def fit(residual: jax.Array, layer_key: jax.Array) -> tuple[jax.Array, RVQState]:
        picks = jax.random.choice(layer_key, count, (rows,), replace=count < rows)

        def iterate(means: jax.Array, _: None) -> tuple[jax.Array, None]:
            chosen = jax.nn.one_hot(nearest(residual, means), rows, dtype=residual.dtype)
            bins = jnp.sum(chosen, 0)[:, None]
            return jnp.where(bins > 0, (chosen.T @ residual) / jnp.maximum(bins, 1), means), None

        means, _ = jax.lax.scan(iterate, residual[picks], None, length=iterations)
        codes = nearest(residual, means)
        size = jnp.sum(jax.nn.one_hot(codes, rows, dtype=residual.dtype), 0)
        return residual - means[codes], RVQState(means, means * size[:, None], size)

    return jax.lax.scan(fit, vectors, jax.random.split(key, layers))[1]
