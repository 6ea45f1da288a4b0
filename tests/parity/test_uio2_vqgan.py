"""Unified-IO 2's image tokenizer: every array of `image_vqgan.npz`, and the names of its weights in three layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.nn.base import apply, split_model
from mio_tokenizers.image import VQGANTokenizer
from mio_tokenizers.image.vqgan import VQGAN, vqgan_settings
from mio_tokenizers.published import export_arrays, import_tokenizer
from mio_tokenizers.quantize import codebook_loss, nearest
from mio_tokenizers.weights_file import nested_arrays

FILES = ["image_vqgan.npz", "config.json", "state_dict.npz", "t5x_params.npz"]
pytestmark = pytest.mark.golden_row("unified-io-2", "image_vqgan", files=FILES)
TORCH, T5X = "target_embedders.image.vqgan.", "target_encoders_image/discrete_vae/"
TOLERANCE = 1e-5  # relative to the array's largest number
CHECKED = {
    *("image_nchw", "encoder_out", "quant_conv_out", "indices", "quantized", "vq_loss", "reconstruction"),
    *("codes", "decoded_nchw"),
}


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.io = dict(np.load(folder / "image_vqgan.npz"))
        self.settings = vqgan_settings(json.loads((folder / "config.json").read_text())["config"]["image_vqgan"])
        self.torch = _under(np.load(folder / "state_dict.npz"), TORCH)
        self.t5x = _under(np.load(folder / "t5x_params.npz"), T5X)
        self.tokenizer = import_tokenizer(VQGANTokenizer, self.settings, self.torch, "torch", TORCH)
        graphdef, abstract = split_model(lambda key: VQGAN(self.settings, key))
        arrays = self.tokenizer.arrays
        self.codebook = jnp.asarray(arrays.pop("codebook"))
        self.model = apply(graphdef, nested_arrays(arrays, abstract, "vqgan"))


def _under(arrays: Any, prefix: str) -> dict[str, np.ndarray]:
    return {name: arrays[name] for name in arrays.files if name.startswith(prefix)}


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> Fixture:
    return Fixture(golden("unified-io-2"))


def close(ours: Any, theirs: np.ndarray) -> None:
    assert np.shape(ours) == theirs.shape
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def first(x: jax.Array) -> jax.Array:
    """Channels last -> channels first."""
    return jnp.moveaxis(x, -1, 1)


def test_every_array_is_checked(fixture: Fixture) -> None:
    assert set(fixture.io) == CHECKED


def test_encoding(fixture: Fixture) -> None:
    pictures = jnp.asarray(fixture.io["image_nchw"]).transpose(0, 2, 3, 1)

    @jax.jit
    def run(pictures: jax.Array) -> tuple[jax.Array, ...]:
        encoded = fixture.model.encoder(pictures)
        latents = fixture.model.quant_conv(encoded)
        codes = nearest(latents, fixture.codebook)
        quantised = fixture.codebook[codes]
        rebuilt = fixture.model.decoder(fixture.model.post_quant_conv(quantised))
        loss = codebook_loss(latents, quantised, beta=0.25, legacy=True)
        return encoded, latents, codes, quantised, rebuilt, loss

    encoded, latents, codes, quantised, rebuilt, loss = run(pictures)
    close(first(encoded), fixture.io["encoder_out"])
    close(first(latents), fixture.io["quant_conv_out"])
    np.testing.assert_array_equal(codes.reshape(codes.shape[0], -1), fixture.io["indices"])
    close(first(quantised), fixture.io["quantized"])
    close(first(rebuilt), fixture.io["reconstruction"])
    close(loss, fixture.io["vq_loss"])
    close(fixture.model.latents((pictures + 1) / 2), np.asarray(latents))


def test_decoding(fixture: Fixture) -> None:
    codes = fixture.io["codes"]
    vectors = fixture.codebook[codes].reshape(len(codes), *fixture.settings.code_grid, -1)
    close(first(2 * jax.jit(fixture.model.rebuild)(vectors) - 1), fixture.io["decoded_nchw"])
    shown = np.round(np.clip((fixture.io["decoded_nchw"] + 1) / 2, 0, 1) * 255).transpose(0, 2, 3, 1)
    assert np.abs(fixture.tokenizer.decode_batch(codes) - shown).max() <= 1, "a grey level at most, from rounding"


def test_names_and_layouts_both_ways(fixture: Fixture) -> None:
    arrays = fixture.tokenizer.arrays
    for layout, prefix, published in (("torch", TORCH, fixture.torch), ("t5x", T5X, fixture.t5x)):
        exported = export_arrays(arrays, layout, prefix)
        assert set(exported) == set(published)
        for name, array in published.items():
            np.testing.assert_array_equal(exported[name], array, err_msg=name)
    again = import_tokenizer(VQGANTokenizer, fixture.settings, fixture.t5x, "t5x", T5X)
    assert again.fingerprint == fixture.tokenizer.fingerprint
    taming = export_arrays(arrays, "taming")
    lowest = len(fixture.settings.ch_mult) - 1
    assert taming[f"decoder.up.{lowest}.block.0.conv1.weight"].shape == fixture.torch[
        f"{TORCH}decoder.up_0_block_0.conv1.weight"
    ].shape  # fmt: skip
    assert {"encoder.mid.attn_1.q.weight", "encoder.down.0.downsample.conv.bias"} <= set(taming)
    back = import_tokenizer(VQGANTokenizer, fixture.settings, taming | {"loss.logvar": np.zeros(())}, "taming")
    assert back.fingerprint == fixture.tokenizer.fingerprint
