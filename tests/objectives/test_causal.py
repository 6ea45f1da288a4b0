"""Causal multimodal modelling: which token is whose target, and the sums by modality."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.objectives.causal import causal_loss, next_token_targets
from tests import reference

MODALITIES = ("text", "image", "audio")
VOCAB = 13

# Compiled once: hypothesis calls them fifty times.
sums_of = jax.jit(lambda model, batch: causal_loss(model, batch, modalities=MODALITIES, block_size=6))
targets_of = jax.jit(next_token_targets)


class Lookup(NamedTuple):
    """A model that is a table of logits: what token t says of the next one."""

    table: jax.Array  # [VOCAB, VOCAB]

    def hidden(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        return self.table[tokens]

    def output_table(self) -> jax.Array:
        return jnp.eye(VOCAB)


@st.composite
def batches(draw: st.DrawFn) -> dict[str, np.ndarray]:
    rows, length = 2, 10
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    segments = np.zeros((rows, length), np.int32)
    for row in segments:
        at = 0
        for number, size in enumerate(draw(st.lists(st.integers(1, 5), max_size=4)), start=1):
            row[at : at + size] = number
            at += size
    return {
        "tokens": rng.integers(0, VOCAB, (rows, length)).astype(np.int32),
        "positions": np.zeros((rows, length), np.int32),
        "segment_ids": segments,
        "modality_ids": rng.integers(0, 3, (rows, length)).astype(np.int32),
        "loss_weights": rng.choice([0.0, 0.5, 1.0], (rows, length)).astype(np.float32),
    }


@given(batch=batches())
def test_targets_stay_within_their_example(batch: dict[str, np.ndarray]) -> None:
    targets, weights = targets_of(batch)
    for row, t in np.ndindex(batch["tokens"].shape):
        last = t + 1 == batch["tokens"].shape[1]
        segments = batch["segment_ids"][row]
        if last or segments[t] == 0 or segments[t] != segments[t + 1]:
            assert weights[row, t] == 0
        else:
            assert weights[row, t] == batch["loss_weights"][row, t + 1]
            assert targets[row, t] == batch["tokens"][row, t + 1]


@given(batch=batches())
def test_sums(batch: dict[str, np.ndarray]) -> None:
    model = Lookup(jnp.asarray(np.random.default_rng(5).normal(size=(VOCAB, VOCAB)), jnp.float32))
    total, sums = sums_of(model, batch)
    targets, weights = (np.asarray(x) for x in targets_of(batch))
    losses = weights * reference.cross_entropy(np.asarray(model.table)[batch["tokens"]], targets)
    np.testing.assert_allclose(total, losses.sum(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums["weight"], weights.sum(), rtol=1e-6)
    for i, name in enumerate(MODALITIES):
        of_target = np.zeros(targets.shape, bool)
        of_target[:, :-1] = batch["modality_ids"][:, 1:] == i
        np.testing.assert_allclose(sums[f"loss/{name}"], losses[of_target].sum(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(sums[f"weight/{name}"], weights[of_target].sum(), rtol=1e-6)
    assert set(sums) == {"weight", *(f"{kind}/{name}" for kind in ("loss", "weight") for name in MODALITIES)}
