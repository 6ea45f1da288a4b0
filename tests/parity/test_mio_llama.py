"""The decoder against Hugging Face's LlamaForCausalLM: every array of `llama_io.npz` but those of sampling.

`greedy*`, `beam5*`, `proc_*` and `eos_used` are checked by test_mio_sampling.py.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.nn.base import apply, split_model
from mio_jax.nn.transformer import Decoder
from mio_jax.objectives.causal import causal_loss
from mio_jax.recipes.mio.checkpoint import import_params, read_spec

FILES = ["llama_config.json", "llama_weights.safetensors", "llama_io.npz"]
pytestmark = pytest.mark.golden_row("mio", "llama", files=FILES)
SAMPLING = ("greedy", "beam5", "proc_", "eos_used")
HERE = {
    *("ids", "logits", "hidden_states", "loss_all", "labels_sft", "loss_sft"),
    *("leftpad_ids", "leftpad_mask", "leftpad_positions", "leftpad_logits"),
    *("packed_ids", "packed_segments", "packed_logits", "cached_last_logits"),
}


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.io = dict(np.load(folder / "llama_io.npz"))
        self.config = json.loads((folder / "llama_config.json").read_text())
        spec = read_spec(folder / "llama_config.json")
        graphdef, _ = split_model(lambda key: Decoder(spec, key))
        self.model: Decoder = apply(
            graphdef, jax.tree.map(jnp.asarray, import_params(folder / "llama_weights.safetensors", spec))
        )

    @cached_property
    def positions(self) -> np.ndarray:
        return np.broadcast_to(np.arange(self.io["ids"].shape[1]), self.io["ids"].shape)

    def logits(self, ids: np.ndarray, positions: np.ndarray, segments: np.ndarray | None) -> np.ndarray:
        return np.asarray(jax.jit(lambda m, *a: m.logits(m.hidden(*a)))(self.model, ids, positions, segments))

    def mean_loss(self, labels: np.ndarray) -> float:
        """Of the tokens of `ids` whose label is not -100."""
        batch = {
            "tokens": self.io["ids"],
            "positions": self.positions,
            "segment_ids": np.ones_like(self.io["ids"]),
            "modality_ids": np.zeros_like(self.io["ids"]),
            "loss_weights": (labels != -100).astype(np.float32),
        }
        total, sums = causal_loss(self.model, jax.tree.map(jnp.asarray, batch), modalities=("text",), block_size=7)
        return float(total / sums["weight"])


@pytest.fixture(scope="module")
def fixture(golden) -> Fixture:
    return Fixture(golden("mio"))


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error < tolerance, f"largest error is {error:.2e} of the largest value"
    # Noise averages out and a wrong constant, such as the norm's epsilon, does not: the mean is held tighter.
    mean = np.sqrt(np.mean(np.square(ours - theirs)) / np.mean(np.square(theirs)))
    assert mean < tolerance / 4, f"root mean square error is {mean:.2e} of that of the values"


def test_every_array_is_answered_for(fixture: Fixture) -> None:
    names = {name for name in fixture.io if not name.startswith(SAMPLING)}
    assert names == HERE


def test_logits(fixture: Fixture) -> None:
    assert_close(fixture.logits(fixture.io["ids"], fixture.positions, None), fixture.io["logits"])


def test_states_between_layers(fixture: Fixture) -> None:
    final, inputs = fixture.model.layer_states(fixture.io["ids"], fixture.positions)
    for ours, theirs in zip([*inputs, final], fixture.io["hidden_states"], strict=True):
        assert_close(np.asarray(ours), theirs)


def test_loss_of_all_tokens(fixture: Fixture) -> None:
    assert fixture.mean_loss(fixture.io["ids"]) == pytest.approx(float(fixture.io["loss_all"]), rel=1e-5)


def test_loss_of_supervised_tokens(fixture: Fixture) -> None:
    labels = fixture.io["labels_sft"]
    assert np.array_equal(labels[labels != -100], fixture.io["ids"][labels != -100])
    assert fixture.mean_loss(labels) == pytest.approx(float(fixture.io["loss_sft"]), rel=1e-5)


def test_left_padding(fixture: Fixture) -> None:
    ids, mask, positions = (fixture.io[f"leftpad_{name}"] for name in ("ids", "mask", "positions"))
    assert np.array_equal(positions, np.maximum(np.cumsum(mask, axis=1) - 1, 0))
    assert np.all(ids[mask == 0] == fixture.config["pad_token_id"])
    assert_close(fixture.logits(ids, positions, mask) * mask[..., None], fixture.io["leftpad_logits"])


def test_left_padding_in_the_cache(fixture: Fixture) -> None:
    ids, mask, positions = (fixture.io[f"leftpad_{name}"] for name in ("ids", "mask", "positions"))
    cache = fixture.model.init_cache(ids.shape[0], ids.shape[1] + 3)
    states, _ = fixture.model.extend(ids, positions, mask == 1, cache)
    assert_close(np.asarray(fixture.model.logits(states)) * mask[..., None], fixture.io["leftpad_logits"])


@pytest.mark.parametrize("restart", [False, True])
def test_packed_examples_do_not_see_each_other(fixture: Fixture, restart: bool) -> None:
    ids, segments = fixture.io["packed_ids"], fixture.io["packed_segments"]
    assert segments.min() >= 1, "segment 0 is padding"
    place = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    first = (segments[:, :, None] == segments[:, None, :]).argmax(axis=2)
    positions = place - first if restart else place  # rotary embedding is relative: both must do
    assert_close(fixture.logits(ids, positions, segments), fixture.io["packed_logits"])


def test_cached_steps(fixture: Fixture) -> None:
    ids, positions, theirs = fixture.io["ids"], fixture.positions, fixture.io["cached_last_logits"]
    prefill = ids.shape[1] - (theirs.shape[1] - 1)
    extend = jax.jit(lambda m, ids, at, cache: m.extend(ids, at, jnp.ones(ids.shape, bool), cache))
    cache = fixture.model.init_cache(ids.shape[0], ids.shape[1] + 2)
    ours, start = [], 0
    for stop in range(prefill, ids.shape[1] + 1):
        states, cache = extend(fixture.model, ids[:, start:stop], positions[:, start:stop], cache)
        ours.append(fixture.model.logits(states[:, -1]))
        start = stop
    assert int(cache.index) == ids.shape[1]
    assert_close(np.stack(ours, axis=1), theirs)
