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

from mio_jax.nn.packing import plan_packing
from mio_jax.recipes.unified_io2.packed import PackedShape, packed_hidden, packed_sizes, without_lost
from mio_jax.recipes.unified_io2.targets import Said
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
    inputs, targets = model.embed_inputs(batch), model.embed_targets(batch)
    hidden = targets.split(model.trunk(inputs, targets.row, model.patterns(batch, targets)))
    packed = packed_hidden(model, batch, jnp.asarray(ROWS), shape)
    logits = {name: [model.logits(name, h) for h in (hidden[name], packed.hidden[name])] for name in hidden}
    return logits, {name: s.mask for name, s in targets.said.items()}, packed, (inputs.mask, targets.row.mask)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "sparse and dynamic masks"])
def test_packed_logits_are_unpacked_logits(fixtures: Fixtures, batch: dict[str, jax.Array], masked: bool) -> None:
    spec = dataclasses.replace(fixtures.spec, sparse_patterns=masked, dynamic_mask=masked)
    assert any("task_mask" in name for name in batch)
    shape = shape_for(spec, batch)
    logits, masks, packed, valid = both(fixtures.model(spec), batch, shape)
    assert int(packed.inputs.overflow) == int(packed.targets.overflow) == 0
    assert set(logits) == {"text", "image", "audio"}
    there = ROWS >= 0
    for name, (unpacked, ours) in logits.items():
        mask = np.asarray(masks[name]) & there[:, None]
        assert np.abs(np.asarray(ours - unpacked))[mask].max() < 2e-6 * float(jnp.abs(unpacked).max()), name
        assert not np.asarray(packed.hidden[name])[~mask].any()
    assert np.asarray(packed.inputs.segment_ids > 0).sum(1).max() == shape.inputs
    np.testing.assert_array_equal(packed_sizes(spec, batch), np.stack([m.sum(1) for m in valid], axis=-1))


def test_what_finds_no_room_weighs_nothing() -> None:
    """Two examples of a text of 3 and a picture of 4 in a row of 12: the picture's last two codes are left out."""
    lengths = {"text": 3, "image": 4}
    said = {
        name: Said(*[jnp.zeros((2, n), jnp.int32)] * 2, jnp.ones((2, n)), *[jnp.zeros((2, n), jnp.int32)] * 3)
        for name, n in lengths.items()
    }
    packing = plan_packing([jnp.ones((2, 7), bool)], jnp.asarray([0, 0]), num_rows=1, length=12)
    assert int(packing.overflow) == 2
    kept = without_lost(said, packing)
    assert kept["text"].weights.tolist() == [[1, 1, 1]] * 2
    assert kept["image"].weights.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
