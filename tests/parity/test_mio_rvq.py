"""The residual quantiser against SpeechTokenizer's: every array of `rvq_io.npz`, and the buffers after training."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from mio_tokenizers.audio import rvq
from mio_tokenizers.audio.checkpoint import read_codebooks

FILES = ["rvq_config.json", "rvq_before.safetensors", "rvq_after_train_step.safetensors", "rvq_io.npz"]
pytestmark = pytest.mark.golden_row("mio", "rvq", files=FILES)
TOLERANCE = 1e-5  # relative to the array's largest number
CHECKED = {
    *("x", "encode", "decode", "eval_quantized", "eval_codes", "eval_loss", "eval_layers"),
    *("train_quantized", "train_codes", "train_commit_loss", "train_layer0", "train_x_grad"),
}


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.io = dict(np.load(folder / "rvq_io.npz"))
        self.config = json.loads((folder / "rvq_config.json").read_text())
        self.before = load_file(folder / "rvq_before.safetensors")
        self.after = load_file(folder / "rvq_after_train_step.safetensors")
        self.state = read_codebooks(self.before, "vq.layers.")
        self.x = jnp.asarray(self.io["x"].swapaxes(1, 2))  # the fixture is channels-first

    def train(self, x: jax.Array) -> tuple[rvq.Quantized, rvq.RVQState]:
        return rvq.train_step(
            self.state,
            x,
            jax.random.key(0),
            decay=self.config["decay"],
            epsilon=self.config["epsilon"],
            dead_below=self.config["threshold_ema_dead_code"],
            commitment_weight=self.config["commitment_weight"],
        )


@pytest.fixture(scope="module")
def fixture(golden) -> Fixture:
    return Fixture(golden("mio"))


def close(ours: jax.Array, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=TOLERANCE * max(np.abs(theirs).max(), 1e-3))


def first(x: jax.Array) -> np.ndarray:
    """Channels last -> channels first."""
    return np.asarray(x).swapaxes(-1, -2)


def test_every_array_is_checked_and_has_the_shape_that_the_config_says(fixture):
    assert set(fixture.io) == CHECKED
    c = fixture.config
    assert fixture.io["x"].shape == (c["B"], c["dim"], c["T"])
    assert fixture.state.embed.shape == (c["n_q"], c["bins"], c["dim"])
    # Without dead rows the step draws nothing at random.
    assert float(fixture.state.cluster_size.min()) >= c["threshold_ema_dead_code"]


def test_quantising(fixture):
    result = jax.jit(rvq.quantize)(fixture.state, fixture.x)
    np.testing.assert_array_equal(result.codes, fixture.io["eval_codes"])
    close(first(result.quantized), fixture.io["eval_quantized"])
    close(first(result.layers), fixture.io["eval_layers"])
    close(result.commitment, fixture.io["eval_loss"])


def test_codes_and_back(fixture):
    np.testing.assert_array_equal(rvq.encode(fixture.state, fixture.x), fixture.io["encode"])
    close(first(rvq.decode(fixture.state, jnp.asarray(fixture.io["encode"]))), fixture.io["decode"])


def test_training_step(fixture):
    result, _ = jax.jit(fixture.train)(fixture.x)
    np.testing.assert_array_equal(result.codes, fixture.io["train_codes"])
    close(first(result.quantized), fixture.io["train_quantized"])
    close(result.commitment, fixture.io["train_commit_loss"])
    close(first(result.layers[0]), fixture.io["train_layer0"])


def test_gradient_of_the_training_step(fixture):
    def loss(x: jax.Array) -> jax.Array:
        result, _ = fixture.train(x)
        return 0.1 * jnp.sum(result.quantized) + result.commitment

    close(first(jax.jit(jax.grad(loss))(fixture.x)), fixture.io["train_x_grad"])


def test_buffers_after_the_training_step(fixture):
    _, state = jax.jit(fixture.train)(fixture.x)
    wanted = read_codebooks(fixture.after, "vq.layers.")
    for name in rvq.RVQState._fields:
        for layer in range(fixture.config["n_q"]):
            close(getattr(state, name)[layer], np.asarray(getattr(wanted, name)[layer]))
