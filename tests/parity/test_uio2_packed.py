"""Packing changes nothing: on the fixtures' batch of all modalities, packed rows give the logits of unpacked ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.recipes.unified_io2.loss import loss
from mio_jax.recipes.unified_io2.packed import PackedShape, packed_hidden, packed_loss, packed_sizes
from tests.parity.uio2 import NAME, Fixtures

pytestmark = pytest.mark.golden_row(NAME, "all_to_all", files=["model_all_to_all.npz", "config.json", "state_dict.npz"])
ROWS = np.asarray([0, 1, 0, 0, -1, 1], np.int32)


@pytest.fixture(scope="module")
def fixtures(golden: Callable[[str], Path]) -> Fixtures:
    return Fixtures(golden(NAME))


@pytest.fixture(scope="module")
def batch(fixtures: Fixtures) -> dict[str, jax.Array]:
    """The two examples three times over, the later ones with less and less of their inputs."""
    twice = fixtures.batch("all_to_all")
    rng = np.random.default_rng(0)
    made = {}
    for name, values in twice.items():
        made[name] = np.concatenate([np.asarray(values)] * 3)
        if name.startswith("inputs/") and name.endswith("/mask"):
            made[name][2:] *= rng.random(made[name][2:].shape) < 0.7
    return {name: jnp.asarray(values) for name, values in made.items()}


def shape_for(spec: Any, batch: dict[str, jax.Array]) -> PackedShape:
    """Just enough places."""
    sizes = packed_sizes(spec, batch)
    needed = [np.bincount(ROWS[ROWS >= 0], column[ROWS >= 0]).max() for column in sizes.T]
    return PackedShape(2, *map(int, needed))


@partial(jax.jit, static_argnums=2)
def both(model: Any, batch: dict[str, jax.Array], shape: PackedShape) -> Any:
    hidden, said = model.hidden(batch)
    packed = packed_hidden(model, batch, jnp.asarray(ROWS), shape)
    logits = {name: [model.logits(name, h) for h in (hidden[name], packed.hidden[name])] for name in hidden}
    return logits, {name: s.mask for name, s in said.items()}, packed


def test_packed_logits_are_unpacked_logits(fixtures: Fixtures, batch: dict[str, jax.Array]) -> None:
    spec = dataclasses.replace(fixtures.spec, sparse_patterns=True, dynamic_mask=True)
    assert any("task_mask" in name for name in batch)
    for chosen in (fixtures.spec, spec):
        shape = shape_for(chosen, batch)
        logits, masks, packed = both(fixtures.model(chosen), batch, shape)
        assert int(packed.inputs.overflow) == int(packed.targets.overflow) == 0
        assert set(logits) == {"text", "image", "audio"}
        there = ROWS >= 0
        for name, (unpacked, ours) in logits.items():
            mask = np.asarray(masks[name]) & there[:, None]
            assert np.abs(np.asarray(ours - unpacked))[mask].max() < 2e-6 * float(jnp.abs(unpacked).max()), name
            assert not np.asarray(packed.hidden[name])[~mask].any()
        fill = np.asarray(packed.inputs.segment_ids > 0).sum(1)
        assert fill.max() == shape.inputs


def test_packed_gradients_are_unpacked_gradients(fixtures: Fixtures, batch: dict[str, jax.Array]) -> None:
    model = fixtures.model()
    shape = shape_for(fixtures.spec, batch)
    everyone = jnp.asarray(np.where(ROWS < 0, 1, ROWS))
    wider = dataclasses.replace(shape, inputs=2 * shape.inputs, targets=2 * shape.targets)
    ours = jax.jit(jax.value_and_grad(lambda m: packed_loss(m, batch, everyone, wider)[0]))(model)
    theirs = jax.jit(jax.value_and_grad(lambda m: loss(m, batch)[0]))(model)
    assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=1e-6)
    pairs = zip(jax.tree.leaves(ours[1]), jax.tree.leaves(theirs[1]), strict=True)
    errors = [float(jnp.abs(a - b).max() / (jnp.abs(b).max() + 1e-6)) for a, b in pairs]
    assert max(errors) < 1e-4


def test_what_finds_no_room_is_counted_and_not_learned(fixtures: Fixtures, batch: dict[str, jax.Array]) -> None:
    model, shape = fixtures.model(), shape_for(fixtures.spec, batch)
    short = dataclasses.replace(shape, targets=shape.targets - 5)
    total, sums = jax.jit(lambda m: packed_loss(m, batch, jnp.asarray(ROWS), short))(model)
    whole = jax.jit(lambda m: packed_loss(m, batch, jnp.asarray(ROWS), shape))(model)[1]
    assert np.isfinite(float(total))
    assert float(whole["overflow/targets"]) == 0
    assert float(sums["overflow/targets"]) >= 5
    weights = [sum(float(s[f"weight/{name}"]) for name in ("text", "image", "audio")) for s in (sums, whole)]
    assert weights[0] < weights[1]


def test_sizes_are_the_places_that_examples_take(fixtures: Fixtures, batch: dict[str, jax.Array]) -> None:
    model = fixtures.model()
    wanted = [model.embed_inputs(batch).mask.sum(1), model.embed_targets(batch).row.mask.sum(1)]
    np.testing.assert_array_equal(packed_sizes(fixtures.spec, batch), np.stack(wanted, axis=-1))
